//! The engine's side of the committer: it hands everything to an OS thread that may block.

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
use tokio::sync::{oneshot, watch};

use super::transaction_runner::TransactionRunner;
use crate::log::{
    CommitError, Committer, GroupName, GroupProgress, LogError, Output, Partition, Progress,
    kafka::{KafkaOptions, consume::GroupRegistry, error, read::committed, reporter::Reporter},
};

/// What the OS thread is asked for.
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
    pub(crate) async fn start(
        options: Arc<KafkaOptions>,
        registry: Arc<GroupRegistry>,
        name: &str,
        hung_calls: watch::Sender<u64>,
    ) -> Result<Self, LogError> {
        let abandoned = Arc::new(AtomicBool::new(false));
        let (for_runner, stop) = (Arc::clone(&registry), Arc::clone(&abandoned));
        let runner = TransactionRunner::new(Arc::clone(&options), for_runner, name, hung_calls, stop);
        let (readers, stop) = (BTreeMap::new(), Arc::clone(&abandoned));
        let worker = Worker { runner, options, registry, readers, abandoned: stop };
        // One task at a time: the one who asks waits for the answer.
        let (tasks, queue) = mpsc::sync_channel(2);
        thread::Builder::new()
            .name("kafka-committer".to_owned())
            .spawn(move || worker.run(&queue))
            .map_err(|error| LogError::new("starting an OS thread", error))?;
        let committer = Self { tasks, abandoned };
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
    error::ours(
        "committing",
        "the OS thread of the committer is gone, or has not ended what it was asked before",
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

/// The state of the OS thread.
struct Worker {
    runner: TransactionRunner,
    options: Arc<KafkaOptions>,
    registry: Arc<GroupRegistry>,
    /// Readers of the progress of groups of which this process is no member.
    readers: BTreeMap<GroupName, BaseConsumer<Reporter>>,
    abandoned: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, queue: &mpsc::Receiver<Task>) {
        for task in queue {
            // A caller that does not wait any more needs no answer.
            match task {
                Task::Commit { outputs, progress, reply } => {
                    let _ = reply.send(self.runner.commit(&outputs, &progress));
                }
                Task::Recover(reply) => {
                    let _ = reply.send(self.runner.recover());
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
        if let Some(member) = self.registry.members_of(group).first() {
            let gives_up = || is_abandoned() || member.is_leaving();
            let found = committed::read(&member.client, prefix, partitions, &context, gives_up);
            if let Ok(found) = &found {
                let mut owned = member.owned();
                let found = partitions.iter().zip(found);
                found.for_each(|(partition, progress)| owned.note_committed(*partition, progress.clone()));
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
                    .map_err(|error| error::log_error(&context, &error))?,
            ),
        };
        committed::read(reader, prefix, partitions, &context, is_abandoned)
    }
}
