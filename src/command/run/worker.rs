//! A worker of a cluster, from its start until it is told to stop.

use std::time::Instant;

use tokio::{sync::watch, task::JoinSet};

use super::{RunArgs, RunError, summarise};
use crate::{
    app::{self, Assembled, OpenLogError, RunningEngine, Services, Shutdown, Until, are_simulated},
    command::output::CommandOutput,
    config::{KafkaSettings, Settings},
    dataflow::{self, Chosen},
    engine::{EngineOptions, Handle, PausedStages, Status},
    log::{
        Log,
        kafka::{Admin, KafkaLog},
    },
    observe::Metrics,
    pipeline::{
        admission::{self, Lags},
        claims, heartbeat, retention,
    },
    record::RecipeRef,
    terminal::{Counting, ProgressDisplay, ProgressSnapshot, Screen, StageProgress},
};

/// Runs the chosen stages until the process is told to stop.
pub(super) async fn run(
    args: &RunArgs,
    settings: Settings,
    kafka: &KafkaSettings,
    chosen: Chosen,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<CommandOutput, RunError> {
    let started = Instant::now();
    let roles = dataflow::asks(&settings.recipe, &chosen);
    let name = kafka.options.worker.clone().unwrap_or_else(drawn_name);
    let mut services = Services::start(&settings, &roles, args.simulate, Some(&name)).await?;
    let worker = ClusterWorker {
        settings: &settings,
        kafka,
        name,
        chosen,
        is_simulated: are_simulated(&settings, args.simulate),
        asks_models: !roles.is_empty(),
    };
    let ended = worker.work(args, &mut services, screen, shutdown).await;
    services.shutdown().await;
    let status = ended?;
    let models = &services.models;
    let summary = summarise::worker(&worker.name, &status, models, worker.is_simulated, started.elapsed());
    Ok(CommandOutput::report(&summary, args.json, false))
}

/// What a worker is.
struct ClusterWorker<'a> {
    settings: &'a Settings,
    kafka: &'a KafkaSettings,
    name: String,
    chosen: Chosen,
    is_simulated: bool,
    asks_models: bool,
}

impl ClusterWorker<'_> {
    /// Works until the process is told to stop; then how far the stages were. Before the engine runs nothing has to be
    /// finished.
    async fn work(
        &self,
        args: &RunArgs,
        services: &mut Services,
        screen: &Screen,
        shutdown: &Shutdown,
    ) -> Result<Status, RunError> {
        let prepared = shutdown.unless_asked(self.prepare(args, services)).await;
        let Some((log, parts)) = prepared.transpose()? else { return Ok(Status::default()) };
        let (gates, closed) = watch::channel(PausedStages::new());
        let (lags_to, lags) = watch::channel(Lags::new());
        let (handle, status) = (parts.handle.clone(), parts.handle.status());
        let background = self.start_background(log, &handle, services, (lags_to, gates))?;
        let engine = RunningEngine::start(parts.engine.with_paused(closed), services.models.stop.clone());
        let display = show_progress(self.settings, screen, status.clone(), lags);
        let stages: Vec<_> = self.chosen.names().collect();
        tracing::info!(worker = self.name, ?stages, "working until it is told to stop");

        let ended = match engine.until(shutdown.asked()).await {
            Until::Ended(ended) => ended,
            Until::Event(engine, ()) => {
                drop(background);
                engine.drain(heartbeat::announce_stop(&handle, &self.name)).await
            }
        };
        display.finish().await;
        ended?;
        Ok(status.borrow().clone())
    }

    /// Connects, puts the stages together, and makes sure that they belong to this pipeline.
    async fn prepare(
        &self,
        args: &RunArgs,
        services: &Services,
    ) -> Result<(KafkaLog, Assembled<KafkaLog>), RunError> {
        let stages: Vec<&str> = self.chosen.names().collect();
        let fix_command = args.settings.log.cluster.fix_command();
        let log = app::await_cluster(self.kafka, &stages, &fix_command).await?;
        let options = EngineOptions { committer: self.name.clone(), ..self.settings.engine.clone() };
        let parts = app::assemble(self.settings, log.clone(), options, &self.chosen, services)?;
        self.fits(&log, &parts.reference).await?;
        Ok((log, parts))
    }

    /// Fails where this worker's recipe or its sort of models is another one than the pipeline's.
    async fn fits<L: Log>(&self, log: &L, reference: &RecipeRef) -> Result<(), RunError> {
        let claimed = claims::read(log, Some(&reference.name)).await?;
        let definition = app::definition(self.settings, None);
        claims::check_recipe(claimed.recipe(&reference.name), reference, &definition)?;
        if self.asks_models && !claims::check_models(claimed.simulated(), self.is_simulated)? {
            claims::claim_models(log, self.is_simulated).await?;
        }
        Ok(())
    }

    /// Starts what runs beside the engine; it ends when what is returned is dropped.
    fn start_background(
        &self,
        log: KafkaLog,
        handle: &Handle,
        services: &Services,
        (lags, gates): (watch::Sender<Lags>, watch::Sender<PausedStages>),
    ) -> Result<JoinSet<()>, OpenLogError> {
        let metrics = &services.metrics;
        let mut background = JoinSet::new();
        background.spawn(count_hung(log.hung_calls(), metrics.clone()));
        if let Some(interval) = self.kafka.cleanup_interval {
            let admin = Admin::new(&self.kafka.options)?;
            let topics = self.kafka.topics.consumed();
            background.spawn(retention::keep(admin, topics, interval, metrics.clone()));
        }
        background.spawn(admission::keep(log.clone(), handle.status(), metrics.clone()));
        let (chosen, max_lag) = (self.chosen.clone(), self.kafka.max_lag);
        background.spawn(admission::watch(log, chosen, max_lag, lags, gates, metrics.clone()));
        let (ready, starting) = (services.log_ready.clone(), handle.clone());
        background.spawn(async move {
            if starting.started().await {
                ready.met();
            }
        });
        background.spawn(heartbeat::beat(handle.clone(), self.name.clone(), self.kafka.heartbeat_interval));
        Ok(background)
    }
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
) -> ProgressDisplay {
    ProgressDisplay::start(settings.observe.progress, screen, move || {
        let (status, lags) = (status.borrow(), lags.borrow());
        let stages = &status.stages;
        ProgressSnapshot {
            counting: Counting::Steps,
            total: None,
            finished: stages.iter().map(|stage| stage.steps).sum(),
            stages: stages
                .iter()
                .map(|stage| StageProgress::new(stage, lags.get(stage.name).copied()))
                .collect(),
        }
    })
}
