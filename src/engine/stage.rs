//! What the engine runs: stages, which make steps of records, and where the one sink stands among them.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use super::CheckpointScope;
use crate::{
    log::{GroupName, Output, Record},
    topic::TopicName,
};

/// A stage: a pure flow from one record to the records that follow from it. Any number of steps run at once, in
/// any order; a step that ends without its commit is run again, so it must give the same outputs again.
pub trait Stage: Send + Sync + 'static {
    /// Makes one step. Dropping the future abandons it.
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, StepError>>;
}

/// Why a step gave no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// The record cannot be handled, now or later: it goes to the dead letters.
    DeadLetter(DeadLetter),
    /// This process must leave the record undone, for the reason given; another process may do it.
    Parked(String),
    /// The stage gave up because the process is stopping; the record stays undone.
    Interrupted,
    /// No step of this stage can succeed: the process must stop and say why.
    Stop(String),
}

/// What is wrong with a record that cannot be handled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The sort of error, for metrics and retries by kind: `schema`, `refused`, `too_large`, `panic`, ….
    pub kind: &'static str,
    /// What happened, in words.
    pub message: String,
    /// How often what failed was tried: requests sent for a call of a model, retries among them; 1 for what is the same
    /// every time.
    pub attempts: u32,
    /// The model server's answer, where it was one that refused.
    pub http_status: Option<u16>,
    /// The model that refused.
    pub model: Option<String>,
}

impl DeadLetter {
    /// A letter of `kind`, after one try.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), attempts: 1, http_status: None, model: None }
    }
}

/// One entry of the dataflow: who reads what, how much at once, and what is done with it.
#[derive(Clone)]
pub struct StageSpec {
    /// The stage's name, which is also the name of its consumer group.
    pub name: &'static str,
    /// Its consumer group.
    pub group: GroupName,
    /// What it reads.
    pub topics: Vec<TopicName>,
    /// What is done with a record.
    pub work: Work,
}

/// What is done with a record.
#[derive(Clone)]
pub enum Work {
    /// Steps that run side by side.
    Steps {
        /// What makes them.
        stage: Arc<dyn Stage>,
        /// Steps at once, at most.
        max_in_flight: usize,
    },
    /// Batches for the engine's sink, in order within each partition.
    Sink {
        /// Which partitions carry its checkpoints.
        scope: CheckpointScope,
        /// Records in one batch, at most.
        max_batch: usize,
    },
}

impl Work {
    /// Records that are taken up at once, at most: as steps, or as one batch.
    pub(super) fn at_once(&self) -> usize {
        match *self {
            Self::Steps { max_in_flight, .. } => max_in_flight,
            Self::Sink { max_batch, .. } => max_batch,
        }
    }
}

impl StageSpec {
    /// `stage` under the name `name`, reading `input`, with at most `max_in_flight` steps at once.
    pub fn steps(name: &'static str, input: TopicName, stage: impl Stage, max_in_flight: usize) -> Self {
        let work = Work::Steps { stage: Arc::new(stage), max_in_flight };
        Self { name, group: GroupName(name), topics: vec![input], work }
    }

    /// The engine's sink under the name `name`, reading `topics`, in batches of at most `max_batch` records.
    pub fn sink(
        name: &'static str,
        topics: Vec<TopicName>,
        max_batch: usize,
        scope: CheckpointScope,
    ) -> Self {
        Self { name, group: GroupName(name), topics, work: Work::Sink { scope, max_batch } }
    }
}

impl fmt::Debug for StageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StageSpec")
            .field("name", &self.name)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}
