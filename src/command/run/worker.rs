//! A worker of a cluster, from its start until it is told to stop.

use std::time::{Duration, Instant};

use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinHandle, JoinSet},
};

use super::{Ended, Report, RunError, RunOptions, summarise};
use crate::{
    app::{self, Process, Signals, simulated},
    config::{KafkaSettings, Settings},
    dataflow::{self, Chosen},
    engine::{EngineError, EngineOptions, Handle, PausedStages, Status, Stop},
    intake,
    log::{Log, kafka::Admin},
    observe::Metrics,
    pipeline::{
        admission::{self, Lags},
        heartbeat, retention,
    },
    record::RecipeRef,
    terminal::{Counting, Progress, ProgressSnapshot, Screen, WorkerSummary},
};

/// How long the last word that a worker is stopping may take.
const LAST_WORD: Duration = Duration::from_secs(5);

/// Runs the chosen stages until a signal says to stop.
pub(super) async fn run(
    settings: Settings,
    kafka: &KafkaSettings,
    options: RunOptions,
    chosen: Chosen,
    screen: &Screen,
) -> Result<Ended, RunError> {
    let mut signals = Signals::listen()?;
    let roles = dataflow::asks(&settings.recipe, &chosen);
    let name = kafka.options.worker.clone().unwrap_or_else(drawn_name);
    let mut process = Process::start(&settings, &options, &roles, Some(&name)).await?;
    let stages: Vec<&str> = chosen.names().collect();
    let connected = tokio::select! {
        biased;
        () = signals.next() => return Ok(Ended::before_it_began(&settings, &options, &process)),
        connected = app::await_cluster(kafka, &stages, &options.mend) => connected,
    };
    let log = connected?;
    let mut aside = JoinSet::new();
    aside.spawn(count_hung(log.hung_calls(), process.metrics.clone()));
    if let Some(interval) = kafka.cleanup_interval {
        let admin = Admin::new(&kafka.options)?;
        let topics = kafka.topics.consumed();
        aside.spawn(retention::keep(admin, topics, interval, process.metrics.clone()));
    }
    let is_simulated = simulated(&settings, options.simulate);
    let asks_models = !roles.is_empty();
    let worker = Worker { settings: &settings, kafka, name, chosen, is_simulated, asks_models };
    let ended = worker.work(log, &mut process, signals, screen).await;
    drop(aside);
    process.quiet().await;
    let summary = ended?;
    if let Some(cluster) = process.models.cluster {
        cluster.stop().await;
    }
    Ok(Ended { report: Report::Worker(Box::new(summary)), interrupted: false })
}

impl Ended {
    fn before_it_began(settings: &Settings, options: &RunOptions, process: &Process) -> Self {
        let is_simulated = simulated(settings, options.simulate);
        let summary =
            summarise::worker("", &Status::default(), &process.models, is_simulated, Duration::ZERO);
        Self { report: Report::Worker(Box::new(summary)), interrupted: false }
    }
}

/// What a worker is.
struct Worker<'a> {
    settings: &'a Settings,
    kafka: &'a KafkaSettings,
    name: String,
    chosen: Chosen,
    is_simulated: bool,
    asks_models: bool,
}

/// What runs beside the engine; it ends when this is dropped.
struct Aside {
    _tasks: JoinSet<()>,
    heart: JoinHandle<()>,
    stop_heart: oneshot::Sender<()>,
}

