//! The owner of the engine's state: one task that hears every event and decides what happens next.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{
    EngineError, EngineOptions, Handle, PausedStages, Sink, StageSpec, Status, Stop, Work,
    committer::{self, Answer, Errand, Finished, Submission},
    partition::{Epoch, Phase},
    pump::{self, Report},
    stage_state::StageState,
    step::{self, Step, StepReport, StepResult},
};
use crate::{
    log::{Budget, Event, Log, LogError, Partition, Record},
    observe::{EngineMetrics, Metrics, StageMetrics},
};

/// Reports of consumers that may wait for the owner.
const REPORTS: usize = 32;
/// Orders that may wait for a consumer; more means that it has stopped answering.
const ORDERS: usize = 1024;
/// Submissions that may wait for a commit.
const SUBMISSIONS: usize = 16;
/// How long results of a stage stay back after the log refused them, if it says nothing more.
pub(super) const REFUSED_WAIT: Duration = Duration::from_millis(100);
/// How long the last commit may take after the grace, and leaving the groups after that.
const LEAVE: Duration = Duration::from_secs(10);
/// The owner looks up at least this often.
const IDLE: Duration = Duration::from_secs(3600);

/// Stages, a sink and a log, ready to run.
pub struct Engine<L: Log> {
    log: L,
    stages: Vec<StageSpec>,
    sink: Option<Box<dyn Sink>>,
    options: EngineOptions,
    metrics: Metrics,
    submissions: mpsc::Receiver<Submission>,
    status: watch::Sender<Status>,
    gates: watch::Receiver<PausedStages>,
}

impl<L: Log> Engine<L> {
    /// An engine over `log` for `stages`, given in the order of the dataflow: where places are short, later stages
    /// go first, so that half-done work stays small.
    pub fn new(
        log: L,
        stages: Vec<StageSpec>,
        sink: Option<Box<dyn Sink>>,
        options: EngineOptions,
        metrics: Metrics,
    ) -> (Self, Handle) {
        let (submit, submissions) = mpsc::channel(SUBMISSIONS);
        let (status, watched) = watch::channel(Status::default());
        let handle = Handle { submissions: submit, status: watched };
        let (_, gates) = watch::channel(PausedStages::default());
        (Self { log, stages, sink, options, metrics, submissions, status, gates }, handle)
    }

    /// Lets others close the gate before a stage: it starts no step then and fetches nothing, but what runs goes on
    /// and its consumer is polled.
    #[must_use]
    pub fn with_paused(self, gates: watch::Receiver<PausedStages>) -> Self {
        Self { gates, ..self }
    }

    /// Runs until `stop` says so and everything is drained, or until something fails.
    ///
    /// # Errors
    /// See [`EngineError`]. Whatever the error, what was committed is complete, and a later run goes on from there.
    pub async fn run(self, mut stop: watch::Receiver<Stop>) -> Result<(), EngineError> {
        let (mut owner, mut inbox) = self.start().await?;
        owner.on_gates();
        owner.publish();
        let outcome = owner.serve(&mut inbox, &mut stop).await;
        owner.leave(inbox).await;
        outcome
    }

    async fn start(self) -> Result<(Owner, Inbox), EngineError> {
        let committer = self.log.committer(&self.options.committer).await?;
        let (report_to, reports) = mpsc::channel(REPORTS);
        let (errands, errand_queue) = mpsc::channel(REPORTS);
        let (answer_to, answers) = mpsc::channel(REPORTS);
        let mut services = JoinSet::new();
        services.spawn(async move {
            committer::run(committer, self.sink, errand_queue, answer_to).await;
            Ok(())
        });
        let budget = Arc::new(Budget::new(self.options.max_bytes));
        let mut stages = Vec::with_capacity(self.stages.len());
        for (at, spec) in self.stages.into_iter().enumerate() {
            let within = Arc::clone(&budget);
            let consumer = self.log.consumer_within(spec.group, &spec.topics, within).await?;
            let (orders, order_queue) = mpsc::channel(ORDERS);
            services.spawn(pump::pump(at, consumer, report_to.clone(), order_queue));
            stages.push(StageState::new(spec.clone(), orders, StageMetrics::new(&self.metrics, spec.name)));
        }
        let inbox = Inbox { reports, answers, submissions: self.submissions, services };
        let owner = Owner {
            max_record_bytes: self.log.max_record_bytes(),
            options: self.options,
            metrics: EngineMetrics::new(&self.metrics),
            stages,
            steps: JoinSet::new(),
            errands,
            finished: Vec::new(),
            finished_bytes: 0,
            submissions: Vec::new(),
            committing: false,
            next_commit: Instant::now(),
            budget,
            bytes: 0,
            epochs: 0,
            deferred: None,
            failure: None,
            draining: None,
            lost: BTreeSet::new(),
            status: self.status,
            gates: self.gates,
        };
        Ok((owner, inbox))
    }
}

