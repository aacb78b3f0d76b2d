//! The writer of a process.

use avr::log::{CommitError, Committer, GroupName, GroupProgress, LogError, Output, Partition, Progress};
use tokio::time::Instant;

use super::{
    MemoryProcess,
    state::{Identity, other},
};

/// The writer of a process.
#[derive(Debug)]
pub(crate) struct MemoryCommitter {
    process: MemoryProcess,
    identity: Identity,
    /// Whether the last commit was not made, or is in doubt.
    must_recover: bool,
}

impl MemoryCommitter {
    pub(super) fn new(process: MemoryProcess, identity: Identity) -> Self {
        Self { process, identity, must_recover: false }
    }
}

impl Committer for MemoryCommitter {
    async fn commit(
        &mut self,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        if self.must_recover {
            return Err(
                other("committing", "the last commit was not made or is in doubt: recover first").into()
            );
        }
        // Before time passes: so that another member may be at work when this commit arrives.
        progress.iter().for_each(|group| self.process.draw_silence(group.group));
        self.process.step().await?;
        let result = self.process.shared.with(|state| {
            state.pass(Instant::now());
            state.commit(&self.identity, outputs, progress)
        });
        self.must_recover = matches!(result, Err(CommitError::Retriable(_) | CommitError::Doubtful(_)));
        self.process.step().await?;
        result
    }

    async fn recover(&mut self) -> Result<(), LogError> {
        self.process.step().await?;
        // Like a Kafka producer made anew: if another took over meanwhile, that is fenced in turn.
        let (process, name) = (self.identity.process, self.identity.name.clone());
        self.identity = self.process.shared.with(|state| state.identify(process, &name));
        self.must_recover = false;
        self.process.step().await
    }

    async fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        self.process.step().await?;
        let progress = self
            .process
            .shared
            .with(|state| partitions.iter().map(|partition| state.progress_of(group, *partition)).collect());
        Ok(progress)
    }
}
