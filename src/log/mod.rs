//! The seam to the log: what the engine needs of one, and nothing else.
//!
//! A log has topics of ordered partitions, consumer groups among whose members the partitions are shared out,
//! and one operation that matters: [`Committer::commit`] makes outputs and progress visible together or not at
//! all. Two logs stand behind the seam: [`embedded`], a database in a folder, for one process; and Kafka.
//!
//! ```text
//!   Consumer::next ─▶ Assigned(partition, progress) · Records · Revoked · Lost
//!   Committer::commit(outputs, progress) ─▶ Ok · Refused, Retriable (nothing written) · Doubtful (unknown) · Fatal
//!   Committer::recover, after Retriable and Doubtful ─▶ decided, and the committer again
//! ```
//!
//! ## The contract
//!
//! - **Order.** Records of one partition come in the order of their offsets, each at most once an assignment,
//!   from the committed progress' offset on. Offsets grow but need not be dense: markers and compaction leave gaps.
//! - **Atomicity.** Readers see all outputs of a commit or none, and its progress with them: whoever sees the progress,
//!   by any of the ways to it, sees the outputs.
//! - **Fencing.** A commit that carries progress for a partition which its group has given to another member since
//!   the [`Generation`] that the progress names is refused whole, even where the partition has come back meanwhile:
//!   the other may have moved it on. A second committer of the same name fences the first, until the first becomes the
//!   committer again, which only [`Committer::recover`] does.
//! - **Bounded.** Consumers that share a [`Budget`] hand out no more than it allows, and one batch beyond it.
//! - **Progress is opaque.** It is an offset, the first that is not known to be done, and a text of the engine's,
//!   which the log keeps and hands back at the next assignment.

mod budget;
pub mod embedded;
pub mod kafka;
mod standalone;

use std::{
    fmt,
    future::Future,
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use budget::{Budget, Turn};
use bytes::Bytes;
pub use standalone::{StandaloneCommit, StandaloneCommitter};

use crate::topic::TopicName;

/// The most a progress text may hold, in UTF-16 units: `offset.metadata.max.bytes` of an Apache Kafka broker
/// as it comes.
pub const MAX_PROGRESS_TEXT: usize = 4096;

/// Names a consumer group: the members that share a topic's partitions among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(pub &'static str);

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic.
    pub topic: TopicName,
    /// Number of the partition, from 0.
    pub index: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// One header of a record: a name and any bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name; names may repeat.
    pub name: String,
    /// The value, passed through byte for byte.
    pub value: Option<Bytes>,
}

/// A record as the log gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub partition: Partition,
    /// Its place in the partition.
    pub offset: i64,
    /// When it was written, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The payload; a record without one is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// The bytes it holds: key, value and headers.
    pub fn size(&self) -> usize {
        size_of_parts(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

/// A record to be written. The log chooses the partition by the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where to.
    pub topic: TopicName,
    /// The key; equal keys go to one partition.
    pub key: Option<Bytes>,
    /// The payload; none is a tombstone.
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
}

impl Output {
    /// The bytes it holds: key, value and headers.
    pub fn size(&self) -> usize {
        size_of_parts(self.key.as_ref(), self.value.as_ref(), &self.headers)
    }
}

fn size_of_parts(key: Option<&Bytes>, value: Option<&Bytes>, headers: &[Header]) -> usize {
    let headers = headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len));
    key.map_or(0, Bytes::len) + value.map_or(0, Bytes::len) + headers.sum::<usize>()
}

/// How far a group is in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The first offset that is not known to be done; where reading starts.
    pub offset: i64,
    /// The engine's own text, at most [`MAX_PROGRESS_TEXT`] long.
    pub text: String,
}

impl Progress {
    /// Whether its text is above [`MAX_PROGRESS_TEXT`]. UTF-16 never has more units than UTF-8 has bytes, so the units of a
    /// short text need no counting.
    pub fn is_too_long(&self) -> bool {
        self.text.len() > MAX_PROGRESS_TEXT && self.text.encode_utf16().count() > MAX_PROGRESS_TEXT
    }
}

/// What a consumer reports.
#[derive(Debug)]
pub enum Event {
    /// These partitions are now this member's, to be read from their progress on.
    Assigned(Vec<(Partition, Progress)>),
    /// Records of assigned partitions, in order within each.
    Records(Vec<Record>),
    /// These partitions are to be given up: finish and commit what can be, then call [`Consumer::release`].
    Revoked(Vec<Partition>),
    /// These partitions are another's already: nothing of theirs can be committed any more.
    Lost(Vec<Partition>),
}

/// What a member knew of its group when it was given an event; opaque. A log that numbers the generations of a
/// group takes that number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// One member of a consumer group.
pub trait Consumer: Send + 'static {
    /// Waits for what happens next. Cancelling the wait loses nothing. Must be polled even while everything is
    /// paused: a member that is silent for too long is taken for dead.
    fn next(&mut self) -> impl Future<Output = Result<Event, LogError>> + Send;

    /// What this member knew of its group when [`Self::next`] last returned.
    fn generation(&self) -> Generation;

    /// Stops records of these partitions from coming; one batch may still be under way.
    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// Lets records of these partitions come again, from where they stopped.
    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError>;

    /// Gives up partitions after [`Event::Revoked`], once all that will be committed for them is.
    fn release(&mut self, partitions: &[Partition]) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Leaves the group, so that others need not wait for this member's session to end.
    fn leave(self) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Progress of one group, to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupProgress {
    /// The group; this process must be a member.
    pub group: GroupName,
    /// What the member knew when the progress was made, see [`Consumer::generation`].
    pub generation: Generation,
    /// The partitions that moved.
    pub partitions: Vec<(Partition, Progress)>,
}

