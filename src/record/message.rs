//! One turn of a conversation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields of an object that this version does not know. Every object of a thread keeps its own, so that a stage of an
/// earlier version harms no thread of a later one.
pub type Extra = Map<String, Value>;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand before the conversation.
    System,
    /// The person who asks.
    User,
    /// The model that answers.
    Assistant,
}

/// One turn: a role and its text, in the shape of the chat completions API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Message {
    /// A turn of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into(), extra: Extra::new() }
    }

    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into(), extra: Extra::new() }
    }

    /// A turn of the assistant.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into(), extra: Extra::new() }
    }
}
