//! The unit of work: a prompt and everything the stages have added to it so far.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Message;

/// Major version of the thread's schema. A thread of a newer major version is refused, unknown fields of the
/// same version are kept.
pub const SCHEMA_VERSION: u32 = 1;

/// Names a thread: the recipe's name, a colon, and the input's own id or else a hash of its messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ThreadId(String);

impl ThreadId {
    /// The id of `input` under the recipe called `recipe`.
    pub fn new(recipe: &str, input: &str) -> Self {
        Self(format!("{recipe}:{input}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which recipe a thread follows: its name and a hash of its whole definition, templates included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RecipeRef {
    /// The recipe's name in the configuration.
    pub name: String,
    /// Hash of the definition, in hexadecimal.
    pub hash: String,
}

/// Where a prompt came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The file as the user named it, or `-` for standard input.
    pub source: String,
    /// Line (JSON Lines) or row (Parquet), from 1.
    pub line: u64,
}

/// One prompt on its way through the stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Thread {
    /// Major version of this schema. A program refuses a thread of a newer one than it knows.
    pub version: u32,
    /// Unique name.
    pub id: ThreadId,
    /// What is to be made of it.
    pub recipe: RecipeRef,
    /// Where the prompt came from.
    pub origin: Origin,
    /// The conversation up to and including its last user turn, `x`.
    pub prompt: Vec<Message>,
    /// The answer that came with the prompt, if one did.
    pub given_answer: Option<String>,
    /// The name of the test set that the prompt is from, where its source says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The answer to refine, `y0`; absent until the draft stage.
    pub answer: Option<Answer>,
    /// The model that gave the rewards; absent before scoring.
    #[serde(default)]
    pub reward_model: Option<String>,
    /// Rounds of refinement, the latest last.
    pub rounds: Vec<Round>,
    /// Long answers to the prompt, in the order they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub long_answers: Vec<LongSample>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The answer to refine, `y0`, with its reward once it is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Its reward, `r(y0)`; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that drafted it; absent where the answer came with the prompt.
    pub call: Option<Call>,
}

/// One round: critiques of one answer, each with its improvements, in the order they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// The critiques, `c_i`, one for each temperature of the recipe.
    pub critiques: Vec<Critique>,
}

/// A critique of the round's answer, `c_i`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Critique {
    /// The text; absent when it was given up after the last try.
    pub text: Option<String>,
    /// The rating read from the text, 1 to 10.
    #[schemars(range(min = 1, max = 10))]
    pub rating: Option<u8>,
    /// The call that gave it, or the last that was tried.
    pub call: Call,
    /// The improvements that it led to, `y_ij`, one for each temperature of the recipe; empty before the improve stage.
    pub improvements: Vec<Improvement>,
}

/// An improvement of the round's answer, `y_ij`, guided by one critique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Improvement {
    /// The text; absent when the call failed.
    pub text: Option<String>,
    /// Its reward, `r(y_ij)`; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that gave it.
    pub call: Call,
}

/// A long answer, which may hold a final answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LongSample {
    /// The whole text; absent when no try gave one with a final answer.
    pub text: Option<String>,
    /// The reward of the final answer; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that gave it, or the last that was tried.
    pub call: Call,
}

/// What is worth knowing of a model call. Nothing in it differs between a run that was disturbed and one that
/// was not: times, endpoints and send counts are in metrics and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    /// The model asked.
    pub model: String,
    /// The seed sent: hashed from thread, stage, round, index and attempt, below 2³¹.
    pub seed: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Tries made, the successful one included.
    pub attempts: u32,
    /// Why the model stopped (`stop`, `length`, …); absent when no answer came.
    pub finish_reason: Option<String>,
    /// Tokens of the prompt, as the server counted them.
    pub prompt_tokens: u32,
    /// Tokens of the completion, as the server counted them.
    pub completion_tokens: u32,
    /// Why no usable answer came; absent when one did.
    pub failure: Option<String>,
}
