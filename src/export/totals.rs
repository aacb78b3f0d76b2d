//! Running totals of everything written, kept in the checkpoint so that they survive restarts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::record::{Outcome, OutcomeReason, RecordKind, Reject, SourceModels};

/// The most reasons that are counted by name; the checkpoint must stay short whatever comes.
const MAX_REASONS: usize = 16;
/// The longest reason that is counted by name, in bytes.
const MAX_REASON: usize = 22;
/// The name under which all other reasons are counted.
const OTHER_REASON: &str = "other";

/// The most models of a role that are counted by name.
const MAX_MODELS: usize = 2;
/// The longest name under which a model is counted, in bytes.
const MAX_MODEL: usize = 64;
/// The name under which all other models are counted.
pub(super) const OTHER_MODELS: &str = "others";

/// Totals over all batches since the folder was begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Threads that ended, by what they came to; those that were sent back since are among the dead letters.
    pub(super) outcomes: BTreeMap<OutcomeReason, u64>,
    /// Threads that were sent back from the dead letters.
    #[serde(default)]
    pub(super) retried: u64,
    /// Training records, by kind.
    pub records: BTreeMap<RecordKind, u64>,
    /// How much the improvements gained.
    pub gains: Gains,
    /// Lines of input that could not be used, by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Answers of models that were cut off at their length limit.
    pub cut_off: u64,
    /// Answers to instructions of a test.
    #[serde(default)]
    pub outputs: Outputs,
    /// The models behind the records.
    #[serde(default)]
    pub models: ModelCounts,
}

/// How many threads owe their records to which models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCounts {
    /// By the model that wrote; of several each counts.
    pub writers: BTreeMap<String, u64>,
    /// By the model that gave the rewards.
    pub rewards: BTreeMap<String, u64>,
}

impl ModelCounts {
    /// The names that are counted, of writers and of reward models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.writers.keys().chain(self.rewards.keys()).map(String::as_str)
    }

    fn add(&mut self, models: &SourceModels) {
        models.writers.iter().for_each(|name| count(&mut self.writers, name));
        models.reward.iter().for_each(|name| count(&mut self.rewards, name));
    }
}

/// Counts a model under its name; one too many, or one whose name does not fit a checkpoint, under the name of all
/// others.
fn count(counts: &mut BTreeMap<String, u64>, name: &str) {
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    let has_room = counts.len() < MAX_MODELS && name.len() <= MAX_MODEL && is_plain(name);
    let name = if counts.contains_key(name) || has_room { name } else { OTHER_MODELS };
    *counts.entry(name.to_owned()).or_default() += 1;
}

/// Answers to instructions of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// How many.
    pub count: u64,
    /// Their lengths together, in Unicode code points.
    pub chars: u64,
}

impl Outputs {
    /// The mean length, in Unicode code points; 0 where there are none.
    pub fn mean_chars(&self) -> u64 {
        self.chars.checked_div(self.count).unwrap_or(0)
    }
}

/// How often, and by how much, the best improvement of a thread was better than its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gains {
    /// Threads that have a reward for the answer and for an improvement.
    pub compared: u64,
    /// Those of them whose best improvement is above the answer.
    pub gained: u64,
    /// Sum of the gains above zero, in units of reward.
    pub sum: f64,
    /// The highest gain above zero, in units of reward; 0 where none is.
    pub max: f64,
}

impl Gains {
    fn add(&mut self, gain: f64) {
        self.compared += 1;
        if gain > 0.0 {
            self.gained += 1;
            // An infinite sum could not be written as JSON.
            self.sum = (self.sum + gain).min(f64::MAX);
            self.max = self.max.max(gain);
        }
    }

    /// The mean of the gains above zero; none where there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.gained > 0).then(|| self.sum / self.gained as f64)
    }
}

impl Totals {
    /// Threads that ended and were not sent back since, whatever they came to.
    pub fn threads(&self) -> u64 {
        self.outcomes.values().sum::<u64>().saturating_sub(self.retried)
    }

