//! The one owner of a running engine's state: one task that hears every event and decides what happens next. What it
//! decides about commits is in `commit`, about partitions that come and go in `rebalance`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};

use super::{
    EngineError, EngineOptions, PausedStages, Status, Work,
    commit_batch::StepOutputs,
    commit_queue::CommitQueue,
    committer::{CommitterCommand, CommitterEvent},
    handle::Submission,
    partition::{Epoch, StepPhase},
    pump::ConsumerReport,
    stage_state::StageState,
    step::{self, StepReport, StepResult, StepTask},
};
use crate::{
    log::{Budget, Event, LogError, Partition, Record},
    observe::EngineMetrics,
};

/// How long results of a stage stay back after the log refused them, if it says nothing more.
pub(super) const REFUSED_WAIT: Duration = Duration::from_millis(100);
/// How long the last commit may take after the grace, and leaving the groups after that.
const LEAVE: Duration = Duration::from_secs(10);
/// The coordinator looks up at least this often.
const IDLE: Duration = Duration::from_secs(3600);

/// Where events come from.
pub(super) struct Events {
    pub(super) reports: mpsc::Receiver<ConsumerReport>,
    pub(super) of_committer: mpsc::Receiver<CommitterEvent>,
    pub(super) submissions: mpsc::Receiver<Submission>,
    pub(super) paused: watch::Receiver<PausedStages>,
    /// The committer and the pumps of the consumers.
    pub(super) tasks: JoinSet<Result<(), LogError>>,
}

/// The state of a running engine.
pub(super) struct Coordinator {
    pub(super) options: EngineOptions,
    max_record_bytes: usize,
    pub(super) stages: Vec<StageState>,
    /// Running steps; they end with the coordinator.
    steps: JoinSet<StepReport>,
    committer: mpsc::Sender<CommitterCommand>,
    pub(super) queue: CommitQueue,
    /// Bytes of records on their way here or fetched and not committed, and of results that wait for a commit.
    pub(super) budget: Arc<Budget>,
    /// Counts assignments of partitions.
    pub(super) epochs: u64,
    pub(super) drain: Option<Drain>,
    pub(super) metrics: EngineMetrics,
    status: watch::Sender<Status>,
}

/// A stop under way.
pub(super) struct Drain {
    /// Until when steps may go on.
    until: Instant,
    /// Why the engine ends before it was told to.
    failure: Option<EngineError>,
    /// Results that went with their partitions; a commit that was under way may have them.
    pub(super) unconfirmed: BTreeSet<(usize, Partition, i64)>,
}