impl Worker<'_> {
    async fn work<L: Log>(
        &self,
        log: L,
        process: &mut Process,
        mut signals: Signals,
        screen: &Screen,
    ) -> Result<WorkerSummary, RunError> {
        let started = Instant::now();
        let name = self.name.clone();
        let engine = EngineOptions { committer: name.clone(), ..self.settings.engine.clone() };
        let parts = app::assemble(self.settings, log.clone(), engine, &self.chosen, process)?;
        tokio::select! {
            biased;
            () = signals.next() => {
                let (status, models) = (Status::default(), &process.models);
                return Ok(summarise::worker(&name, &status, models, self.is_simulated, started.elapsed()));
            }
            fits = self.fits(&log, &parts.reference) => fits?,
        }

        let (gates, closed) = watch::channel(PausedStages::new());
        let (lags_to, lags) = watch::channel(Lags::new());
        let (stop, stopped) = watch::channel(Stop::Run);
        let mut engine = tokio::spawn(parts.engine.with_paused(closed).run(stopped));
        let status = parts.handle.status();
        let aside = self.start_aside(&log, &parts.handle, process, name.clone(), (lags_to, gates));
        let display = show_progress(self.settings, screen, status.clone(), lags);
        tracing::info!(worker = name, stages = ?self.chosen.names().collect::<Vec<_>>(), "working until it is told to stop");

        let ended = wait(&mut engine, signals).await;
        let result = match ended {
            Some(ended) => ended,
            None => {
                aside.say_stopping().await;
                process.models.stop.drain();
                stop.send_replace(Stop::Drain);
                joined(engine.await)
            }
        };
        display.finish().await;
        result?;
        let status = status.borrow();
        Ok(summarise::worker(&name, &status, &process.models, self.is_simulated, started.elapsed()))
    }

    /// Fails where this worker's recipe or its sort of models is another one than the pipeline's.
    async fn fits<L: Log>(&self, log: &L, reference: &RecipeRef) -> Result<(), RunError> {
        let claims = intake::claims(log, Some(&reference.name)).await?;
        let definition = app::definition(self.settings, None);
        intake::check_recipe(claims.recipe(&reference.name), reference, &definition)?;
        if self.asks_models && !intake::check_models(claims.simulated(), self.is_simulated)? {
            intake::claim_models(log, self.is_simulated).await?;
        }
        Ok(())
    }

    fn start_aside<L: Log>(
        &self,
        log: &L,
        handle: &Handle,
        process: &Process,
        name: String,
        (lags, gates): (watch::Sender<Lags>, watch::Sender<PausedStages>),
    ) -> Aside {
        let (metrics, status) = (process.metrics.clone(), handle.status());
        let (stop_heart, heart_stopped) = oneshot::channel();
        let (ready, starting) = (process.log_ready.clone(), handle.clone());
        let interval = self.kafka.heartbeat_interval;
        let (chosen, max_lag) = (self.chosen.clone(), self.kafka.max_lag);
        let mut tasks = JoinSet::new();
        tasks.spawn(admission::keep(log.clone(), status, metrics.clone()));
        tasks.spawn(admission::watch(log.clone(), chosen, max_lag, lags, gates, metrics));
        tasks.spawn(async move {
            if starting.started().await {
                ready.met();
            }
        });
        let heart = tokio::spawn(heartbeat::beat(handle.clone(), name, interval, heart_stopped));
        Aside { _tasks: tasks, heart, stop_heart }
    }
}

impl Aside {
    /// Lets the heart beat a last time, so that others see that this worker goes. The rest ends, too.
    async fn say_stopping(self) {
        drop(self.stop_heart);
        if tokio::time::timeout(LAST_WORD, self.heart).await.is_err() {
            tracing::warn!("the log does not take the word that this worker stops");
        }
    }
}

/// Waits for a signal, or for an engine that ends by itself: then with what it ended.
async fn wait(
    engine: &mut JoinHandle<Result<(), EngineError>>,
    mut signals: Signals,
) -> Option<Result<(), RunError>> {
    tokio::select! {
        biased;
        () = signals.next() => {
            tracing::info!("stopping: what runs is finished and committed; a second signal ends at once");
            tokio::spawn(signals.end_at_once());
            None
        }
        ended = engine => Some(joined(ended)),
    }
}

fn joined(ended: Result<Result<(), EngineError>, JoinError>) -> Result<(), RunError> {
    ended.map_err(|_| RunError::Broken("engine"))?.map_err(RunError::from)
}

/// Counts calls that hang for operators, until it is dropped.
async fn count_hung(mut hung: watch::Receiver<u64>, metrics: Metrics) {
    let counter = metrics.hung_calls.with_label_values(&[] as &[&str]);
    while hung.changed().await.is_ok() {
        let now = *hung.borrow_and_update();
        counter.inc_by(now - counter.get());
    }
}

/// A name that no other worker has.
fn drawn_name() -> String {
    format!("worker-{:012x}", fastrand::u64(..1 << 48))
}

fn show_progress(
    settings: &Settings,
    screen: &Screen,
    status: watch::Receiver<Status>,
    lags: watch::Receiver<Lags>,
) -> Progress {
    Progress::start(settings.observe.progress, screen, move || {
        let (status, lags) = (status.borrow(), lags.borrow());
        let stages = &status.stages;
        ProgressSnapshot {
            counting: Counting::Steps,
            total: None,
            finished: stages.iter().map(|stage| stage.steps).sum(),
            stages: stages
                .iter()
                .map(|stage| admission::progress(stage, lags.get(stage.name).copied()))
                .collect(),
        }
    })
}
