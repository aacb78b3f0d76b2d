//! Partitions that come and go, as the owner sees them.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    EngineError, ForeignProgress,
    committer::Errand,
    owner::Owner,
    partition::{Epoch, PartitionState},
    progress_text::{self, Decoded},
    pump::Order,
};
use crate::log::{Partition, Progress, Record};

impl Owner {
    /// The commit under way may have moved the very partitions that were assigned meanwhile (lost and given back):
    /// their progress is read again once it is decided. Until then nothing is heard of the log and nothing committed.
    pub(super) fn take_up_deferred(&mut self) -> Result<(), EngineError> {
        let Some((stage, partitions)) = self.deferred.take() else { return Ok(()) };
        self.committing = true;
        self.deferred = Some((stage, vec![]));
        let group = self.stages[stage].spec.group;
        self.errands
            .try_send(Errand::Read { stage, group, partitions })
            .map_err(|_| EngineError::Part("committer"))
    }

    pub(super) fn on_read(
        &mut self,
        at: usize,
        assigned: Vec<(Partition, Progress)>,
    ) -> Result<(), EngineError> {
        self.committing = false;
        self.deferred = None;
        self.on_assigned(at, assigned)
    }

    pub(super) fn on_assigned(
        &mut self,
        at: usize,
        assigned: Vec<(Partition, Progress)>,
    ) -> Result<(), EngineError> {
        let partitions: Vec<Partition> = assigned.iter().map(|(partition, _)| *partition).collect();
        tracing::debug!(stage = self.stages[at].spec.name, ?partitions, "assigned");
        let mut checkpoints = Vec::new();
        for (partition, progress) in assigned {
            let decoded = self.decode(at, partition, &progress)?;
            self.drop_partition(at, partition);
            if self.stages[at].carries_checkpoint(partition) {
                checkpoints.push((partition, decoded.checkpoint.clone()));
            }
            self.epochs += 1;
            let state = PartitionState::new(Epoch(self.epochs), decoded.completed, decoded.checkpoint);
            self.stages[at].partitions.insert(partition, state);
        }
        self.restore_sink(checkpoints)?;
        self.publish();
        self.stages[at].follow(&partitions)
    }

    fn decode(&self, at: usize, partition: Partition, progress: &Progress) -> Result<Decoded, EngineError> {
        let group = self.stages[at].spec.group;
        match (progress_text::decode(progress), self.options.foreign_progress) {
            (Ok(decoded), _) => Ok(decoded),
            (Err(cause), ForeignProgress::Refuse) => Err(EngineError::Progress { group, partition, cause }),
            (Err(cause), ForeignProgress::Ignore) => {
                tracing::warn!(%group, %partition, %cause, "progress is ignored but for its offset");
                let bare = Progress { text: String::new(), ..progress.clone() };
                progress_text::decode(&bare).map_err(|cause| EngineError::Progress {
                    group,
                    partition,
                    cause,
                })
            }
        }
    }

    /// Tells the sink where its files were, by the checkpoints of partitions that were assigned.
    fn restore_sink(&self, checkpoints: Vec<(Partition, String)>) -> Result<(), EngineError> {
        if checkpoints.is_empty() {
            return Ok(());
        }
        self.errands.try_send(Errand::Restore(checkpoints)).map_err(|_| EngineError::Part("committer"))
    }

    pub(super) fn admit(&mut self, at: usize, record: Record) {
        let size = record.size();
        match self.stages[at].admit(Arc::new(record), Instant::now()) {
            Some(bytes) => self.bytes += bytes,
            None => self.budget.give_back(size),
        }
    }

    pub(super) fn on_revoked(&mut self, at: usize, partitions: &[Partition]) {
        let until = Instant::now() + self.options.revoke_grace;
        let stage = &mut self.stages[at];
        tracing::debug!(stage = stage.spec.name, ?partitions, "revoked");
        for partition in partitions {
            stage.revoking.insert(*partition, until);
            stage.close(*partition);
        }
    }

    pub(super) fn drop_partition(&mut self, at: usize, partition: Partition) {
        let stage = &mut self.stages[at];
        if self.draining.is_some() {
            let results = stage.partitions.get(&partition).map(PartitionState::uncommitted);
            self.lost.extend(results.into_iter().flatten().map(|offset| (at, partition, offset)));
        }
        let bytes = stage.drop_partition(partition);
        self.free(bytes);
    }

    /// Gives up revoked partitions in which nothing is left to do, or whose grace is over.
    pub(super) fn release_quiet(&mut self, now: Instant) -> Result<(), EngineError> {
        for at in 0..self.stages.len() {
            let stage = &self.stages[at];
            let quiet = |partition| stage.partitions.get(partition).is_none_or(PartitionState::is_quiet);
            let over = |until: &Instant| *until <= now && !self.committing;
            let ready: Vec<Partition> = stage
                .revoking
                .iter()
                .filter(|(partition, until)| quiet(partition) || over(until))
                .map(|(partition, _)| *partition)
                .collect();
            if ready.is_empty() {
                continue;
            }
            ready.iter().for_each(|&partition| self.drop_partition(at, partition));
            self.stages[at].order(Order::Release(ready))?;
            self.publish();
        }
        Ok(())
    }
}
