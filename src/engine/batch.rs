//! Commits, as the owner sees them: what goes into one, and what follows from how it ended.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{
    EngineError, SubmitError, Work,
    committer::{self, Advance, Committed, Errand, Finished, Job, Sinking, Submission, Verdict},
    owner::{Owner, REFUSED_WAIT},
    partition::{Epoch, Phase},
    progress_text,
    stage_state::StageState,
};
use crate::broker::{GroupName, Partition, Progress, Record};

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
        let has_work = |stage: &StageState| self.sink_begins.is_some() || stage.waiting > 0;
        self.stages.iter().any(|stage| self.sink_may_write(stage, now) && has_work(stage))
    }

    fn sink_may_write(&self, stage: &StageState, now: Instant) -> bool {
        let is_sink = matches!(stage.spec.work, Work::Sink);
        is_sink && self.sink_ready && stage.revoking.is_empty() && !stage.is_refused(now)
    }

    fn build_job(&mut self, now: Instant) -> Job {
        let mut job = Job { submissions: std::mem::take(&mut self.submissions), ..Job::default() };
        let mut bytes = 0;
        for finished in std::mem::take(&mut self.finished) {
            let stage = &mut self.stages[finished.stage];
            let size = finished.size();
            if stage.current(finished.record.partition, finished.epoch).is_none() {
                // The partition is another's by now: so is the work.
                self.finished_bytes -= size;
            } else if stage.is_refused(now) || bytes > self.options.max_commit_bytes {
                self.finished.push(finished);
            } else {
                bytes += size;
                self.finished_bytes -= size;
                job.finished.push(finished);
            }
        }
        self.take_for_sink(&mut job, now);
        job.advances = self.advances(&job);
        job
    }

    fn take_for_sink(&mut self, job: &mut Job, now: Instant) {
        let Some(at) = self.stages.iter().position(|stage| self.sink_may_write(stage, now)) else { return };
        let stage = &mut self.stages[at];
        job.sink_stage = stage.spec.name;
        job.sink_begins = self.sink_begins.take();
        if job.sink_begins.is_some() {
            return;
        }
        while job.sinking.len() < stage.spec.max_in_flight {
            let Some((record, epoch)) = stage.take() else { break };
            if let Some(state) = stage.current(record.partition, epoch) {
                state.open(&record, Phase::Ended);
            }
            job.sinking.push(Sinking { stage: at, epoch, record });
        }
    }

    /// Where every partition of the job will be once it is committed.
    fn advances(&self, job: &Job) -> Vec<Advance> {
        let mut moved: BTreeMap<(usize, Partition), Vec<i64>> = BTreeMap::new();
        for finished in &job.finished {
            moved
                .entry((finished.stage, finished.record.partition))
                .or_default()
                .push(finished.record.offset);
        }
        for sinking in &job.sinking {
            moved.entry((sinking.stage, sinking.record.partition)).or_default().push(sinking.record.offset);
        }
        if let Some((at, carrier)) = job.sink_at().and_then(|at| Some((at, self.stages[at].note_carrier()?)))
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
            membership: stage.membership,
            partition,
            completed,
            note: state.note.clone(),
            carries_note: stage.carries_note(partition),
        })
    }

    pub(super) fn on_committed(&mut self, committed: Committed) -> Result<(), EngineError> {
        self.committing = false;
        let Committed { job, verdict, outputs, took } = committed;
        self.metrics.commit(verdict.as_str(), took);
        match verdict {
            Verdict::Done { note } => {
                self.metrics.outputs(&outputs);
                self.settle(job, note.as_deref());
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
    fn settle(&mut self, job: Job, note: Option<&str>) {
        for Finished { stage, epoch, record, .. } in &job.finished {
            self.done(*stage, *epoch, record);
        }
        for Sinking { stage, epoch, record } in &job.sinking {
            self.done(*stage, *epoch, record);
        }
        if let (Some(note), Some(at)) = (note, job.sink_at()) {
            self.keep_note(at, note);
        }
        reply_to(job.submissions, || Ok(()));
    }

    fn done(&mut self, at: usize, epoch: Epoch, record: &Record) {
        let stage = &mut self.stages[at];
        stage.metrics.committed(1);
        stage.steps += 1;
        if let Some(state) = stage.current(record.partition, epoch) {
            self.bytes -= state.commit(record.offset);
        }
    }

    fn keep_note(&mut self, at: usize, note: &str) {
        if let Some(state) = self.stages[at].note_holder() {
            note.clone_into(&mut state.note);
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
        let Job { finished, sinking, submissions, sink_begins, .. } = job;
        for finished in finished {
            if self.holds(known, finished.stage, &finished.record) {
                self.done(finished.stage, finished.epoch, &finished.record);
            } else {
                self.finish(finished);
            }
        }
        for Sinking { stage, epoch, record } in sinking {
            if self.holds(known, stage, &record) {
                self.done(stage, epoch, &record);
            } else {
                self.stages[stage].put_back(record, epoch);
            }
        }
        self.reread_notes(known);
        let mut begun = |at: usize| self.stages[at].note_holder().is_some_and(|state| !state.note.is_empty());
        self.sink_begins = sink_begins.filter(|&at| !begun(at));
        reply_to(submissions, || Err(SubmitError::Doubtful));
    }

    fn holds(&self, known: &Known, at: usize, record: &Record) -> bool {
        let group = self.stages[at].spec.group;
        let found = known.iter().find(|(g, p, _)| *g == group && *p == record.partition);
        committer::holds(found.and_then(|(_, _, progress)| progress.as_ref()), record.offset)
    }

    fn reread_notes(&mut self, known: &Known) {
        for stage in &mut self.stages {
            let carrier = stage.note_carrier();
            let found = known.iter().find(|(g, p, _)| *g == stage.spec.group && Some(*p) == carrier);
            let decoded = found.and_then(|(_, _, progress)| progress_text::decode(progress.as_ref()?).ok());
            if let (Some(decoded), Some(state)) = (decoded, stage.note_holder()) {
                state.note = decoded.note;
            }
        }
    }

    /// Puts a job's content back to where it waited.
    fn take_back(&mut self, job: Job) {
        job.finished.into_iter().for_each(|finished| self.finish(finished));
        for sinking in job.sinking {
            self.stages[sinking.stage].put_back(sinking.record, sinking.epoch);
        }
        self.sink_begins = self.sink_begins.or(job.sink_begins);
        self.submissions.extend(job.submissions);
    }
}

/// Answers submitters; one that no longer waits has nothing to be told.
pub(super) fn reply_to(submissions: Vec<Submission>, answer: impl Fn() -> Result<(), SubmitError>) {
    for submission in submissions {
        let _ = submission.reply.send(answer());
    }
}
