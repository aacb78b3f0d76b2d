//! What the coordinator puts into a commit, and what follows from how the commit ended.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    EngineError, SubmitError,
    commit_batch::{CommitBatch, NewCheckpoints, OffsetAdvance, SinkBatch, StepOutputs},
    committer::{CommitOutcome, Committed, CommitterCommand, Known},
    coordinator::{Coordinator, REFUSED_WAIT},
    handle::Submission,
    partition::Epoch,
    stage_state::StageState,
};
use crate::log::{GroupName, Partition, Record};

impl Coordinator {
    /// Whether anything waits for a commit.
    pub(super) fn has_commit_work(&self, now: Instant) -> bool {
        let takes_part = |stage: &StageState| stage.sink_takes_part(self.more_may_come(), now);
        self.queue.has_work(&self.stages, now) || self.stages.iter().any(takes_part)
    }

    /// Begins a commit when none is under way and either its time has come or enough is there.
    pub(super) fn commit_if_due(&mut self, now: Instant) -> Result<(), EngineError> {
        if !self.queue.is_due(now, &self.options) || !self.has_commit_work(now) {
            return Ok(());
        }
        let mut batch = self.queue.take(&mut self.stages, self.options.max_commit_bytes, now);
        batch.sink = self.take_for_sink(now);
        if batch.is_empty() {
            return Ok(());
        }
        batch.advances = self.advances(&batch);
        self.queue.begin_commit(now + self.options.commit_interval);
        self.command(CommitterCommand::Commit(batch))
    }

    /// Whether a sink lets records linger that are to be written before the end.
    pub(super) fn has_lingering(&self, now: Instant) -> bool {
        self.stages.iter().any(|stage| stage.lingers() && stage.sink_takes_part(false, now))
    }

    /// Whether what waits may wait for more: not at the end, nor where there is no room for more.
    fn more_may_come(&self) -> bool {
        self.drain.is_none() && !self.budget.is_full()
    }

    fn take_for_sink(&mut self, now: Instant) -> Option<SinkBatch> {
        let more_may_come = self.more_may_come();
        let at = self.stages.iter().position(|stage| stage.sink_takes_part(more_may_come, now))?;
        let stage = &mut self.stages[at];
        let begins = stage.sink_begins();
        let records = if begins { vec![] } else { stage.take_batch(now) };
        let (name, group) = (stage.spec.name, stage.spec.group);
        let batch = SinkBatch { stage: at, name, group, records, dead_letters: vec![] };
        (begins || !batch.records.is_empty()).then_some(batch)
    }

    /// Where every partition of the batch will be once it is committed.
    fn advances(&self, batch: &CommitBatch) -> Vec<OffsetAdvance> {
        let mut advances: BTreeMap<(usize, Partition), OffsetAdvance> = BTreeMap::new();
        let mut advance = |at: usize, partition: Partition, done: Option<i64>| {
            let stage = &self.stages[at];
            let Some(state) = stage.partitions.get(&partition) else { return };
            let advance = advances.entry((at, partition)).or_insert_with(|| OffsetAdvance {
                group: stage.spec.group,
                generation: stage.generation,
                partition,
                completed: state.completed.clone(),
                checkpoint: state.checkpoint.clone(),
            });
            done.into_iter().for_each(|offset| advance.completed.insert(offset));
        };
        for StepOutputs { stage, record, .. } in &batch.steps {
            advance(*stage, record.partition, Some(record.offset));
        }
        if let Some(sink) = &batch.sink {
            let records = sink.records.iter();
            records.for_each(|(_, record)| advance(sink.stage, record.partition, Some(record.offset)));
            let carrier = self.stages[sink.stage].checkpoint_partition();
            carrier.into_iter().for_each(|carrier| advance(sink.stage, carrier, None));
        }
        advances.into_values().collect()
    }

