//! What the intake leaves behind: the index of what it took in, and the lines it could not use.

use serde::{Deserialize, Serialize};

use super::Origin;

/// One entry of the index of everything taken in; its key is the thread's id or the reject's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum IndexEntry {
    /// A thread.
    Thread {
        /// Hash of its content, in hexadecimal: the same id with other content is refused.
        content: String,
        /// Where it was first seen.
        origin: Origin,
    },
    /// A rejected line, so that a second pass over the same file does not report it again.
    Reject,
}

/// A line of input that could not be used: one line of `rejects.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Where it stands.
    pub origin: Origin,
    /// The reason, in the vocabulary of the metrics.
    pub reason: String,
    /// What is wrong, and what would be right.
    pub message: String,
    /// How the line begins.
    pub excerpt: String,
}
