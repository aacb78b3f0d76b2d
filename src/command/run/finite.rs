//! A run over the embedded log from its start to its summary: every stage, and an end.

use std::{future::pending, time::Instant};

use tokio::{sync::watch, task::JoinSet};

use super::{RunArgs, RunError, WrongUsage, summarise};
use crate::{
    app::{self, Assembled, Broken, RunningEngine, STATE, Services, Shutdown, Until, are_simulated},
    command::output::CommandOutput,
    config::Settings,
    dataflow::{self, Chosen},
    dead_letter,
    engine::Status,
    export::Written,
    intake::{self, EngineWriter, Index, Intake, IntakeError, IntakeProgress},
    log::embedded::EmbeddedLog,
    pipeline::{
        admission,
        claims::{self, ClaimError},
    },
    source,
    terminal::{Counting, ProgressDisplay, ProgressSnapshot, Screen, StageProgress},
};

/// Runs until every prompt is accounted for, or the process is told to stop.
pub(super) async fn run(
    args: &RunArgs,
    settings: Settings,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<CommandOutput, RunError> {
    let started = Instant::now();
    source::open_all(&args.files)?;
    let roles = dataflow::asks(&settings.recipe, &Chosen::all());
    let mut services = Services::start(&settings, &roles, args.simulate, None).await?;
    let prepared = shutdown.unless_asked(PreparedRun::from_log(args, &settings, &services)).await;
    let Some(prepared) = prepared.transpose()? else {
        services.shutdown().await;
        return Ok(CommandOutput::interrupted());
    };
    let log = prepared.log.clone();
    let run = Run::start(args, &settings, &services, prepared);
    let (status, taken_in, written) = (run.status.clone(), run.taken_in.clone(), run.written.clone());
    let display = show_progress(&settings, screen, &run);
    let ended = run.supervise(shutdown).await;
    display.finish().await;
    admission::measure(&log, &status, &services.metrics).await;
    services.shutdown().await;
    let interrupted = ended?;

    let (written, is_simulated) = (written.borrow(), are_simulated(&settings, args.simulate));
    let summary = summarise::summary(&summarise::Facts {
        settings: &settings,
        models: &services.models,
        written: &written,
        taken_in: *taken_in.borrow(),
        is_simulated,
        interrupted,
        elapsed: started.elapsed(),
    });
    summarise::write_outputs(&settings, &written.totals);
    summarise::write_card(&settings, &written.totals, is_simulated);
    Ok(CommandOutput::report(&summary, args.json, interrupted))
}

/// What is known before anything runs.
struct PreparedRun {
    log: EmbeddedLog,
    parts: Assembled<EmbeddedLog>,
    written: watch::Receiver<Written>,
    index: Index,
    /// What is remembered of the recipe.
    definition: serde_json::Value,
    /// Records that were sent back from the dead letters by now.
    sent_back: u64,
}

impl PreparedRun {
    async fn from_log(args: &RunArgs, settings: &Settings, services: &Services) -> Result<Self, RunError> {
        let log = app::open_folder(settings.out.join(STATE), settings.log).await?;
        services.log_ready.met();
        let options = settings.engine.clone();
        let mut parts = app::assemble(settings, log.clone(), options, &Chosen::all(), services)?;
        let written = parts.written.take().ok_or(Broken("exporter"))?;
        let index = intake::read_index(&log).await?;
        let sent_back = dead_letter::count_sent_back(&log).await?;
        if args.files.is_empty() && index.threads() == 0 {
            return Err(WrongUsage::Nothing.into());
        }
        let definition = app::definition(settings, Some(are_simulated(settings, args.simulate)));
        // Before the engine: threads of another definition would only be left waiting.
        claims::check_recipe(index.recipe(&parts.reference.name), &parts.reference, &definition)?;
        Ok(Self { log, parts, written, index, definition, sent_back })
    }
}

/// What runs.
struct Run {
    engine: RunningEngine,
    intake: JoinSet<Result<(), RunError>>,
    status: watch::Receiver<Status>,
    taken_in: watch::Receiver<IntakeProgress>,
    written: watch::Receiver<Written>,
    sent_back: u64,
    /// What only looks on; it ends with this.
    _background: JoinSet<()>,
}

impl Run {
    fn start(args: &RunArgs, settings: &Settings, services: &Services, prepared: PreparedRun) -> Self {
        let PreparedRun { log, parts, written, index, definition, sent_back } = prepared;
        let most = settings.intake.max_open_threads;
        let (mut intake, taken_in) = Intake::new(
            log.clone(),
            EngineWriter::new(parts.handle.clone(), written.clone(), most),
            parts.reference,
            settings.intake.clone(),
            index,
            services.metrics.clone(),
        );
        let status = parts.handle.status();
        let engine = RunningEngine::start(parts.engine, services.models.stop.clone());
        let mut background = JoinSet::new();
        background.spawn(admission::keep(log, status.clone(), services.metrics.clone()));
        let files = args.files.clone();
        let mut intake_task = JoinSet::new();
        intake_task.spawn(async move {
            claims::claim_recipe(&mut intake, &definition).await?;
            Ok(intake.run(&files).await?)
        });
        let intake = intake_task;
        Self { engine, intake, status, taken_in, written, sent_back, _background: background }
    }

    /// Waits for the end and drains; whether the process was told to stop.
    async fn supervise(self, shutdown: &Shutdown) -> Result<bool, RunError> {
        let Self { engine, mut intake, taken_in, written, sent_back, .. } = self;
        let end = async {
            tokio::select! {
                biased;
                () = shutdown.asked() => Ok(true),
                error = failure(&mut intake) => Err(error),
                () = all_written(taken_in, written, sent_back) => Ok(false),
            }
        };
        let (engine, end) = match engine.until(end).await {
            Until::Event(engine, end) => (engine, end),
            Until::Ended(ended) => return ended.map(|()| true).map_err(RunError::from),
        };
        intake.shutdown().await;
        let drained = engine.drain(async {}).await;
        match (end, drained) {
            (Ok(interrupted), drained) => drained.map(|()| interrupted).map_err(RunError::from),
            (Err(error), drained) => {
                drained.unwrap_or_else(|error| tracing::warn!(%error, "while stopping"));
                Err(error)
            }
        }
    }
}

/// Waits for a failure of the intake. One that has come to its end cannot fail any more; one that was stopped by the
/// engine leaves it to the engine to say why.
async fn failure(intake: &mut JoinSet<Result<(), RunError>>) -> RunError {
    match intake.join_next().await {
        Some(Ok(Err(error))) if !was_stopped(&error) => error,
        Some(Err(_)) => Broken("intake").into(),
        Some(Ok(_)) | None => pending().await,
    }
}

fn was_stopped(error: &RunError) -> bool {
    matches!(
        error,
        RunError::Intake(IntakeError::Stopped) | RunError::Claim(ClaimError::Intake(IntakeError::Stopped))
    )
}

/// Waits until the input has ended and every thread and reject of it is in the files. Threads that were `sent_back`
/// have ended only once the exporter knows of it, and they have ended again.
async fn all_written(
    mut taken_in: watch::Receiver<IntakeProgress>,
    mut written: watch::Receiver<Written>,
    sent_back: u64,
) {
    let Ok(input) = taken_in.wait_for(|input| input.finished).await.map(|input| *input) else {
        return pending().await;
    };
    let done = |written: &Written| {
        let knows = written.totals.retried() >= sent_back;
        knows && written.totals.threads() >= input.threads && written.totals.all_rejects() >= input.rejects
    };
    if written.wait_for(done).await.is_err() {
        pending().await
    }
}

fn show_progress(settings: &Settings, screen: &Screen, run: &Run) -> ProgressDisplay {
    let (taken_in, written, status) = (run.taken_in.clone(), run.written.clone(), run.status.clone());
    ProgressDisplay::start(settings.observe.progress, screen, move || {
        let input = *taken_in.borrow();
        ProgressSnapshot {
            counting: Counting::Threads,
            total: input.finished.then_some(input.threads),
            finished: written.borrow().totals.threads(),
            stages: status.borrow().stages.iter().map(|stage| StageProgress::new(stage, None)).collect(),
        }
    })
}