    /// Those threads, by what they came to.
    pub fn outcomes(&self) -> BTreeMap<OutcomeReason, u64> {
        let mut outcomes = self.outcomes.clone();
        if let Some(letters) = outcomes.get_mut(&OutcomeReason::DeadLetter) {
            // What was sent back may be read before the letter itself.
            *letters = letters.saturating_sub(self.retried);
        }
        outcomes
    }

    /// Threads that were ever sent back from the dead letters.
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Training records of all kinds.
    pub fn all_records(&self) -> u64 {
        self.records.values().sum()
    }

    /// Lines of input that could not be used.
    pub fn all_rejects(&self) -> u64 {
        self.rejects.values().sum()
    }

    /// Counts one entry in.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Selected(result) => {
                self.add_outcome(&result.outcome);
                self.models.add(&result.models);
                if let Some(output) = &result.output {
                    self.outputs.count += 1;
                    self.outputs.chars += output.output.chars().count() as u64;
                }
                for record in &result.records {
                    *self.records.entry(record.kind).or_default() += 1;
                }
            }
            // Its answers that were cut off count where the thread ends otherwise.
            Entry::DeadLetter(outcome) => *self.outcomes.entry(outcome.reason).or_default() += 1,
            Entry::Reject(line) => self.add_reject(line),
            Entry::Retried => self.retried += 1,
        }
    }

    fn add_outcome(&mut self, outcome: &Outcome) {
        *self.outcomes.entry(outcome.reason).or_default() += 1;
        self.cut_off += u64::from(outcome.cut_off);
        if let Some(gain) = outcome.gain {
            self.gains.add(gain);
        }
    }

    fn add_reject(&mut self, line: &Reject) {
        let is_code = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let is_known = self.rejects.contains_key(&line.reason);
        let has_room = self.rejects.len() < MAX_REASONS && line.reason.len() <= MAX_REASON;
        let reason =
            if is_known || (has_room && is_code(&line.reason)) { &line.reason } else { OTHER_REASON };
        *self.rejects.entry(reason.to_owned()).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(reason: &str) -> Entry<'static> {
        let reason = reason.to_owned();
        Entry::Reject(Reject { source: "a".into(), line: 1, reason, message: String::new() })
    }

    #[test]
    fn gains_count_only_what_is_above() {
        let mut gains = Gains::default();
        assert_eq!(gains.mean(), None);
        for gain in [-1.0, 0.0, 0.5, 1.5, f64::MAX, f64::MAX] {
            gains.add(gain);
        }
        assert_eq!(gains, Gains { compared: 6, gained: 4, sum: f64::MAX, max: f64::MAX });
    }

    #[test]
    fn strange_reasons_are_counted_together() {
        let mut totals = Totals::default();
        let long = "x".repeat(MAX_REASON + 1);
        for reason in ["not_json", "not_json", "two words", "\"", long.as_str()] {
            totals.add(&reject(reason));
        }
        let expected = [("not_json".to_owned(), 2), (OTHER_REASON.to_owned(), 3)];
        assert_eq!(totals.rejects, BTreeMap::from(expected));
        assert_eq!(totals.all_rejects(), 5);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut totals = Totals::default();
        for number in 0..100 {
            totals.add(&reject(&format!("reason_{number}")));
        }
        assert_eq!(totals.rejects.len(), MAX_REASONS + 1);
        assert_eq!(totals.rejects[OTHER_REASON], 84);
    }

    #[test]
    fn models_are_counted_by_name_while_there_is_room() {
        let mut counts = ModelCounts::default();
        let models = |writers: &[&str]| SourceModels {
            writers: writers.iter().map(|name| (*name).to_owned()).collect(),
            reward: Some("r".to_owned()),
        };
        for writers in [&["a", "b"][..], &["a"], &["c\"d"], &["c"], &["d"], &["d"]] {
            counts.add(&models(writers));
        }
        let expected = [("a", 2), ("b", 1), (OTHER_MODELS, 4)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(counts.writers, BTreeMap::from(expected));
        assert_eq!(counts.rewards, BTreeMap::from([("r".to_owned(), 6)]));
    }
}
