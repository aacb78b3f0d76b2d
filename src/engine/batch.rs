//! Commits, as the owner sees them: what goes into one, and what follows from how it ended.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    EngineError, SubmitError,
    committer::{
        self, Advance, Committed, Errand, Finished, Job, NewCheckpoints, SinkPart, Submission, Verdict,
    },
    owner::{Owner, REFUSED_WAIT},
    partition::Epoch,
    progress_text,
    stage_state::StageState,
};
use crate::log::{GroupName, Partition, Progress, Record};

/// Progress as it was read back, for each partition of a job.
type Known = Vec<(GroupName, Partition, Option<Progress>)>;

impl Owner {
    /// Whether anything waits for a commit.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let may_commit = |finished: &Finished| !self.stages[finished.stage].is_refused(now);
        !self.submissions.is_empty() || self.finished.iter().any(may_commit) || self.sink_has_work(now)
    }

    /// Begins a commit when none is under way and either its time has come or enough is there.
    pub(super) fn commit_if_due(&mut self, now: Instant) -> Result<(), EngineError> {
        if self.committing || !self.has_work(now) {
            return Ok(());
        }
        if now < self.next_commit && self.finished_bytes < self.options.max_commit_bytes {
            return Ok(());
        }
        let job = self.build_job(now);
        if job.is_empty() {
            return Ok(());
        }
        self.committing = true;
        self.next_commit = now + self.options.commit_interval;
        self.errands.try_send(Errand::Commit(job)).map_err(|_| EngineError::Part("committer"))
    }

    fn sink_has_work(&self, now: Instant) -> bool {
        self.stages.iter().any(|stage| stage.sink_takes_part(self.more_may_come(), now))
    }

    /// Whether something was gathered that is to be written before the end.
    pub(super) fn has_gathered(&self, now: Instant) -> bool {
        self.stages.iter().any(|stage| stage.gathers() && stage.sink_takes_part(false, now))
    }

    /// Whether what waits may wait for more: not at the end, nor where there is no room for more.
    fn more_may_come(&self) -> bool {
        self.draining.is_none() && !self.is_full()
    }

    fn build_job(&mut self, now: Instant) -> Job {
        let mut job = Job { submissions: std::mem::take(&mut self.submissions), ..Job::default() };
        let mut bytes = 0;
        for finished in std::mem::take(&mut self.finished) {
            let stage = &mut self.stages[finished.stage];
            let size = finished.size();
            if stage.current(finished.record.partition, finished.epoch).is_none() {
                // The partition is another's by now: so is the work.
                self.unfinish(size);
            } else if stage.is_refused(now) || bytes > self.options.max_commit_bytes {
                self.finished.push(finished);
            } else {
                bytes += size;
                self.unfinish(size);
                job.finished.push(finished);
            }
        }
        self.take_for_sink(&mut job, now);
        job.advances = self.advances(&job);
        job
    }

    fn take_for_sink(&mut self, job: &mut Job, now: Instant) {
        let more_may_come = self.more_may_come();
        let takes_part = |stage: &StageState| stage.sink_takes_part(more_may_come, now);
        let Some(at) = self.stages.iter().position(takes_part) else { return };
        let stage = &mut self.stages[at];
        let (name, group, begins) = (stage.spec.name, stage.spec.group, stage.sink_begins());
        let records = if begins { vec![] } else { stage.take_batch(now) };
        let has_work = begins || !records.is_empty();
        job.sink = has_work.then_some(SinkPart { stage: at, name, group, records, letters: vec![] });
    }

    /// Where every partition of the job will be once it is committed.
    fn advances(&self, job: &Job) -> Vec<Advance> {
        let mut moved: BTreeMap<(usize, Partition), Vec<i64>> = BTreeMap::new();
        let mut add = |at: usize, record: &Record| {
            moved.entry((at, record.partition)).or_default().push(record.offset);
        };
        job.finished.iter().for_each(|finished| add(finished.stage, &finished.record));
        if let Some(part) = &job.sink {
            part.records.iter().for_each(|(_, record)| add(part.stage, record));
        }
        if let Some((at, carrier)) = job
            .sink
            .as_ref()
            .and_then(|part| Some((part.stage, self.stages[part.stage].checkpoint_partition()?)))
        {
            moved.entry((at, carrier)).or_default();
        }
        moved
            .into_iter()
            .filter_map(|((at, partition), offsets)| self.advance_of(at, partition, &offsets))
            .collect()
    }

    fn advance_of(&self, at: usize, partition: Partition, offsets: &[i64]) -> Option<Advance> {
        let stage = &self.stages[at];
        let state = stage.partitions.get(&partition)?;
        let mut completed = state.completed.clone();
        offsets.iter().for_each(|&offset| completed.insert(offset));
        Some(Advance {
            group: stage.spec.group,
            generation: stage.generation,
            partition,
            completed,
            checkpoint: state.checkpoint.clone(),
        })
    }

    pub(super) fn on_committed(&mut self, committed: Committed) -> Result<(), EngineError> {
        self.committing = false;
        let Committed { job, verdict, outputs, took } = committed;
        self.metrics.commit(verdict.as_str(), took);
        match verdict {
            Verdict::Done { checkpoints } => {
                self.metrics.outputs(&outputs);
                self.settle(job, checkpoints);
            }
            Verdict::Refused(groups) => self.refuse(job, &groups),
            Verdict::Unknown(known) => self.reconcile(job, &known),
            Verdict::Fatal(error) => return self.give_up_submissions(job, error),
        }
        self.publish();
        self.take_up_deferred()
    }

    /// The log may have what was submitted, and nobody here will know.
    fn give_up_submissions(&mut self, job: Job, error: EngineError) -> Result<(), EngineError> {
        reply_to(job.submissions, || Err(SubmitError::Doubtful));
        Err(error)
    }

    /// Everything in the job is done.
    fn settle(&mut self, job: Job, checkpoints: NewCheckpoints) {
        for Finished { stage, epoch, record, .. } in &job.finished {
            self.done(*stage, *epoch, record);
        }
        if let Some(part) = job.sink {
            part.records.iter().for_each(|(epoch, record)| self.done(part.stage, *epoch, record));
            let stage = &mut self.stages[part.stage];
            part.letters.iter().for_each(|(kind, _)| stage.metrics.dead_letter(kind));
            checkpoints
                .into_iter()
                .for_each(|(partition, checkpoint)| stage.keep_checkpoint(partition, checkpoint));
        }
        reply_to(job.submissions, || Ok(()));
    }

    fn done(&mut self, at: usize, epoch: Epoch, record: &Record) {
        let stage = &mut self.stages[at];
        stage.metrics.committed(1);
        stage.steps += 1;
        self.lost.remove(&(at, record.partition, record.offset));
        if let Some(state) = stage.current(record.partition, epoch) {
            let bytes = state.commit(record.offset);
            self.free(bytes);
        }
    }

    /// Nothing was written. Results of the groups that lost partitions stay back until the log says which; the
    /// rest goes into the next commit.
    fn refuse(&mut self, job: Job, groups: &[GroupName]) {
        tracing::debug!(?groups, "a commit was refused: partitions moved");
        let until = Instant::now() + REFUSED_WAIT;
        for stage in self.stages.iter_mut().filter(|stage| groups.contains(&stage.spec.group)) {
            stage.refused_until = Some(until);
        }
        self.take_back(job);
    }

    /// After a commit of unknown outcome: what the log has is done, the rest is committed again.
    fn reconcile(&mut self, job: Job, known: &Known) {
        let Job { finished, sink, submissions, .. } = job;
        for finished in finished {
            if self.holds(known, finished.stage, &finished.record) {
                self.done(finished.stage, finished.epoch, &finished.record);
            } else {
                self.finish(finished);
            }
        }
        if let Some(SinkPart { stage, records, .. }) = sink {
            let (done, open): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|(_, record)| self.holds(known, stage, record));
            done.iter().for_each(|(epoch, record)| self.done(stage, *epoch, record));
            self.stages[stage].put_back_batch(open);
        }
        self.reread_checkpoints(known);
        reply_to(submissions, || Err(SubmitError::Doubtful));
    }

    fn holds(&self, known: &Known, at: usize, record: &Record) -> bool {
        let group = self.stages[at].spec.group;
        let found = known.iter().find(|(g, p, _)| *g == group && *p == record.partition);
        committer::holds(found.and_then(|(_, _, progress)| progress.as_ref()), record.offset)
    }

    fn reread_checkpoints(&mut self, known: &Known) {
        for (group, partition, progress) in known {
            let decoded = progress.as_ref().and_then(|progress| progress_text::decode(progress).ok());
            let stage = self.stages.iter_mut().find(|stage| stage.spec.group == *group);
            if let (Some(decoded), Some(stage)) = (decoded, stage) {
                stage.keep_checkpoint(*partition, decoded.checkpoint);
            }
        }
    }

    /// Puts a job's content back to where it waited.
    fn take_back(&mut self, job: Job) {
        job.finished.into_iter().for_each(|finished| self.finish(finished));
        if let Some(part) = job.sink {
            self.stages[part.stage].put_back_batch(part.records);
        }
        self.submissions.extend(job.submissions);
    }
}

/// Answers submitters; one that no longer waits has nothing to be told.
pub(super) fn reply_to(submissions: Vec<Submission>, answer: impl Fn() -> Result<(), SubmitError>) {
    for submission in submissions {
        let _ = submission.reply.send(answer());
    }
}