/// The one writer of a process.
pub trait Committer: Send + 'static {
    /// Writes outputs and progress, all or nothing. Returns when the result is known or certainly unknowable.
    ///
    /// # Errors
    /// See [`CommitError`]: each variant says what is true of the log, and so what to do next.
    fn commit(
        &mut self,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Makes the committer usable again after [`CommitError::Retriable`] and [`CommitError::Doubtful`], without which the
    /// next commit is fatal: whatever was under way is decided when this returns, and [`Committer::progress`] tells how.
    ///
    /// A log may be unable to tell whether another of its name took over since, and then this one fences that in turn.
    /// What the next commit holds must be right all the same. It is where it carries progress: the group's members
    /// are who they are whatever committers are called. Outputs that were made because the log did not have them must be
    /// held against the log again.
    ///
    /// # Errors
    /// The log fails, or another of this name took over and the log can tell.
    fn recover(&mut self) -> impl Future<Output = Result<(), LogError>> + Send;

    /// The committed progress of a group's partitions, in the order asked for; none where nothing was committed.
    fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> impl Future<Output = Result<Vec<Option<Progress>>, LogError>> + Send;
}

/// A log.
pub trait Log: Clone + Send + Sync + 'static {
    /// Its consumers.
    type Consumer: Consumer;
    /// Its committers.
    type Committer: Committer;

    /// Joins `group` as a reader of `topics`.
    fn consumer(
        &self,
        group: GroupName,
        topics: &[TopicName],
    ) -> impl Future<Output = Result<Self::Consumer, LogError>> + Send {
        self.consumer_within(group, topics, Arc::new(Budget::unlimited()))
    }

    /// Joins `group` as a reader of `topics` that hands out records while `budget` has room, and takes what they weigh
    /// from it. Other events come whether it has room or not.
    fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> impl Future<Output = Result<Self::Consumer, LogError>> + Send;

    /// Becomes the committer called `name`; an earlier one of that name is fenced off.
    fn committer(&self, name: &str) -> impl Future<Output = Result<Self::Committer, LogError>> + Send;

    /// Reads a topic's records from offset 0 of every partition up to the ends as they are now, `visit`ing each.
    fn scan(
        &self,
        topic: TopicName,
        visit: &mut (dyn FnMut(Record) + Send),
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Reads records of several partitions, each from its offset on up to its end as it is now, in the order of
    /// offsets within each, until `visit` breaks: then nothing more comes of that partition, and the others go on. An
    /// offset below the first that is kept means that one.
    fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// The committed progress of a group's partitions, in the order asked for, for those who only look on: it takes
    /// no part in the group. None where nothing was committed.
    fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> impl Future<Output = Result<Vec<Option<Progress>>, LogError>> + Send;

    /// The end of every partition of a topic: the offset that the next record will at least have.
    fn ends(&self, topic: TopicName) -> impl Future<Output = Result<Vec<(Partition, i64)>, LogError>> + Send;

    /// The largest record that the log takes, in bytes of key, value and headers; see [`TopicName::size_limit`] for each
    /// topic's.
    fn max_record_bytes(&self) -> usize;
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written: these groups have given partitions to other members. What is theirs must be
    /// dropped; the rest can be committed again.
    #[error("the commit was refused: partitions of {0:?} belong to other members now")]
    Refused(Vec<GroupName>),
    /// Nothing was written and nothing will be, for a reason that may pass: [`Committer::recover`], then the same can be
    /// committed again.
    #[error("the commit was given up and can be made again: {0}")]
    Retriable(LogError),
    /// Whether it was written is unknown: [`Committer::recover`], then read the progress.
    #[error("the commit's outcome is unknown: {0}")]
    Doubtful(LogError),
    /// The process must end: another committer of this name exists, the log is broken, or the commit exceeds a
    /// limit of the log's ([`Log::max_record_bytes`], [`MAX_PROGRESS_TEXT`]). A commit above a limit writes nothing;
    /// in the other cases it may have been written.
    #[error(transparent)]
    Fatal(#[from] LogError),
}

/// A log that cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {cause}")]
pub struct LogError {
    /// What was being done, and to what.
    pub context: String,
    /// What went wrong.
    pub cause: LogErrorKind,
}

impl LogError {
    /// An error while doing `context`.
    pub fn new(context: impl Into<String>, cause: impl Into<LogErrorKind>) -> Self {
        Self { context: context.into(), cause: cause.into() }
    }
}

/// What went wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogErrorKind {
    /// Another process has it.
    #[error("another avr process has it open; stop that process first, or choose another folder with --out")]
    Locked,
    /// A second committer of the same name took over.
    #[error("another process with the same identity took over")]
    Fenced,
    /// What is stored cannot be understood.
    #[error("what is stored there cannot be read: {0}")]
    Corrupt(String),
    /// The disk or the network failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The log's own library reports.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A lock whose holders do not leave things half done: a panic of one is no reason for another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
