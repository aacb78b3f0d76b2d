//! How a thread ended: exactly one outcome each, in one vocabulary that files, metrics and documents share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::{ModelOutput, Origin, RecipeRef, RecordKind, ThreadId, TrainingRecord};

/// Why a thread gave a record, or gave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[derive(IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum OutcomeReason {
    /// At least one record came out, or the answer that an evaluation asks for.
    Selected,
    /// There is no answer to refine: the draft failed, or none came with the prompt.
    NoAnswer,
    /// Every critique was given up.
    NoCritique,
    /// No improvement came back.
    NoImprovement,
    /// The answer has no reward, so nothing can be said to gain over it.
    NoAnswerReward,
    /// No improvement has a reward.
    NoImprovementReward,
    /// No improvement is strictly better than the answer.
    NoGain,
    /// The best improvement is too long for what it gained.
    TooLong,
    /// The answer repeats itself.
    RedundantAnswer,
    /// The improvement needed for the record repeats itself.
    RedundantImprovement,
    /// The critique needed for the record repeats itself.
    RedundantCritique,
    /// Best and worst critique are one, or led to equally much.
    NoCritiqueContrast,
    /// The best critique's own improvements do not reach the answer's reward.
    WeakBestCritique,
    /// The best critique's improvements have equal rewards, or there is only one.
    NoImprovementContrast,
    /// The lesser improvement is exactly as good as the answer.
    RejectedEqualsAnswer,
    /// No round that failed with an improvement follows the last gain, so the long record would have no ending.
    NoEnding,
    /// No long answer came with a final answer in it.
    NoFinalAnswer,
    /// The gain is below the recipe's threshold.
    SmallGain,
    /// The sides' rewards are closer than the recipe's threshold.
    SmallMargin,
    /// The drafts were not compared in both orders with a verdict that can be read.
    NoVerdict,
    /// The comparisons prefer different drafts when these change places.
    VerdictsDisagree,
    /// Other pairs of the prompt have larger margins, and the recipe takes no more.
    OverLimit,
    /// A stage could not handle the thread; it is among the dead letters.
    DeadLetter,
}

impl OutcomeReason {
    /// Every reason, in the order in which they are reported.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// The name in files and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How one thread ended: one line of `outcomes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The thread.
    pub thread: ThreadId,
    /// Its recipe.
    pub recipe: RecipeRef,
    /// Where its prompt came from.
    pub origin: Origin,
    /// What it came to, and why.
    #[serde(alias = "verdict")]
    pub reason: OutcomeReason,
    /// The records it gave, by their kinds.
    pub records: Vec<RecordKind>,
    /// For every kind that its recipe asks for and it did not give: why.
    pub withheld: BTreeMap<RecordKind, OutcomeReason>,
    /// Rounds of refinement that it went through.
    #[serde(default)]
    pub rounds: u32,
    /// `r(y0)`; of two drafts the higher.
    pub answer_reward: Option<f64>,
    /// The highest reward of an improvement.
    pub best_reward: Option<f64>,
    /// `best_reward − answer_reward`; an improvement gained when it is above zero.
    pub gain: Option<f64>,
    /// Answers of models that were cut off at their length limit.
    pub cut_off: u32,
    /// How often it was sent back from the dead letters before it ended so; its last line counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retried: u32,
    /// What went wrong, for a dead letter.
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What selection makes of one thread, and the payload of the records topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SelectionResult {
    /// How the thread ended.
    pub outcome: Outcome,
    /// The records it gave.
    pub records: Vec<TrainingRecord>,
    /// The models behind the records; empty where there are none.
    #[serde(default, skip_serializing_if = "SourceModels::is_empty")]
    pub models: SourceModels,
    /// Its answer to an instruction of a test; only where the recipe is an evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<ModelOutput>,
}

/// The models behind a thread's records, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceModels {
    /// Those that wrote the texts.
    pub writers: Vec<String>,
    /// The one that gave the rewards.
    pub reward: Option<String>,
}

impl SourceModels {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty() && self.reward.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_written_before_the_field_was_called_reason_is_read() {
        let earlier = r#"{
            "thread": "s:1", "recipe": {"name": "s", "hash": "0"}, "origin": {"source": "-", "line": 1},
            "verdict": "no_gain", "records": [], "withheld": {}, "answer_reward": null, "best_reward": null,
            "gain": null, "cut_off": 0, "error": null
        }"#;
        let outcome: Outcome = serde_json::from_str(earlier).expect("an outcome");
        assert_eq!(outcome.reason, OutcomeReason::NoGain);
        assert!(serde_json::to_string(&outcome).expect("JSON").contains(r#""reason":"no_gain""#));
    }
}
