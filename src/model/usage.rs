//! What an answer cost, as servers write it.

use serde::Deserialize;

/// The `usage` of an answer; a count that is missing is 0.
#[derive(Deserialize, Default)]
pub(super) struct TokenCounts {
    /// Tokens of the prompt.
    #[serde(default)]
    pub(super) prompt_tokens: u32,
    /// Tokens of the answer.
    #[serde(default)]
    pub(super) completion_tokens: u32,
}
