//! What the engine runs: stages, which make steps of records, and the one sink, which writes files.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::{
    broker::{GroupName, Output, Record},
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
    DeadLetter(DeadLetter),
    /// This process must leave the record undone, for the reason given; another may do it.
    Held(String),
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
    /// Tries made.
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

/// The end of the flow: writes records to files, in order, as part of the commit that marks them done.
///
/// The engine calls, in turn and from a thread that may block (see [`Sink::blocks`]): `restore` with the note last committed; then, for each
/// commit, `append`, and after it `committed` or `roll_back`, or nothing more where the process ends without knowing
/// which. What `append` wrote counts only when the note that it
/// returned is committed: after a crash `restore` must cut away everything later. Where no note was committed yet,
/// the first `append` has no records, so that a note stands in the log before anything stands in a file.
pub trait Sink: Send + 'static {
    /// Whether its calls may wait for a device, and so need a thread that may block. One that never waits is called
    /// where the engine runs, which keeps a simulation the same from run to run.
    fn blocks(&self) -> bool {
        true
    }

    /// Returns to the state that `note` describes; empty for a start from nothing.
    ///
    /// # Errors
    /// When the files are not what the note says.
    fn restore(&mut self, note: &str) -> Result<(), SinkError>;

    /// Writes records. Durable, as far as the sink promises it, on return.
    ///
    /// # Errors
    /// When the files cannot be written; the process then stops.
    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError>;

    /// What was appended last is committed.
    fn committed(&mut self);

    /// What was appended last is not committed and must go.
    ///
    /// # Errors
    /// When the files cannot be cut.
    fn roll_back(&mut self) -> Result<(), SinkError>;
}

/// What became of appended records.
#[derive(Debug, Default)]
pub struct Appended {
    /// Describes the files as they are now.
    pub note: String,
    /// Records that cannot be written, by their place in the batch.
    pub refused: Vec<(usize, DeadLetter)>,
}

/// A sink that cannot go on.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

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
    /// Batches for the engine's sink, in order.
    Sink,
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

    /// The engine's sink under the name `name`, reading `topics`; its note lies with partition 0 of the first.
    pub fn sink(name: &'static str, topics: Vec<TopicName>, max_batch: usize) -> Self {
        Self { name, group: GroupName(name), topics, max_in_flight: max_batch, work: Work::Sink }
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