impl Coordinator {
    pub(super) fn new(
        options: EngineOptions,
        max_record_bytes: usize,
        stages: Vec<StageState>,
        committer: mpsc::Sender<CommitterCommand>,
        budget: Arc<Budget>,
        metrics: EngineMetrics,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            options,
            max_record_bytes,
            stages,
            steps: JoinSet::new(),
            committer,
            queue: CommitQueue::new(Arc::clone(&budget)),
            budget,
            epochs: 0,
            drain: None,
            metrics,
            status,
        }
    }

    /// Runs until everything is drained after `stop` came, or until something fails.
    pub(super) async fn run(
        mut self,
        mut events: Events,
        stop: impl Future<Output = ()>,
    ) -> Result<(), EngineError> {
        self.pause(&events.paused.borrow_and_update());
        self.publish();
        let outcome = self.serve(&mut events, stop).await;
        self.leave(events).await;
        outcome
    }

    async fn serve(
        &mut self,
        events: &mut Events,
        stop: impl Future<Output = ()>,
    ) -> Result<(), EngineError> {
        tokio::pin!(stop);
        loop {
            // One time for all: what is not due yet when it is looked at is still to come when the waking is set.
            let now = Instant::now();
            self.proceed(now)?;
            if self.is_drained(now) || self.gives_up(now) {
                return self.conclude();
            }
            let wake = self.wake_at(now);
            tokio::select! {
                biased;
                () = &mut stop, if self.drain.is_none() => {
                    // What was submitted before the stop is still committed.
                    self.queue.submit(std::iter::from_fn(|| events.submissions.try_recv().ok()));
                    self.start_drain();
                }
                event = events.of_committer.recv() => match event.ok_or(EngineError::Part("committer"))? {
                    CommitterEvent::Committed(committed) => self.on_committed(*committed)?,
                    CommitterEvent::ProgressRead { stage, assigned } => self.on_read_back(stage, assigned)?,
                    CommitterEvent::Failed(error) => return Err(error),
                },
                Some(step) = self.steps.join_next() => self.on_steps(step),
                Some(ended) = events.tasks.join_next() => {
                    ended.map_err(|_| EngineError::Part("consumer or committer"))??;
                }
                Some(submission) = events.submissions.recv(), if self.may_submit() => {
                    self.queue.submit([submission]);
                }
                report = events.reports.recv(), if self.queue.hears_the_log() => {
                    self.on_report(report.ok_or(EngineError::Part("consumers"))?)?;
                }
                Ok(()) = events.paused.changed() => self.pause(&events.paused.borrow_and_update()),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Everything that can happen now: commits, starts, and regulation of what is fetched.
    fn proceed(&mut self, now: Instant) -> Result<(), EngineError> {
        self.expire(now);
        self.dispatch();
        self.commit_if_due(now)?;
        self.release_quiet(now)?;
        self.audit();
        let (full, ending) = (self.budget.is_full(), self.drain.is_some());
        let stops = |stage: &StageState| full || stage.paused || (ending && stage.lingers());
        self.stages.iter_mut().try_for_each(|stage| stage.regulate(stops(stage)))
    }

    /// Somebody paused or resumed stages.
    fn pause(&mut self, paused: &PausedStages) {
        for stage in &mut self.stages {
            let is_paused = paused.contains(stage.spec.name);
            if is_paused != stage.paused {
                tracing::info!(stage = stage.spec.name, is_paused, "backpressure on a stage");
            }
            stage.paused = is_paused;
        }
    }

    fn may_submit(&self) -> bool {
        self.drain.is_none() && self.queue.may_submit()
    }

    /// Tells the committer what to do next.
    pub(super) fn command(&self, command: CommitterCommand) -> Result<(), EngineError> {
        self.committer.try_send(command).map_err(|_| EngineError::Part("committer"))
    }

    /// The sums that are kept are what their parts add up to. Looked at in builds for tests.
    fn audit(&self) {
        if cfg!(debug_assertions) {
            let records: usize = self.stages.iter().map(StageState::audit).sum();
            debug_assert!(
                records + self.queue.audit() <= self.budget.taken(),
                "the rest is on its way from the consumers"
            );
        }
    }

    fn dispatch(&mut self) {
        if self.drain.is_some() {
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
        if stage.paused || stage.in_flight >= *max_in_flight {
            return false;
        }
        let work = Arc::clone(work);
        let Some((record, epoch)) = stage.take() else { return false };
        let (name, max_record_bytes) = (stage.spec.name, self.max_record_bytes);
        let step = StepTask { stage: at, name, epoch, record: Arc::clone(&record), work, max_record_bytes };
        let handle = self.steps.spawn(step::run(step));
        stage.in_flight += 1;
        stage.metrics.in_flight(stage.in_flight);
        if let Some(state) = stage.current(record.partition, epoch) {
            state.open(&record, StepPhase::Running(handle));
        }
        true
    }

    /// Takes the step that ended, and all others that have ended by now.
    fn on_steps(&mut self, first: Result<StepReport, JoinError>) {
        let mut next = Some(first);
        while let Some(joined) = next {
            // An aborted step has no report; whoever aborted it has settled its accounts.
            if let Ok(report) = joined {
                self.on_step(report);
            }
            next = self.steps.try_join_next();
        }
    }

    fn on_step(&mut self, report: StepReport) {
        let StepReport { stage: at, epoch, record, result, seconds } = report;
        let stage = &mut self.stages[at];
        let Some(state) = stage.current(record.partition, epoch) else { return };
        state.ended(record.offset);
        stage.in_flight -= 1;
        stage.metrics.in_flight(stage.in_flight);
        stage.metrics.step(result.as_str(), seconds);
        let name = stage.spec.name;
        match result {
            StepResult::Outputs(outputs) => {
                self.queue.push(StepOutputs { stage: at, epoch, record, outputs });
            }
            StepResult::DeadLetter(letter, kind) => {
                stage.metrics.dead_letter(kind);
                stage.dead_letters += 1;
                self.queue.push(StepOutputs { stage: at, epoch, record, outputs: vec![letter] });
            }
            StepResult::Parked(reason) => {
                tracing::warn!(stage = name, offset = record.offset, reason, "a thread is left waiting");
                self.park(at, epoch, &record);
            }
            StepResult::Interrupted => {
                stage.name_discarded(record.partition, &[record.offset]);
                self.park(at, epoch, &record);
            }
            StepResult::Stop(reason) => {
                self.park(at, epoch, &record);
                self.fail(EngineError::Stage { stage: name, reason });
            }
        }
    }

    fn park(&mut self, at: usize, epoch: Epoch, record: &Record) {
        let stage = &mut self.stages[at];
        if let Some(state) = stage.current(record.partition, epoch) {
            let bytes = state.park(record.offset);
            self.budget.give_back(bytes);
        }
        stage.show();
    }

    fn on_report(&mut self, report: ConsumerReport) -> Result<(), EngineError> {
        let ConsumerReport { stage: at, generation, event } = report;
        let stage = &mut self.stages[at];
        stage.refused_until = None;
        stage.generation = generation;
        match event? {
            Event::Assigned(assigned) => return self.on_assigned(at, assigned),
            Event::Records(records) => {
                let now = Instant::now();
                let not_needed: usize = records.into_iter().map(|record| stage.admit(record, now)).sum();
                stage.show();
                self.budget.give_back(not_needed);
                self.metrics.bytes(self.budget.taken());
            }
            Event::Revoked(partitions) => self.on_revoked(at, &partitions),
            Event::Lost(partitions) => {
                partitions.into_iter().for_each(|partition| self.drop_partition(at, partition));
                self.publish();
            }
        }
        Ok(())
    }

    /// Starts nothing new from now on.
    fn start_drain(&mut self) -> &mut Drain {
        let until = Instant::now() + self.options.drain_grace;
        self.drain.get_or_insert_with(|| Drain { until, failure: None, unconfirmed: BTreeSet::new() })
    }

    /// No step of a stage can succeed any more. What others have begun is finished and committed all the same: it
    /// is paid for.
    fn fail(&mut self, error: EngineError) {
        self.start_drain().failure.get_or_insert_with(|| {
            tracing::error!(%error, "stopping: what runs is finished and committed");
            error
        });
    }

    /// At the end of the grace for a stop: running steps are abandoned.
    fn expire(&mut self, now: Instant) {
        if self.drain.as_ref().is_some_and(|drain| drain.until <= now) && !self.steps.is_empty() {
            tracing::warn!(steps = self.steps.len(), "the grace is over; these steps will be made again");
            self.stages.iter().for_each(StageState::tell_running_discarded);
            self.steps.abort_all();
            self.steps.detach_all();
        }
    }

    fn is_drained(&self, now: Instant) -> bool {
        self.drain.is_some() && self.steps.is_empty() && self.queue.is_drained() && !self.has_lingering(now)
    }

    /// Whether the log did not take the last results even some time after the grace.
    fn gives_up(&self, now: Instant) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.until + LEAVE <= now)
    }

    /// How a stop ended: well, unless something failed before or results are left that the log did not take.
    fn conclude(&mut self) -> Result<(), EngineError> {
        let waiting: usize = self.stages.iter().map(StageState::tell_results_discarded).sum();
        let Some(drain) = self.drain.take() else { return Ok(()) };
        let steps = drain.unconfirmed.len() + waiting;
        match drain.failure {
            Some(failure) => Err(failure),
            None if steps > 0 => Err(EngineError::NotTaken { steps }),
            None => Ok(()),
        }
    }

    fn wake_at(&self, now: Instant) -> Instant {
        let commit = self.queue.next_commit().filter(|_| self.has_commit_work(now));
        let drain = self.drain.iter().flat_map(|drain| [drain.until, drain.until + LEAVE]);
        let stages = self.stages.iter().flat_map(StageState::deadlines);
        // What is past and still there waits for an event, not for a time.
        let times = commit.into_iter().chain(drain).chain(stages).filter(|time| *time > now);
        times.min().unwrap_or(now + IDLE)
    }

    pub(super) fn publish(&self) {
        self.stages.iter().for_each(StageState::show);
        self.metrics.bytes(self.budget.taken());
        let stages = self.stages.iter().map(StageState::status).collect();
        self.status.send_replace(Status { started: true, stages });
    }

    /// Ends what runs, and lets consumers leave their groups.
    async fn leave(mut self, mut events: Events) {
        self.publish();
        self.steps.shutdown().await;
        drop(self);
        events.reports.close();
        events.of_committer.close();
        events.submissions.close();
        let gone = async {
            while let Some(ended) = events.tasks.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(%error, "a consumer did not leave its group cleanly");
                }
            }
        };
        if tokio::time::timeout(LEAVE, gone).await.is_err() {
            tracing::warn!("the log does not answer; its consumers are left to time out");
        }
    }
}
