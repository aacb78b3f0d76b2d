//! A log in a folder, for one process: no broker, no set-up.
//!
//! ```text
//! EmbeddedCommitter ─▶ writer (an OS thread) ─▶ Store (fjall) ─▶ folder/data
//!                          │ publish                         ▲ only what is behind
//!                          ▼                                 │
//!                   partitions' tails ────────────▶ EmbeddedConsumer ◀─── Group (who reads what)
//! ```
//!
//! ## The contract
//!
//! - **Atomicity.** A commit is one batch of the database: outputs and progress, whole or not at all, also after
//!   `kill -9` and a loss of power.
//! - **Durability.** What a commit returned survives the death of the process. What a loss of power can undo is
//!   chosen by [`Durability`]; never is it a part of a commit.
//! - **Offsets** are dense and never used again, also where records were deleted and the log was opened anew.
//! - **One process.** A second one on the folder is refused; see `folder`. Inside, a handle and its clones
//!   stand for one process, and [`EmbeddedLog::another_process`] gives a handle that stands for another.
//! - **Memory** is bounded by [`Options`]; with their defaults a busy log takes about 150 MiB.
//!
//! ## Where to look
//!
//! `codec` how a record lies in the database · `store` the database · `partition` what is in memory of a
//! partition · `group` who reads what · `shared` all of it behind one lock · `writer` the only OS thread
//! that writes · `committer` and `consumer` the two sides of the seam.

mod codec;
mod committer;
mod consumer;
mod folder;
mod group;
mod partition;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    io,
    ops::ControlFlow,
    path::Path,
    sync::{Arc, mpsc::SyncSender as StopSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{Notify, mpsc};

pub use committer::EmbeddedCommitter;
pub use consumer::EmbeddedConsumer;

use self::{
    folder::Folder,
    group::{MemberId, ProcessId},
    partition::ReadLimit,
    shared::Shared,
    store::Store,
    writer::{Identity, WriterTask},
};
use super::{Budget, GroupName, Log, LogError, LogErrorKind, Partition, Progress, Record};
use crate::topic::{Retention, TopicName};

/// What a loss of power may undo. The death of the process undoes nothing that a commit returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Durability {
    /// Nothing: a commit returns when it is on disk.
    EachCommit,
    /// The commits of the last so long; the log is put on disk in the background, and when it is closed.
    Interval(Duration),
}

/// A topic as it is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has: at least one, and never fewer than when it was opened before. Keys may
    /// change their partition when it grows.
    pub partitions: u32,
    /// Which of its records are kept. [`Retention::Consumed`] keeps those that some group has yet to get past, of the groups
    /// that ever committed there, and all while there is no such group; every other retention keeps all.
    pub retention: Retention,
}

/// How a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What a loss of power may undo.
    pub durability: Durability,
    /// The largest record, in bytes of key, value and headers; 16 MiB, and at most 1 GiB.
    pub max_record_bytes: usize,
    /// Memory for blocks read from the database, in bytes; 16 MiB.
    pub cache_bytes: u64,
    /// Records the database gathers before it writes a table, in bytes; 24 MiB. Records consumed before that are
    /// never written to a table. Five times as much can be in memory while the disk is slow.
    pub memtable_bytes: u64,
    /// The latest records of all partitions that are kept in memory for readers that keep up, in bytes; 32 MiB.
    pub tail_bytes: usize,
    /// The most records that [`Consumer::next`](super::Consumer::next) gives at once; 256.
    pub batch_records: usize,
    /// The bytes after which [`Consumer::next`](super::Consumer::next) adds no record; 1 MiB.
    pub batch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::EachCommit,
            max_record_bytes: 16 << 20,
            cache_bytes: 16 << 20,
            memtable_bytes: 24 << 20,
            tail_bytes: 32 << 20,
            batch_records: 256,
            batch_bytes: 1 << 20,
        }
    }
}

