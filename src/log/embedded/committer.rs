//! The side that writes: prepares a commit in its caller's task and hands it to the writer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    EmbeddedLogError, Running, codec,
    writer::{Commit, Identity, WriterTask},
};
use crate::{
    clock::now_ms,
    log::{
        CommitError, Committer, GroupName, GroupProgress, LogError, LogErrorKind, Output, Partition, Progress,
    },
};

/// A committer of an embedded log.
///
/// **Whose progress it may commit.** A commit carries no member, so the log asks for the process: progress of a
/// partition is taken while some member of the group that came from the same handle (or a clone of it) has the
/// partition, from [`Event::Assigned`](crate::log::Event::Assigned) until the release or the end of the
/// member. A partition that moves between two members of one process therefore does not fence that process' own
/// commits; it holds one picture of its progress and need not be protected from itself.
pub struct EmbeddedCommitter {
    running: Arc<Running>,
    identity: Identity,
    without_key: AtomicU32,
}

impl EmbeddedCommitter {
    /// A committer that is the latest of its name.
    pub(super) fn new(running: Arc<Running>, identity: Identity) -> Self {
        Self { running, identity, without_key: AtomicU32::new(0) }
    }

    /// Waits until everything that was asked of the writer before is decided.
    pub(super) async fn settle(&self) -> Result<(), LogErrorKind> {
        let (reply, decided) = oneshot::channel();
        self.send(WriterTask::Barrier(reply)).await?;
        decided.await.map_err(|_| EmbeddedLogError::WriterGone)?;
        self.running.shared.state().check()
    }

    async fn send(&self, task: WriterTask) -> Result<(), EmbeddedLogError> {
        let tasks = self.running.tasks.as_ref().ok_or(EmbeddedLogError::WriterGone)?;
        tasks.send(task).await.map_err(|_| EmbeddedLogError::WriterGone)
    }

    fn prepare(&self, outputs: &[Output]) -> Result<Vec<(Partition, Bytes)>, EmbeddedLogError> {
        let timestamp_ms = now_ms();
        outputs
            .iter()
            .map(|output| Ok((self.partition(output)?, codec::encode(output, timestamp_ms))))
            .collect()
    }

    /// The partition of a record: by a hash of its key, or in turn where it has none.
    fn partition(&self, output: &Output) -> Result<Partition, EmbeddedLogError> {
        let size = output.size();
        let limit = output.topic.size_limit(self.running.shared.options.max_record_bytes);
        if size > limit {
            return Err(EmbeddedLogError::RecordTooLarge { topic: output.topic, size, limit });
        }
        let partitions = self.running.shared.partitions(output.topic)?;
        let number = match &output.key {
            Some(key) => stable_hash(key),
            None => u64::from(self.without_key.fetch_add(1, Ordering::Relaxed)),
        };
        let index = number % partitions.len() as u64;
        Ok(partitions[usize::try_from(index).expect("it is below the length of a slice")])
    }
}

impl Committer for EmbeddedCommitter {
    async fn commit(
        &mut self,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        let fatal = |error: EmbeddedLogError| CommitError::Fatal(LogError::new("committing", error));
        check_texts(&progress).map_err(fatal)?;
        let outputs = self.prepare(&outputs).map_err(fatal)?;
        let (reply, result) = oneshot::channel();
        let commit = Commit { identity: self.identity.clone(), outputs, progress, reply };
        self.send(WriterTask::Commit(commit)).await.map_err(fatal)?;
        let doubtful = |_| CommitError::Doubtful(LogError::new("committing", EmbeddedLogError::WriterGone));
        result.await.map_err(doubtful)?
    }

    async fn recover(&mut self) -> Result<(), LogError> {
        let context = format!("recovering committer {}", self.identity.name);
        if let Err(error) = self.settle().await {
            return Err(LogError::new(context, error));
        }
        let latest = self.running.shared.state().committers.get(&*self.identity.name).copied();
        if latest == Some(self.identity.epoch) {
            Ok(())
        } else {
            Err(LogError::new(context, LogErrorKind::Fenced))
        }
    }

    async fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let context = || format!("reading the progress of {group}");
        self.settle().await.map_err(|error| LogError::new(context(), error))?;
        let state = self.running.shared.state();
        let progress = |partition| Some(state.partitions.get(partition)?.progress(group.0)?.clone());
        Ok(partitions.iter().map(progress).collect())
    }
}

fn check_texts(progress: &[GroupProgress]) -> Result<(), EmbeddedLogError> {
    let mut all = progress.iter().flat_map(|progress| &progress.partitions);
    let too_long = all.find(|(_, progress)| progress.is_too_long());
    too_long.map_or(Ok(()), |(partition, _)| Err(EmbeddedLogError::ProgressTooLong(*partition)))
}

/// The first eight bytes of BLAKE3, the same on every machine and in every version.
fn stable_hash(key: &[u8]) -> u64 {
    let hash = blake3::hash(key);
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes"))
}