    pub(super) fn on_committed(&mut self, committed: Committed) -> Result<(), EngineError> {
        let Committed { batch, outcome, checkpoints, outputs, took } = committed;
        self.metrics.commit(outcome.as_str(), took);
        match outcome {
            CommitOutcome::Done => {
                self.metrics.outputs(&outputs);
                self.apply(batch, checkpoints);
            }
            CommitOutcome::Refused(groups) => self.refuse(batch, &groups),
            CommitOutcome::Unknown(known) => self.reconcile(batch, known),
            // The log may have what was submitted, and nobody here will know.
            CommitOutcome::Fatal(error) => return Err(error),
        }
        self.publish();
        self.read_back_deferred()
    }

    /// Everything in the batch is done.
    fn apply(&mut self, batch: CommitBatch, checkpoints: NewCheckpoints) {
        for StepOutputs { stage, epoch, record, .. } in &batch.steps {
            self.done(*stage, *epoch, record);
        }
        if let Some(sink) = batch.sink {
            sink.records.iter().for_each(|(epoch, record)| self.done(sink.stage, *epoch, record));
            let stage = &mut self.stages[sink.stage];
            sink.dead_letters.iter().for_each(|(kind, _)| stage.metrics.dead_letter(kind));
            for (partition, checkpoint) in checkpoints {
                stage.keep_checkpoint(partition, checkpoint);
            }
        }
        answer(batch.submissions, || Ok(()));
    }

    fn done(&mut self, at: usize, epoch: Epoch, record: &Record) {
        if let Some(drain) = &mut self.drain {
            drain.unconfirmed.remove(&(at, record.partition, record.offset));
        }
        let stage = &mut self.stages[at];
        stage.metrics.committed(1);
        stage.steps += 1;
        if let Some(state) = stage.current(record.partition, epoch) {
            let bytes = state.commit(record.offset);
            self.budget.give_back(bytes);
        }
    }

    /// Nothing was written. Results of the groups that lost partitions stay back until the log says which; the
    /// rest goes into the next commit.
    fn refuse(&mut self, batch: CommitBatch, groups: &[GroupName]) {
        tracing::debug!(?groups, "a commit was refused: partitions moved");
        let until = Instant::now() + REFUSED_WAIT;
        for stage in self.stages.iter_mut().filter(|stage| groups.contains(&stage.spec.group)) {
            stage.refused_until = Some(until);
        }
        batch.steps.into_iter().for_each(|step| self.queue.push(step));
        if let Some(sink) = batch.sink {
            self.stages[sink.stage].put_back_batch(sink.records);
        }
        self.queue.submit(batch.submissions);
    }

    /// After a commit of unknown outcome: what the log has is done, the rest is committed again.
    fn reconcile(&mut self, batch: CommitBatch, known: Known) {
        for step in batch.steps {
            if self.is_known(&known, step.stage, &step.record) {
                self.done(step.stage, step.epoch, &step.record);
            } else {
                self.queue.push(step);
            }
        }
        if let Some(SinkBatch { stage, records, .. }) = batch.sink {
            let (done, open): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|(_, record)| self.is_known(&known, stage, record));
            done.iter().for_each(|(epoch, record)| self.done(stage, *epoch, record));
            self.stages[stage].put_back_batch(open);
        }
        for ((group, partition), decoded) in known {
            if let Some(stage) = self.stages.iter_mut().find(|stage| stage.spec.group == group) {
                stage.keep_checkpoint(partition, decoded.checkpoint);
            }
        }
        answer(batch.submissions, || Err(SubmitError::Doubtful));
    }

    /// Whether the progress that was read back has the record.
    fn is_known(&self, known: &Known, at: usize, record: &Record) -> bool {
        let decoded = known.get(&(self.stages[at].spec.group, record.partition));
        decoded.is_some_and(|decoded| decoded.completed.contains(record.offset))
    }
}

fn answer(submissions: Vec<Submission>, with: impl Fn() -> Result<(), SubmitError>) {
    submissions.into_iter().for_each(|submission| submission.answer(with()));
}
