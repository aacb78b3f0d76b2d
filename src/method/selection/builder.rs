//! Records of a thread while they are made: rows of training data, with rewards, provenance and thresholds.

use std::collections::BTreeMap;

use super::{
    provenance::{ProvenanceCall, provenance},
    rules::kept,
    thresholds,
};
use crate::{
    method::{Recipe, Templates},
    record::{Message, ModelOutput, OutcomeReason, RecordKind, Rewards, Thread, TrainingRecord},
};

/// The conversation part of a training record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrainingRow {
    /// The conversation up to where the sides begin; ends with a user turn.
    pub prompt: Vec<Message>,
    /// The turns to learn.
    pub chosen: Vec<Message>,
    /// The turns to avoid; empty where there are none.
    pub rejected: Vec<Message>,
}

impl TrainingRow {
    /// A preference between two answers to one conversation.
    pub fn pair(prompt: Vec<Message>, chosen: &str, rejected: &str) -> Self {
        Self {
            prompt,
            chosen: vec![Message::assistant(chosen)],
            rejected: vec![Message::assistant(rejected)],
        }
    }

    /// The whole conversation that ends with the chosen side.
    pub fn messages(&self) -> Vec<Message> {
        self.prompt.iter().chain(&self.chosen).cloned().collect()
    }
}

/// Makes the records of one thread.
pub(super) struct RecordBuilder<'a> {
    pub(super) thread: &'a Thread,
    pub(super) recipe: &'a Recipe,
    pub(super) templates: &'a Templates,
}

impl RecordBuilder<'_> {
    /// A record that came of the draft and these further calls.
    pub(super) fn record(
        &self,
        kind: RecordKind,
        row: TrainingRow,
        rewards: Rewards,
        steps: Vec<ProvenanceCall<'_>>,
    ) -> TrainingRecord {
        let calls: Vec<_> = ProvenanceCall::draft(self.thread).into_iter().chain(steps).collect();
        TrainingRecord {
            id: format!("{}/{}", self.thread.id, kind.as_str()),
            kind,
            prompt: row.prompt,
            chosen: row.chosen,
            rejected: row.rejected,
            rewards,
            gain: rewards.chosen - rewards.answer,
            label: None,
            provenance: provenance(self.thread, self.templates, &calls),
        }
    }
}

/// A record of which the thread can give several, with the names of its texts in its id.
pub(super) fn named(record: TrainingRecord, name: &str) -> TrainingRecord {
    TrainingRecord { id: format!("{}/{name}", record.id), ..record }
}

/// The records of a thread, and why the others are not among them.
pub(super) struct Collected<'a> {
    recipe: &'a Recipe,
    pub(super) records: Vec<TrainingRecord>,
    pub(super) withheld: BTreeMap<RecordKind, OutcomeReason>,
    /// The answer to an instruction of a test, or why there is none; nothing where none is asked for.
    pub(super) output: Option<Result<ModelOutput, OutcomeReason>>,
}

impl<'a> Collected<'a> {
    /// Nothing yet, of the records that `recipe` asks for.
    pub(super) fn new(recipe: &'a Recipe) -> Self {
        Self { recipe, records: vec![], withheld: BTreeMap::new(), output: None }
    }

    /// Takes a record that holds against the recipe's thresholds, or why there is none.
    pub(super) fn add(&mut self, kind: RecordKind, record: Result<TrainingRecord, OutcomeReason>) {
        self.add_all(kind, record.map(|record| vec![record]));
    }

    /// Takes the records that hold against the recipe's thresholds, or why there is none of them. A kind that the
    /// recipe does not ask for is passed over.
    pub(super) fn add_all(&mut self, kind: RecordKind, records: Result<Vec<TrainingRecord>, OutcomeReason>) {
        if !self.recipe.records.contains(&kind) {
            return;
        }
        let check = |record: TrainingRecord| thresholds::check(self.recipe, &record).map(|()| record);
        match records.and_then(|records| kept(records.into_iter().map(check), OutcomeReason::NoGain)) {
            Ok(records) => self.records.extend(records),
            Err(reason) => drop(self.withheld.insert(kind, reason)),
        }
    }

    /// The main reason: of several the first in the order of the method, which is the order of kinds.
    pub(super) fn reason(&self) -> OutcomeReason {
        let no_output = self.output.as_ref().and_then(|output| output.as_ref().err());
        let first = self.withheld.values().chain(no_output).next().copied();
        first.filter(|_| self.records.is_empty()).unwrap_or(OutcomeReason::Selected)
    }
}