/// Where events arrive.
struct Inbox {
    reports: mpsc::Receiver<Report>,
    answers: mpsc::Receiver<Answer>,
    submissions: mpsc::Receiver<Submission>,
    services: JoinSet<Result<(), LogError>>,
}

/// The state of a running engine.
pub(super) struct Owner {
    pub(super) options: EngineOptions,
    pub(super) metrics: EngineMetrics,
    max_record_bytes: usize,
    pub(super) stages: Vec<StageState>,
    /// Running steps; they end with the owner.
    steps: JoinSet<StepReport>,
    pub(super) errands: mpsc::Sender<Errand>,
    /// Steps that wait for a commit.
    pub(super) finished: Vec<Finished>,
    pub(super) finished_bytes: usize,
    pub(super) submissions: Vec<Submission>,
    pub(super) committing: bool,
    pub(super) next_commit: Instant,
    /// Bytes of records on their way here or fetched and not committed, and of results that wait for a commit.
    pub(super) budget: Arc<Budget>,
    /// Of those: of records that have arrived here.
    pub(super) bytes: usize,
    pub(super) epochs: u64,
    /// Partitions assigned while a commit was under way: which stage's, and which.
    pub(super) deferred: Option<(usize, Vec<Partition>)>,
    /// Why the engine ends before it was told to.
    failure: Option<EngineError>,
    /// Since the stop: until when steps may go on.
    pub(super) draining: Option<Instant>,
    /// Since the stop: results that went with their partitions, unless a commit that was under way had them.
    pub(super) lost: BTreeSet<(usize, Partition, i64)>,
    status: watch::Sender<Status>,
    gates: watch::Receiver<PausedStages>,
}

