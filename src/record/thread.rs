//! The unit of work: a prompt and everything the stages have added to it so far.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Extra, Message};

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
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

impl RecipeRef {
    /// Whether both name the same definition.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.hash) == (&other.name, &other.hash)
    }
}

/// Where a prompt came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The file as the user named it, or `-` for standard input.
    pub source: String,
    /// Line (JSON Lines) or row (Parquet), from 1.
    pub line: u64,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
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
    /// What two drafts came to; absent where the recipe makes no fusion, and before the draft stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fusion: Option<Fusion>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer to refine, `y0`, with its reward once it is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Its reward, `r(y0)`; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that drafted it; absent where the answer came with the prompt.
    pub call: Option<ModelCall>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One round: critiques of one answer, each with its improvements, in the order they were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// The critiques, `c_i`, one for each temperature of the recipe.
    pub critiques: Vec<Critique>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
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
    pub call: ModelCall,
    /// The improvements that it led to, `y_ij`, one for each temperature of the recipe; empty before the improve stage.
    pub improvements: Vec<Improvement>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// An improvement of the round's answer, `y_ij`, guided by one critique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Improvement {
    /// The text; absent when the call failed.
    pub text: Option<String>,
    /// Its reward, `r(y_ij)`; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that gave it.
    pub call: ModelCall,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A long answer, which may hold a final answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LongSample {
    /// The whole text; absent when no try gave one with a final answer.
    pub text: Option<String>,
    /// The reward of the final answer; absent before scoring, and where the reward model gave none.
    pub reward: Option<f64>,
    /// The call that gave it, or the last that was tried.
    pub call: ModelCall,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Two drafts of an answer, what was said of them, and the one answer made out of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fusion {
    /// The second draft; the first is the thread's answer.
    pub other: Answer,
    /// Comparisons of the two: as they stand, then the other way round; empty before the critique stage.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// The answer made out of both; absent before the improve stage, and where the comparisons gave no verdict.
    #[serde(default)]
    pub fused: Option<Improvement>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A comparison of two answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The text; absent when it was given up after the last try.
    pub text: Option<String>,
    /// Which of the two, in the order in which they were shown, is better.
    pub preferred: Option<Preferred>,
    /// The call that gave it, or the last that was tried.
    pub call: ModelCall,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Which of two answers is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preferred {
    /// The one shown first, A.
    First,
    /// The one shown second, B.
    Second,
}

impl Preferred {
    /// The same preference where the two answers were shown the other way round.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What is worth knowing of a model call. Nothing in it differs between a run that was disturbed and one that
/// was not: times, endpoints and send counts are in metrics and traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelCall {
    /// The model asked.
    pub model: String,
    /// The seed sent: hashed from thread, stage, round, index and the tries before it, below 2³¹.
    pub seed: u32,
    /// Which of the choices of its request, from 0: one request can ask for several.
    #[serde(default, skip_serializing_if = "is_first")]
    pub choice: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Tries made, the successful one included; a request that was sent again after a failure is the same try.
    #[serde(alias = "attempts")]
    pub tries: u32,
    /// Why the model stopped (`stop`, `length`, …); absent when no answer came.
    pub finish_reason: Option<String>,
    /// Tokens of the prompt, as the server counted them.
    pub prompt_tokens: u32,
    /// Tokens of the completion, as the server counted them: of several choices the first has those of all.
    pub completion_tokens: u32,
    /// Why no usable answer came; absent when one did.
    pub failure: Option<String>,
    /// Fields of a later minor version, passed on untouched.
    #[serde(flatten)]
    pub extra: Extra,
}

fn is_first(choice: &u32) -> bool {
    *choice == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Adds a field that nobody knows to the objects in the value that are chosen.
    fn add_unknown(value: &mut Value, field: &(String, Value), chosen: &mut impl Iterator<Item = bool>) {
        match value {
            Value::Object(map) => {
                map.values_mut().for_each(|inner| add_unknown(inner, field, chosen));
                if chosen.next() == Some(true) {
                    map.insert(field.0.clone(), field.1.clone());
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|inner| add_unknown(inner, field, chosen)),
            _ => {}
        }
    }

    /// A thread with everything that a thread can have, in the shape of this version.
    fn whole() -> Value {
        let call = json!({
            "model": "m", "seed": 7, "temperature": 0.7, "tries": 1, "finish_reason": "stop",
            "prompt_tokens": 3, "completion_tokens": 4, "failure": null,
        });
        let improvement = json!({"text": "y1", "reward": 0.30000000000000004, "call": call});
        let critique =
            json!({"text": "c", "rating": 7, "call": call, "improvements": [improvement, improvement]});
        json!({
            "version": 1, "id": "stage1:7", "recipe": {"name": "stage1", "hash": "00"},
            "origin": {"source": "-", "line": 1}, "prompt": [{"role": "user", "content": "x"}],
            "given_answer": null, "dataset": "helpful", "answer": {"text": "y0", "reward": null, "call": call},
            "reward_model": "r", "rounds": [{"critiques": [critique, critique]}, {"critiques": []}],
            "long_answers": [{"text": "long", "reward": 1.5, "call": call}],
            "fusion": {
                "other": {"text": "z0", "reward": null, "call": null}, "fused": improvement,
                "comparisons": [{"text": "c", "preferred": "first", "call": call}],
            },
        })
    }

    fn through(value: &Value) -> Value {
        let thread: Thread = serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap();
        serde_json::from_slice(&serde_json::to_vec(&thread).unwrap()).unwrap()
    }

    fn objects(value: &Value) -> usize {
        match value {
            Value::Object(map) => 1 + map.values().map(objects).sum::<usize>(),
            Value::Array(list) => list.iter().map(objects).sum(),
            _ => 0,
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            any::<String>().prop_map(|text| json!({"text": [text, null], "call": 1})),
        ]
    }

    proptest! {
        #[test]
        fn unknown_fields_come_back_wherever_they_are(
            name in "later_[a-z]{0,8}",
            value in any_value(),
            chosen in proptest::collection::vec(any::<bool>(), objects(&whole())),
        ) {
            let mut later = whole();
            add_unknown(&mut later, &(name, value), &mut chosen.into_iter());
            prop_assert_eq!(through(&later), later);
        }
    }

    #[test]
    fn a_thread_of_this_version_comes_back_as_it_is() {
        assert_eq!(through(&whole()), whole());
        assert_eq!(objects(&whole()), 28, "all sorts of objects are in it");
    }
}