/// What was asked of an embedded log and cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddedLogError {
    /// The log was opened without this topic.
    #[error("the log has no topic {0}; name it when the log is opened")]
    UnknownTopic(TopicName),
    /// A topic cannot shrink.
    #[error(
        "topic {topic} has {stored} partitions, not {asked}: partitions can only be added; ask for {stored} or more"
    )]
    FewerPartitions {
        /// The topic.
        topic: TopicName,
        /// What it has.
        stored: u32,
        /// What was asked for.
        asked: u32,
    },
    /// A topic has at least one partition and at most `i32::MAX`.
    #[error("topic {0} cannot have that many partitions; ask for 1 or more, up to 2147483647")]
    PartitionCount(TopicName),
    /// A limit that the format of records cannot hold.
    #[error("max_record_bytes is {0}; set it to 1 GiB or less")]
    RecordLimit(usize),
    /// A record above the limit.
    #[error("a record for {topic} has {size} bytes, and the log takes {limit}; raise max_record_bytes")]
    RecordTooLarge {
        /// Its topic.
        topic: TopicName,
        /// Its bytes.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A progress text above [`MAX_PROGRESS_TEXT`](super::MAX_PROGRESS_TEXT).
    #[error("the progress text for {0} is too long; commit a shorter one")]
    ProgressTooLong(Partition),
    /// An earlier write failed, so that nobody knows what is in the database.
    #[error("the log broke: {0}; end the process, see to the disk, and start again")]
    Broken(String),
    /// The writer ended.
    #[error("the log's writer is gone; end the process and start again")]
    WriterGone,
    /// A read ended without a result.
    #[error("a read from the log's database was broken off; end the process and start again")]
    ReaderGone,
}

