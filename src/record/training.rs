//! Training records, in the one canonical shape from which every trainer's format is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

use super::Message;

/// What a record teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RecordKind {
    /// Supervised fine-tuning on answer, critique and improvement (rejection sampling).
    Sft,
    /// Preference: the improvement over the answer it improved.
    ResponsePair,
    /// Preference: the critique that led to more over the one that led to less.
    CritiquePair,
    /// Preference: of one critique's improvements, the better over the worse.
    ImprovementPair,
    /// Supervised fine-tuning on one long answer that criticises and improves itself until it finds nothing better.
    LongSft,
    /// Preference: of several long answers, the one with the best final answer over the one with the worst.
    LongPair,
    /// Preference: an answer made out of two drafts over a draft.
    FusionPair,
    /// One answer and whether it is better than the one that everything started from (KTO).
    Kto,
    /// For a reward model: of two answers to a prompt the one of the higher reward over the other.
    RewardPair,
}

impl RecordKind {
    /// Every kind, in the order in which they are reported.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    /// The name in files and metrics.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the record has a rejected side.
    pub fn is_pair(self) -> bool {
        !matches!(self, Self::Sft | Self::LongSft | Self::Kto)
    }
}

/// The rewards behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rewards {
    /// `r(y0)`: the answer everything started from; of two drafts the better.
    pub answer: f64,
    /// Of the chosen side; for a critique the mean over its improvements.
    pub chosen: f64,
    /// Of the rejected side; absent where there is none.
    pub rejected: Option<f64>,
}

impl Rewards {
    /// How much better the chosen side is than the rejected; none where there is no rejected side.
    pub fn margin(&self) -> Option<f64> {
        self.rejected.map(|rejected| self.chosen - rejected)
    }
}

/// One training record. Every field is in every row, of one type, in one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrainingRecord {
    /// Unique: the thread's id, a slash, the kind; where a thread can give several of a kind, a slash and the names
    /// of the texts follow.
    pub id: String,
    /// What it teaches.
    pub kind: RecordKind,
    /// The conversation up to where the sides begin; ends with a user turn.
    pub prompt: Vec<Message>,
    /// The turns to learn, after `prompt`; of a labelled answer the answer, whatever its label.
    pub chosen: Vec<Message>,
    /// The turns to avoid, after `prompt`; empty where there are none.
    pub rejected: Vec<Message>,
    /// The rewards behind the choice.
    pub rewards: Rewards,
    /// What the chosen side gained over the answer it started from: `rewards.chosen − rewards.answer`.
    pub gain: f64,
    /// Whether a labelled answer is to be learned; absent in every other kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<bool>,
    /// Where it came from (thread, recipe, templates, calls with model, seed and temperature), as one string of
    /// JSON: trainers' loaders stumble over nested fields that vary.
    pub provenance: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OutcomeReason;

    #[test]
    fn a_name_is_the_same_in_files_and_metrics() {
        for kind in RecordKind::all() {
            assert_eq!(serde_json::to_value(kind).expect("a name"), kind.as_str());
        }
        for reason in OutcomeReason::all() {
            assert_eq!(serde_json::to_value(reason).expect("a name"), reason.as_str());
        }
    }
}
