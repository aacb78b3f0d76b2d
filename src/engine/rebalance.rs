//! What the coordinator does when partitions come and go.

use tokio::time::Instant;

use super::{
    EngineError, ForeignProgress,
    committer::CommitterCommand,
    coordinator::Coordinator,
    partition::{Epoch, PartitionState},
    progress_text::{self, Decoded},
    pump::Order,
};
use crate::log::{Partition, Progress};

impl Coordinator {
    /// The commit that just ended may have moved the very partitions that were assigned meanwhile (lost and given back):
    /// their progress is read again. Until then nothing is heard of the log and nothing committed.
    pub(super) fn read_back_deferred(&mut self) -> Result<(), EngineError> {
        let Some((stage, partitions)) = self.queue.end_commit() else { return Ok(()) };
        let group = self.stages[stage].spec.group;
        self.command(CommitterCommand::ReadProgress { stage, group, partitions })
    }

    pub(super) fn on_read_back(
        &mut self,
        at: usize,
        assigned: Vec<(Partition, Progress)>,
    ) -> Result<(), EngineError> {
        self.queue.end_read_back();
        self.on_assigned(at, assigned)
    }

    pub(super) fn on_assigned(
        &mut self,
        at: usize,
        assigned: Vec<(Partition, Progress)>,
    ) -> Result<(), EngineError> {
        let partitions: Vec<Partition> = assigned.iter().map(|(partition, _)| *partition).collect();
        if !self.queue.may_assign(at, partitions.iter().copied()) {
            return Ok(());
        }
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
        if !checkpoints.is_empty() {
            self.command(CommitterCommand::Restore(checkpoints))?;
        }
        self.publish();
        self.stages[at].follow(&partitions)
    }

    fn decode(&self, at: usize, partition: Partition, progress: &Progress) -> Result<Decoded, EngineError> {
        let group = self.stages[at].spec.group;
        let failed = |cause| EngineError::Progress { group, partition, cause };
        match (progress_text::decode(progress), self.options.foreign_progress) {
            (Ok(decoded), _) => Ok(decoded),
            (Err(cause), ForeignProgress::Refuse) => Err(failed(cause)),
            (Err(cause), ForeignProgress::Ignore) => {
                tracing::warn!(%group, %partition, %cause, "progress is ignored but for its offset");
                let bare = Progress { text: String::new(), ..progress.clone() };
                progress_text::decode(&bare).map_err(failed)
            }
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
        if let Some(drain) = &mut self.drain {
            let results = stage.partitions.get(&partition).map(PartitionState::uncommitted);
            let results = results.into_iter().flatten();
            drain.unconfirmed.extend(results.map(|offset| (at, partition, offset)));
        }
        self.budget.give_back(stage.drop_partition(partition));
    }

    /// Gives up revoked partitions in which nothing is left to do, or whose grace is over.
    pub(super) fn release_quiet(&mut self, now: Instant) -> Result<(), EngineError> {
        for at in 0..self.stages.len() {
            let ready = self.stages[at].ready_to_release(now, self.queue.is_idle());
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
