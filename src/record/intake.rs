//! What the intake leaves behind: the index of what it took in, and the lines it could not use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Origin;

/// One entry of the index of everything taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum IndexEntry {
    /// A thread; the key is its id.
    Thread {
        /// Hash of its content, in hexadecimal: the same id with other content is refused.
        content: String,
        /// Where it was first seen.
        origin: Origin,
    },
    /// A rejected line; the key is its id. A second pass over the same file does not report it again.
    Reject,
    /// The recipe that threads of this name follow; the key is `recipe:` and the name.
    Recipe {
        /// Hash of the definition, in hexadecimal.
        hash: String,
        /// The definition, as JSON, so that a difference can be shown.
        definition: serde_json::Value,
    },
    /// Of which sort the models are that the workers of a cluster ask; the key is `models`.
    Models {
        /// Whether they are simulated.
        simulated: bool,
    },
}

/// A line of input that could not be used: one line of `rejects.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reject {
    /// The file as the user named it, or `-` for standard input.
    pub source: String,
    /// Line, element or row, from 1.
    pub line: u64,
    /// The reason, in the vocabulary of the metrics.
    pub reason: String,
    /// What is wrong, and what would be right.
    pub message: String,
}