impl Owner {
    async fn serve(
        &mut self,
        inbox: &mut Inbox,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), EngineError> {
        if *stop.borrow_and_update() == Stop::Drain {
            self.drain();
        }
        loop {
            // One time for all: what is not due yet when it is looked at is still to come when the waking is set.
            let now = Instant::now();
            self.advance(now)?;
            if self.is_drained(now) || self.gives_up(now) {
                return self.conclude();
            }
            let wake = self.wake_at(now);
            let may_submit = self.draining.is_none() && self.submissions.len() < SUBMISSIONS;
            tokio::select! {
                biased;
                changed = stop.changed(), if self.draining.is_none() => {
                    if changed.is_err() || *stop.borrow() == Stop::Drain {
                        self.drain();
                    }
                }
                answer = inbox.answers.recv() => match answer.ok_or(EngineError::Part("committer"))? {
                    Answer::Committed(committed) => self.on_committed(*committed)?,
                    Answer::Read { stage, assigned } => self.on_read(stage, assigned)?,
                },
                Some(step) = self.steps.join_next() => self.on_steps(step)?,
                Some(service) = inbox.services.join_next() => Self::on_service(service)?,
                // Few between two commits, so that they cannot keep the reports, which may come without end, waiting.
                submission = inbox.submissions.recv(), if may_submit => match submission {
                    Some(submission) => self.submissions.push(submission),
                    None => self.drain(),
                },
                report = inbox.reports.recv(), if self.deferred.is_none() => {
                    self.on_report(report.ok_or(EngineError::Part("consumers"))?)?;
                }
                Ok(()) = self.gates.changed() => self.on_gates(),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Everything that can happen now: commits, starts, and regulation of what is fetched.
    fn advance(&mut self, now: Instant) -> Result<(), EngineError> {
        self.expire(now);
        self.dispatch();
        self.commit_if_due(now)?;
        self.release_quiet(now)?;
        self.audit();
        let (full, ending) = (self.is_full(), self.draining.is_some());
        let stops = |stage: &StageState| full || stage.closed || (ending && stage.gathers());
        self.stages.iter_mut().try_for_each(|stage| stage.regulate(stops(stage)))
    }

    /// Somebody closed or opened gates.
    fn on_gates(&mut self) {
        let closed = self.gates.borrow_and_update().clone();
        for stage in &mut self.stages {
            let is_closed = closed.contains(stage.spec.name);
            if is_closed != stage.closed {
                tracing::info!(stage = stage.spec.name, is_closed, "the gate before a stage");
            }
            stage.closed = is_closed;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.budget.is_full()
    }

    /// The sums that are kept are what their parts add up to. Looked at in builds for tests.
    fn audit(&self) {
        if cfg!(debug_assertions) {
            let bytes: usize = self.stages.iter().map(|stage| stage.audit().bytes).sum();
            debug_assert_eq!(bytes, self.bytes, "bytes of records");
            let finished: usize = self.finished.iter().map(Finished::size).sum();
            debug_assert_eq!(finished, self.finished_bytes, "bytes of results");
            debug_assert!(bytes + finished <= self.budget.taken(), "the rest is on its way");
        }
    }

    fn dispatch(&mut self) {
        if self.draining.is_some() {
            return;
        }
        for at in (0..self.stages.len()).rev() {
            while self.start_step(at) {}
        }
    }

    /// Starts one step of a stage, if a place and a record are there.
    fn start_step(&mut self, at: usize) -> bool {
        let stage = &mut self.stages[at];
        let Work::Steps { stage: work, max_in_flight } = &stage.spec.work else { return false };
        if stage.closed || stage.in_flight >= *max_in_flight {
            return false;
        }
        let work = Arc::clone(work);
        let Some((record, epoch)) = stage.take() else { return false };
        let (name, max_record_bytes) = (stage.spec.name, self.max_record_bytes);
        let step = Step { stage: at, name, epoch, record: Arc::clone(&record), work, max_record_bytes };
        let handle = self.steps.spawn(step::run(step));
        stage.in_flight += 1;
        stage.metrics.in_flight(stage.in_flight);
        if let Some(state) = stage.current(record.partition, epoch) {
            state.open(&record, Phase::Running(handle));
        }
        true
    }

    /// Takes the step that ended, and all others that have ended by now.
    fn on_steps(&mut self, first: Result<StepReport, JoinError>) -> Result<(), EngineError> {
        let mut next = Some(first);
        while let Some(joined) = next {
            // An aborted step has no report; whoever aborted it has settled its accounts.
            if let Ok(report) = joined {
                self.on_step(report)?;
            }
            next = self.steps.try_join_next();
        }
        Ok(())
    }

    fn on_step(&mut self, report: StepReport) -> Result<(), EngineError> {
        let StepReport { stage: at, epoch, record, result, seconds } = report;
        let stage = &mut self.stages[at];
        let Some(state) = stage.current(record.partition, epoch) else { return Ok(()) };
        state.ended(record.offset);
        stage.in_flight -= 1;
        stage.metrics.in_flight(stage.in_flight);
        stage.metrics.step(result.as_str(), seconds);
        match result {
            StepResult::Outputs(outputs) => self.finish(Finished { stage: at, epoch, record, outputs }),
            StepResult::DeadLetter(letter, kind) => {
                stage.metrics.dead_letter(kind);
                stage.dead_letters += 1;
                self.finish(Finished { stage: at, epoch, record, outputs: vec![letter] });
            }
            StepResult::Parked(reason) => {
                tracing::warn!(
                    stage = stage.spec.name,
                    offset = record.offset,
                    reason,
                    "a thread is left waiting"
                );
                self.park(at, epoch, &record);
            }
            StepResult::Interrupted => {
                stage.tell_discarded_each(record.partition, &[record.offset]);
                self.park(at, epoch, &record);
            }
            StepResult::Stop(reason) => {
                let stage = stage.spec.name;
                self.park(at, epoch, &record);
                self.fail(EngineError::Stage { stage, reason });
            }
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, finished: Finished) {
        let size = finished.size();
        self.finished_bytes += size;
        self.budget.take(size);
        self.finished.push(finished);
    }

    /// A result waits no longer.
    pub(super) fn unfinish(&mut self, size: usize) {
        self.finished_bytes -= size;
        self.budget.give_back(size);
    }

    /// Records of so many bytes are done with.
    pub(super) fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }

    fn park(&mut self, at: usize, epoch: Epoch, record: &Record) {
        if let Some(state) = self.stages[at].current(record.partition, epoch) {
            let bytes = state.parked(record.offset);
            self.free(bytes);
        }
        self.stages[at].show();
    }

    fn on_report(&mut self, report: Report) -> Result<(), EngineError> {
        let at = report.stage;
        self.stages[at].refused_until = None;
        self.stages[at].generation = report.generation;
        match report.event? {
            Event::Assigned(assigned) if self.committing => {
                self.deferred = Some((at, assigned.into_iter().map(|(partition, _)| partition).collect()));
                Ok(())
            }
            Event::Assigned(assigned) => self.on_assigned(at, assigned),
            Event::Records(records) => {
                records.into_iter().for_each(|record| self.admit(at, record));
                self.stages[at].show();
                self.metrics.bytes(self.budget.taken());
                Ok(())
            }
            Event::Revoked(partitions) => {
                self.on_revoked(at, &partitions);
                Ok(())
            }
            Event::Lost(partitions) => {
                partitions.into_iter().for_each(|partition| self.drop_partition(at, partition));
                self.publish();
                Ok(())
            }
        }
    }

    fn on_service(service: Result<Result<(), LogError>, JoinError>) -> Result<(), EngineError> {
        service.map_err(|_| EngineError::Part("consumer or committer"))??;
        Ok(())
    }

    /// No step of a stage can succeed any more. What others have begun is finished and committed all the same: it
    /// is paid for.
    fn fail(&mut self, error: EngineError) {
        if self.failure.is_none() {
            tracing::error!(%error, "stopping: what runs is finished and committed");
            self.failure = Some(error);
        }
        if self.draining.is_none() {
            self.drain();
        }
    }

    fn drain(&mut self) {
        self.draining = Some(Instant::now() + self.options.drain_grace);
    }

    /// At the end of the grace for a stop: running steps are abandoned.
    fn expire(&mut self, now: Instant) {
        if self.draining.is_some_and(|until| until <= now) && !self.steps.is_empty() {
            tracing::warn!(steps = self.steps.len(), "the grace is over; these steps will be made again");
            self.stages.iter().for_each(StageState::tell_all_discarded);
            self.steps.abort_all();
            self.steps.detach_all();
        }
    }

    fn is_drained(&self, now: Instant) -> bool {
        self.draining.is_some()
            && self.steps.is_empty()
            && !self.committing
            && self.finished.is_empty()
            && self.submissions.is_empty()
            && !self.has_gathered(now)
    }

    /// Whether the log did not take the last results even some time after the grace.
    fn gives_up(&self, now: Instant) -> bool {
        self.draining.is_some_and(|until| until + LEAVE <= now)
    }

    /// How a stop ended: well, unless something failed before or results are left that the log did not take.
    fn conclude(&mut self) -> Result<(), EngineError> {
        let waiting: usize = self.stages.iter().map(StageState::tell_all_untaken).sum();
        let steps = self.lost.len() + waiting;
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if steps > 0 => Err(EngineError::NotTaken { steps }),
            None => Ok(()),
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let commit = (!self.committing && self.has_work(now)).then_some(self.next_commit);
        let revokes = self.stages.iter().flat_map(|stage| stage.revoking.values().copied());
        let refused = self.stages.iter().filter_map(|stage| stage.refused_until);
        let drain = self.draining.into_iter().flat_map(|until| [until, until + LEAVE]);
        let gathered = self.stages.iter().filter_map(|stage| stage.gathered_by);
        let times = commit.into_iter().chain(drain).chain(revokes).chain(refused).chain(gathered);
        // What is past and still there waits for an event, not for a time.
        times.filter(|time| *time > now).min().unwrap_or(now + IDLE)
    }

    pub(super) fn publish(&self) {
        self.stages.iter().for_each(StageState::show);
        self.metrics.bytes(self.budget.taken());
        let stages = self.stages.iter().map(StageState::status).collect();
        self.status.send_replace(Status { started: true, stages });
    }

    /// Ends what runs, and lets consumers leave their groups.
    async fn leave(mut self, mut inbox: Inbox) {
        self.publish();
        self.steps.shutdown().await;
        drop(self);
        inbox.reports.close();
        inbox.answers.close();
        inbox.submissions.close();
        let gone = async {
            while let Some(service) = inbox.services.join_next().await {
                if let Ok(Err(error)) = service {
                    tracing::warn!(%error, "a consumer did not leave its group cleanly");
                }
            }
        };
        if tokio::time::timeout(LEAVE, gone).await.is_err() {
            tracing::warn!("the log does not answer; its consumers are left to time out");
        }
    }
}
