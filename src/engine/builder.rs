//! An engine, from its parts until its end.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    EngineError, EngineOptions, Handle, PausedStages, Sink, StageSpec, Status, Stop,
    commit_queue::SUBMISSIONS,
    committer,
    coordinator::{Coordinator, Events},
    handle::Submission,
    pump,
    stage_state::StageState,
};
use crate::{
    log::{Budget, Log},
    observe::{EngineMetrics, EngineStageMetrics, Metrics},
};

/// Events that may wait for the coordinator, and commands for the committer.
const EVENTS: usize = 32;
/// Orders that may wait for a consumer; more means that it has stopped answering.
const ORDERS: usize = 1024;

/// Stages, a sink and a log, ready to run.
pub struct Engine<L: Log> {
    log: L,
    stages: Vec<StageSpec>,
    sink: Option<Box<dyn Sink>>,
    options: EngineOptions,
    metrics: Metrics,
    submissions: mpsc::Receiver<Submission>,
    status: watch::Sender<Status>,
    paused: watch::Receiver<PausedStages>,
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
        let (_, paused) = watch::channel(PausedStages::default());
        (Self { log, stages, sink, options, metrics, submissions, status, paused }, handle)
    }

    /// Lets others pause stages: a paused stage starts no step and fetches nothing, but what runs goes on and its
    /// consumer is polled.
    #[must_use]
    pub fn with_paused(self, paused: watch::Receiver<PausedStages>) -> Self {
        Self { paused, ..self }
    }

    /// Runs until `stop` says so, or its sender is gone, and everything is drained; or until something fails. Told to stop
    /// before the log has given it a committer and consumers, it has begun nothing and ends at once.
    ///
    /// # Errors
    /// See [`EngineError`]. Whatever the error, what was committed is complete, and a later run goes on from there.
    pub async fn run(self, mut stop: watch::Receiver<Stop>) -> Result<(), EngineError> {
        let (coordinator, events) = tokio::select! {
            biased;
            () = stop_of(&mut stop) => return Ok(()),
            started = self.start() => started?,
        };
        coordinator.run(events, stop_of(&mut stop)).await
    }

    async fn start(self) -> Result<(Coordinator, Events), EngineError> {
        let committer = self.log.committer(&self.options.committer).await?;
        let (report_to, reports) = mpsc::channel(EVENTS);
        let (commands, command_queue) = mpsc::channel(EVENTS);
        let (event_to, of_committer) = mpsc::channel(EVENTS);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            committer::run(committer, self.sink, command_queue, event_to).await;
            Ok(())
        });
        let budget = Arc::new(Budget::new(self.options.max_bytes));
        let mut stages = Vec::with_capacity(self.stages.len());
        for (at, spec) in self.stages.into_iter().enumerate() {
            let within = Arc::clone(&budget);
            let consumer = self.log.consumer_within(spec.group, &spec.topics, within).await?;
            let (orders, order_queue) = mpsc::channel(ORDERS);
            tasks.spawn(pump::pump(at, consumer, report_to.clone(), order_queue));
            let metrics = EngineStageMetrics::new(&self.metrics, spec.name);
            stages.push(StageState::new(spec, orders, metrics));
        }
        let events =
            Events { reports, of_committer, submissions: self.submissions, paused: self.paused, tasks };
        let max_record_bytes = self.log.max_record_bytes();
        let metrics = EngineMetrics::new(&self.metrics);
        let coordinator =
            Coordinator::new(self.options, max_record_bytes, stages, commands, budget, metrics, self.status);
        Ok((coordinator, events))
    }
}

/// Waits for the word to stop. A sender that is gone has said its last.
async fn stop_of(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(|stop| *stop == Stop::Drain).await;
}
