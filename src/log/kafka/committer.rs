//! The engine's side of the committer: it hands everything to a thread that may block.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
};

use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;

use super::{KafkaOptions, failure, member::Members, progress, reporter::Reporter, transactor::Transactor};
use crate::log::{CommitError, Committer, GroupName, GroupProgress, LogError, Output, Partition, Progress};

/// What the thread is asked.
enum Task {
    Commit {
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
        reply: oneshot::Sender<Result<(), CommitError>>,
    },
    Recover(oneshot::Sender<Result<(), LogError>>),
    Progress {
        group: GroupName,
        partitions: Vec<Partition>,
        reply: oneshot::Sender<Result<Vec<Option<Progress>>, LogError>>,
    },
}

/// A committer of a Kafka cluster: a transactional producer.
#[derive(Debug)]
pub struct KafkaCommitter {
    tasks: SyncSender<Task>,
    abandoned: Arc<AtomicBool>,
}

impl KafkaCommitter {
    /// Becomes the committer called `name`; waits for the cluster as long as it takes.
    pub(super) async fn start(
        options: Arc<KafkaOptions>,
        members: Arc<Members>,
        name: &str,
    ) -> Result<Self, LogError> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let transactor =
            Transactor::new(Arc::clone(&options), Arc::clone(&members), name, Arc::clone(&abandoned));
        let worker = Worker { transactor, options, members, readers: BTreeMap::new(), abandoned };
        // One task at a time: a committer is asked by one, who waits.
        let (tasks, queue) = mpsc::sync_channel(2);
        let committer = Self { tasks, abandoned: Arc::clone(&worker.abandoned) };
        thread::Builder::new()
            .name("kafka-committer".to_owned())
            .spawn(move || worker.run(&queue))
            .map_err(|error| LogError::new("starting a thread", error))?;
        let (reply, recovered) = oneshot::channel();
        committer.ask(Task::Recover(reply))?;
        recovered.await.map_err(|_| gone())??;
        Ok(committer)
    }

    fn ask(&self, task: Task) -> Result<(), LogError> {
        self.tasks.try_send(task).map_err(|_| gone())
    }
}

fn gone() -> LogError {
    failure::ours(
        "committing",
        "the thread of the committer is gone, or has not ended what it was asked before",
    )
}

impl Committer for KafkaCommitter {
    async fn commit(
        &mut self,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        let (reply, result) = oneshot::channel();
        self.ask(Task::Commit { outputs, progress, reply })?;
        result.await.unwrap_or_else(|_| Err(CommitError::Doubtful(gone())))
    }

    async fn recover(&mut self) -> Result<(), LogError> {
        let (reply, result) = oneshot::channel();
        self.ask(Task::Recover(reply))?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let (reply, result) = oneshot::channel();
        self.ask(Task::Progress { group, partitions, reply })?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for KafkaCommitter {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// The thread's own state.
struct Worker {
    transactor: Transactor,
    options: Arc<KafkaOptions>,
    members: Arc<Members>,
    /// Readers of the progress of groups of which this process is no member.
    readers: BTreeMap<GroupName, BaseConsumer<Reporter>>,
    abandoned: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Task>) {
        for task in queue {
            // Whoever does not wait any more needs no answer.
            match task {
                Task::Commit { outputs, progress, reply } => {
                    let _ = reply.send(self.transactor.commit(&outputs, &progress));
                }
                Task::Recover(reply) => {
                    let _ = reply.send(self.transactor.recover());
                }
                Task::Progress { group, partitions, reply } => {
                    let _ = reply.send(self.progress(group, &partitions));
                }
            }
        }
    }

    fn progress(
        &mut self,
        group: GroupName,
        partitions: &[Partition],
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let context = format!("reading the progress of {group}");
        let prefix = &self.options.prefix;
        let is_abandoned = || self.abandoned.load(Ordering::Acquire);
        // A member has a connection to ask by, as long as it does not leave.
        if let Some(member) = self.members.of(group).first() {
            let gives_up = || is_abandoned() || member.is_leaving();
            let found = progress::read(&member.native, prefix, partitions, &context, gives_up);
            if let Ok(found) = &found {
                let mut holdings = member.holdings();
                partitions.iter().zip(found).for_each(|(at, progress)| holdings.learn(*at, progress.clone()));
            }
            if found.is_ok() || !member.is_leaving() {
                return found;
            }
        }
        let reader = match self.readers.entry(group) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(
                self.options
                    .consumer_config(group.0)
                    .create_with_context(Reporter::new(format!("reader of {group}")))
                    .map_err(|error| failure::log_error(&context, &error))?,
            ),
        };
        progress::read(reader, prefix, partitions, &context, is_abandoned)
    }
}
