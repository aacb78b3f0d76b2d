//! What a run came to: a plain value, shown as text for people or as JSON for machines.
//!
//! Threads, records and gains are totals of the state, over all runs on it; input, calls,
//! tokens and time are of this process alone. Both renderings are pure functions of the value and say so.

mod text;
mod work;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::Report;
use crate::{
    export::{Gains, Outputs},
    model::ModelTotals,
    record::{OutcomeReason, RecordKind},
};

pub use work::{StageSummary, SubmitSummary, WorkerSummary};

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Whether the models were simulated, so that the records are good for trying out only.
    pub simulated: bool,
    /// Why it ended.
    pub ending: Ending,
    /// Totals over all runs on this state.
    pub state: StateTotals,
    /// What this process did.
    pub process: ProcessTotals,
    /// Where the results are.
    pub places: Places,
}

/// Why a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every prompt is accounted for.
    #[default]
    Finished,
    /// It was told to stop before.
    Interrupted {
        /// The command that carries on.
        resume: String,
    },
    /// Nothing ran: finished threads were selected from again.
    Replayed {
        /// Where they came from.
        source: SourceTotals,
        /// Whether it was told to stop before it had gone through all.
        interrupted: bool,
    },
}

/// The state that a replay selects from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceTotals {
    /// Its folder, or what else names it.
    pub name: String,
    /// Threads that were taken in there.
    pub taken_in: u64,
    /// Threads that ended there, whatever they came to; none where that is not known.
    pub outcomes: Option<u64>,
    /// Finished threads that were selected from.
    pub kept: u64,
    /// Finished threads that cannot be read.
    pub unreadable: u64,
    /// Finished threads of other recipes, passed over.
    pub of_other_recipes: u64,
    /// Threads that were there more than once: each counted once, the first.
    pub again: u64,
}

/// Totals over all runs on one state.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StateTotals {
    /// Threads that ended, by what they came to.
    pub outcomes: BTreeMap<OutcomeReason, u64>,
    /// Threads that were taken in and have not ended.
    pub under_way: u64,
    /// Training records, by kind.
    pub records: BTreeMap<RecordKind, u64>,
    /// How much improvements gained.
    pub gains: Gains,
    /// Answers to instructions of a test.
    pub outputs: Outputs,
    /// Lines of input that could not be used, by reason.
    pub rejects: BTreeMap<String, u64>,
}

impl StateTotals {
    /// Threads that came to this.
    pub fn threads(&self, reason: OutcomeReason) -> u64 {
        self.outcomes.get(&reason).copied().unwrap_or(0)
    }

    /// Threads that ended, whatever they came to.
    pub fn ended(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Threads that ended without a record and are no dead letters.
    pub fn not_selected(&self) -> u64 {
        self.ended() - self.threads(OutcomeReason::Selected) - self.threads(OutcomeReason::DeadLetter)
    }
}

/// What one process did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProcessTotals {
    /// What came in.
    pub input: InputTotals,
    /// What was asked of each model.
    pub models: Vec<ModelSummary>,
    /// Threads that ended while it ran.
    pub ended: u64,
    /// How long it ran, in seconds.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

pub(super) fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// Prompts that one process read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InputTotals {
    /// Taken in as new threads.
    pub new: u64,
    /// Known from before, and so passed over.
    pub known: u64,
    /// Lines that could not be used and were not reported before.
    pub rejected: u64,
}

/// What one process asked of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelSummary {
    /// What it is used for: `generator`, `long` or `reward`.
    pub role: String,
    /// The model's name.
    pub model: String,
    /// What was asked and what came.
    #[serde(flatten)]
    pub totals: ModelTotals,
}

/// Where the results are, as the user may type them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Places {
    /// Files and folders of records: what they are, and where.
    pub records: Vec<(String, String)>,
    /// One line for each thread.
    pub outcomes: String,
    /// One line for each line of input that could not be used.
    pub rejects: String,
}

impl Report for Summary {
    /// At most 100 columns but for names of models and files.
    fn text(&self) -> String {
        text::render(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_names_of_files_and_metrics() {
        let mut summary = Summary::default();
        summary.state.outcomes.insert(OutcomeReason::NoGain, 3);
        summary.state.records.insert(RecordKind::ResponsePair, 2);
        summary.process.elapsed = Duration::from_millis(1500);
        let value: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
        assert_eq!(value["ending"], "finished");
        assert_eq!(value["state"]["outcomes"]["no_gain"], 3);
        assert_eq!(value["state"]["records"]["response_pair"], 2);
        assert_eq!(value["process"]["elapsed_seconds"], 1.5);
    }
}