impl From<EmbeddedLogError> for LogErrorKind {
    fn from(error: EmbeddedLogError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// A log in a folder. Clones are the same handle; the log is closed when the last handle, consumer and
/// committer is dropped, which waits for the writer and for the disk.
#[derive(Clone)]
pub struct EmbeddedLog {
    running: Arc<Running>,
    process: ProcessId,
}

impl EmbeddedLog {
    /// Opens the log in `folder`, or creates it. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`LogErrorKind::Locked`] if it is open already, here or in another process; [`LogErrorKind::Corrupt`] for a
    /// format or contents of something else; [`LogErrorKind::Io`]; and [`EmbeddedLogError`]s in `topics` or `options`.
    pub fn open(folder: &Path, topics: &[TopicSpec], options: Options) -> Result<Self, LogError> {
        let running = Running::start(folder, topics, options);
        let running = running
            .map_err(|error| LogError::new(format!("opening the log in {}", folder.display()), error))?;
        Ok(Self::handle(Arc::new(running)))
    }

    /// A handle on the same open log that stands for another process: what its members have, the committers of
    /// this one cannot commit progress of.
    pub fn another_process(&self) -> Self {
        Self::handle(Arc::clone(&self.running))
    }

    fn handle(running: Arc<Running>) -> Self {
        let process = ProcessId(running.shared.next_id());
        Self { running, process }
    }

    /// Every partition of a topic with the first offset that is kept and the end.
    fn bounds(&self, topic: TopicName) -> Result<Vec<(Partition, i64, i64)>, EmbeddedLogError> {
        let shared = &self.running.shared;
        let partitions = shared.partitions(topic)?;
        let state = shared.state();
        let known =
            partitions.iter().filter_map(|partition| Some((partition, state.partitions.get(partition)?)));
        Ok(known.map(|(partition, known)| (*partition, known.first(), known.end())).collect())
    }

    async fn scan_partition(
        &self,
        partition: Partition,
        from: i64,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogErrorKind> {
        let bounds = self.bounds(partition.topic)?;
        let Some((_, first, end)) = bounds.into_iter().find(|(known, ..)| *known == partition) else {
            return Ok(());
        };
        let mut from = from.max(first);
        while from < end {
            let (records, next) = self.read_some(partition, from, end).await?;
            if records.into_iter().any(|record| visit(record).is_break()) {
                return Ok(());
            }
            from = next;
        }
        Ok(())
    }

    async fn read_some(
        &self,
        partition: Partition,
        from: i64,
        until: i64,
    ) -> Result<(Vec<Record>, i64), LogErrorKind> {
        let shared = Arc::clone(&self.running.shared);
        let limit = ReadLimit::new(shared.options.batch_records, shared.options.batch_bytes);
        let read = move || shared.store.read(partition, from, until, limit);
        tokio::task::spawn_blocking(read).await.map_err(|_| EmbeddedLogError::ReaderGone)?
    }
}

impl Log for EmbeddedLog {
    type Consumer = EmbeddedConsumer;
    type Committer = EmbeddedCommitter;

    async fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<EmbeddedConsumer, LogError> {
        let shared = &self.running.shared;
        let mut partitions = Vec::new();
        for topic in topics {
            let known = shared.partitions(*topic);
            partitions.extend(known.map_err(|error| LogError::new(format!("joining {group}"), error))?);
        }
        let (member, wake) = (MemberId(shared.next_id()), Arc::new(Notify::new()));
        shared.state().join((group, member, self.process), &partitions, Arc::clone(&wake));
        Ok(EmbeddedConsumer::new(Arc::clone(&self.running), group, member, wake, budget))
    }

    async fn committer(&self, name: &str) -> Result<EmbeddedCommitter, LogError> {
        let epoch = self.running.shared.next_id();
        self.running.shared.state().committers.insert(name.to_owned(), epoch);
        let identity = Identity { name: name.into(), epoch, process: self.process };
        let committer = EmbeddedCommitter::new(Arc::clone(&self.running), identity);
        // What the one before had under way is decided before this one reads any progress.
        committer
            .settle()
            .await
            .map_err(|error| LogError::new(format!("becoming committer {name}"), error))?;
        Ok(committer)
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        let bounds = self.bounds(topic);
        let bounds = bounds.map_err(|error| LogError::new(format!("scanning {topic}"), error))?;
        let starts = bounds.into_iter().map(|(partition, first, _)| (partition, first)).collect();
        let mut visit_all = |record| {
            visit(record);
            ControlFlow::Continue(())
        };
        self.scan_from(starts, &mut visit_all).await
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        for (partition, from) in starts {
            self.scan_partition(partition, from, visit)
                .await
                .map_err(|error| LogError::new(format!("scanning {partition}"), error))?;
        }
        Ok(())
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let state = self.running.shared.state();
        let of =
            |partition| state.partitions.get(partition).and_then(|known| known.progress(group.0).cloned());
        Ok(partitions.iter().map(of).collect())
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        let bounds = self.bounds(topic);
        let bounds = bounds.map_err(|error| LogError::new(format!("reading the ends of {topic}"), error))?;
        Ok(bounds.into_iter().map(|(partition, _, end)| (partition, end)).collect())
    }

    fn max_record_bytes(&self) -> usize {
        self.running.shared.options.max_record_bytes
    }
}

/// The OS threads of an open log. They end, and what they leave is put on disk, when this is dropped.
struct Running {
    tasks: Option<mpsc::Sender<WriterTask>>,
    stop_sync: Option<StopSender<()>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Running {
    fn start(folder: &Path, topics: &[TopicSpec], options: Options) -> Result<Self, LogErrorKind> {
        check(topics, &options)?;
        let folder = Folder::open(folder)?;
        let (store, partitions) = Store::open(folder.data(), topics, &options)?;
        let shared = Arc::new(Shared::new(folder, store, partitions, options));
        let mut running = Self { tasks: None, stop_sync: None, threads: Vec::new(), shared };
        running.start_writer()?;
        if let Durability::Interval(interval) = options.durability {
            running.start_sync(interval)?;
        }
        Ok(running)
    }

    fn start_writer(&mut self) -> io::Result<()> {
        let (sender, tasks) = mpsc::channel(writer::QUEUE_LENGTH);
        let shared = Arc::clone(&self.shared);
        self.threads.push(spawn("avr-log-writer", move || writer::run(&shared, tasks))?);
        self.tasks = Some(sender);
        Ok(())
    }

    fn start_sync(&mut self, interval: Duration) -> io::Result<()> {
        let (sender, stop) = std::sync::mpsc::sync_channel(0);
        let shared = Arc::clone(&self.shared);
        self.threads.push(spawn("avr-log-sync", move || writer::run_sync(&shared, interval, &stop))?);
        self.stop_sync = Some(sender);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks = None;
        self.stop_sync = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(
                    "an OS thread of the log panicked; what its last commits did shows when it is opened again"
                );
            }
        }
        if let Err(error) = self.shared.sync() {
            tracing::error!(%error, "the log was closed without putting its last commits on disk");
        }
    }
}

fn check(topics: &[TopicSpec], options: &Options) -> Result<(), EmbeddedLogError> {
    if options.max_record_bytes > 1 << 30 {
        return Err(EmbeddedLogError::RecordLimit(options.max_record_bytes));
    }
    let is_impossible = |spec: &&TopicSpec| spec.partitions == 0 || i32::try_from(spec.partitions).is_err();
    topics.iter().find(is_impossible).map_or(Ok(()), |spec| Err(EmbeddedLogError::PartitionCount(spec.name)))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}
