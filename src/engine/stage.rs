//! What the engine runs: stages, which make steps of records, and where the one sink stands among them.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use super::CheckpointScope;
use crate::{
    dead_letter::DeadLetterCause,
    log::{GroupName, Output, Record},
    topic::TopicName,
};

/// A stage: a pure flow from one record to the records that follow from it. Any number of steps run at once, in
/// any order; a step that ends without its commit is run again, so it must give the same outputs again.
pub trait Stage: Send + Sync + 'static {
    /// The stage's name, which is also the name of its consumer group.
    const NAME: &'static str;
    /// The topic it reads.
    const INPUT: TopicName;

    /// Makes one step. Dropping the future abandons it.
    fn process(&self, record: &Record) -> impl Future<Output = Result<Vec<Output>, Failure>> + Send;
}

/// Why a step gave no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The record cannot be handled, now or later: it goes to the dead letters.
    DeadLetter(DeadLetterCause),
    /// This process must leave the record undone, for the reason given; another may do it.
    Held(String),
    /// The stage gave up because the process is stopping; the record stays undone.
    Interrupted,
    /// No step of this stage can succeed: the process must stop and say why.
    Stop(String),
}

/// One entry of the dataflow: who reads what, how much at once, and what is done with it.
#[derive(Clone)]
pub struct StageSpec {
    /// The stage's name.
    pub name: &'static str,
    /// Its consumer group.
    pub group: GroupName,
    /// What it reads.
    pub topics: Vec<TopicName>,
    /// Steps at once, at most.
    pub max_in_flight: usize,
    /// What is done with a record.
    pub work: Work,
}

/// What is done with a record.
#[derive(Clone)]
pub enum Work {
    /// Steps that run side by side.
    Steps(Arc<dyn DynStage>),
    /// Batches for the engine's sink, in order within each partition.
    Sink(CheckpointScope),
}

impl StageSpec {
    /// `stage`, with at most `max_in_flight` steps at once.
    pub fn steps<S: Stage>(stage: S, max_in_flight: usize) -> Self {
        Self {
            name: S::NAME,
            group: GroupName(S::NAME),
            topics: vec![S::INPUT],
            max_in_flight,
            work: Work::Steps(Arc::new(stage)),
        }
    }

    /// The engine's sink under the name `name`, reading `topics`.
    pub fn sink(
        name: &'static str,
        topics: Vec<TopicName>,
        max_batch: usize,
        scope: CheckpointScope,
    ) -> Self {
        Self { name, group: GroupName(name), topics, max_in_flight: max_batch, work: Work::Sink(scope) }
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

/// A [`Stage`] whose type is forgotten, so that one loop runs them all.
pub trait DynStage: Send + Sync + 'static {
    /// As [`Stage::process`].
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, Failure>>;
}

impl<S: Stage> DynStage for S {
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, Failure>> {
        Box::pin(Stage::process(self, record))
    }
}
