//! A log that breaks one promise, to see that the simulation notices; and one that keeps them all.

use std::{ops::ControlFlow, sync::Arc};

use avr::{
    log::{
        Budget, CommitError, Committer, GroupName, GroupProgress, Log, LogError, Output, Partition, Progress,
        Record,
    },
    topic::TopicName,
};

use crate::memory_log::MemoryProcess;

/// The promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    /// The last output of a commit is not written.
    LosesAnOutput,
    /// Outputs are written, progress is not.
    LosesProgress,
    /// Progress is written, and outputs after it.
    Tears,
    /// Of progress only the prefix is kept.
    ForgetsWhatIsBeyond,
    /// Progress of former owners is taken (by the log's own option, not here).
    DoesNotFence,
}

/// A process' log with a fault in its committer.
#[derive(Clone, Debug)]
pub(super) struct Faulty {
    pub(super) process: MemoryProcess,
    pub(super) fault: Fault,
}

/// The committer of a log with a fault.
#[derive(Debug)]
pub(super) struct FaultyCommitter<C> {
    inner: C,
    fault: Fault,
}

impl<C: Committer> Committer for FaultyCommitter<C> {
    async fn commit(
        &mut self,
        mut outputs: Vec<Output>,
        mut progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        match self.fault {
            Fault::None | Fault::DoesNotFence => {}
            Fault::LosesAnOutput => drop(outputs.pop()),
            Fault::LosesProgress => progress.clear(),
            Fault::Tears => self.inner.commit(vec![], std::mem::take(&mut progress)).await?,
            Fault::ForgetsWhatIsBeyond => texts(&mut progress).for_each(String::clear),
        }
        self.inner.commit(outputs, progress).await
    }

    async fn recover(&mut self) -> Result<(), LogError> {
        self.inner.recover().await
    }

    async fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        self.inner.progress(group, partitions).await
    }
}

/// The texts of steps' progress; the sink's holds its checkpoint and stays.
fn texts(progress: &mut [GroupProgress]) -> impl Iterator<Item = &mut String> {
    let steps = progress.iter_mut().filter(|group| group.group != GroupName("export"));
    steps.flat_map(|group| group.partitions.iter_mut().map(|(_, progress)| &mut progress.text))
}

impl Log for Faulty {
    type Consumer = <MemoryProcess as Log>::Consumer;
    type Committer = FaultyCommitter<<MemoryProcess as Log>::Committer>;

    async fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<Self::Consumer, LogError> {
        self.process.consumer_within(group, topics, budget).await
    }

    async fn committer(&self, name: &str) -> Result<Self::Committer, LogError> {
        Ok(FaultyCommitter { inner: self.process.committer(name).await?, fault: self.fault })
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        self.process.scan(topic, visit).await
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        self.process.scan_from(starts, visit).await
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        Log::progress(&self.process, group, partitions).await
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        self.process.ends(topic).await
    }

    fn max_record_bytes(&self) -> usize {
        self.process.max_record_bytes()
    }
}
