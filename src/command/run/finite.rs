//! A run over the embedded log from its start to its summary: every stage, and an end.

use std::time::Instant;

use tokio::{sync::watch, task::JoinHandle};

use super::{Ended, Report, RunError, RunOptions, summarise};
use crate::{
    app::{self, Process, Signals, simulated},
    config::Settings,
    dataflow::{self, Chosen},
    dead_letter,
    engine::{EngineError, Status, Stop},
    intake::{self, Intake, IntakeError, IntakeProgress, ThroughEngine},
    model,
    pipeline::admission,
    source,
    stage::Written,
    terminal::{Counting, Progress, ProgressSnapshot, Screen},
};

/// Runs until every prompt is accounted for, or a signal says to stop.
pub(super) async fn run(settings: Settings, options: RunOptions, screen: &Screen) -> Result<Ended, RunError> {
    let started = Instant::now();
    let signals = Signals::listen()?;
    source::open_all(&options.files).map_err(RunError::Sources)?;
    let chosen = Chosen::all();
    let roles = dataflow::asks(&settings.recipe, &chosen);
    let mut process = Process::start(&settings, &options, &roles, None).await?;
    let log = app::open_log(&settings).await?;
    process.log_ready.met();

    let parts = app::assemble(&settings, log.clone(), settings.engine.clone(), &chosen, &process)?;
    let written = parts.written.ok_or(RunError::Broken("exporter"))?;
    let index = intake::read_index(&log).await?;
    let sent_back = dead_letter::count_sent_back(&log).await?;
    if options.files.is_empty() && index.threads() == 0 {
        return Err(RunError::Nothing);
    }
    let is_simulated = simulated(&settings, options.simulate);
    let definition = app::definition(&settings, Some(is_simulated));
    // Before the engine: threads of another definition would only be left waiting.
    intake::check_recipe(index.recipe(&parts.reference.name), &parts.reference, &definition)?;
    let most = settings.intake.max_open_threads;
    let (mut intake, taken_in) = Intake::new(
        log.clone(),
        ThroughEngine::new(parts.handle.clone(), written.clone(), most),
        parts.reference,
        settings.intake.clone(),
        index,
        process.metrics.clone(),
    );
    let (stop, stopped) = watch::channel(Stop::Run);
    let engine = tokio::spawn(parts.engine.run(stopped));
    let status = parts.handle.status();
    let lag = tokio::spawn(admission::keep(log.clone(), status.clone(), process.metrics.clone()));
    let display = show_progress(&settings, screen, &taken_in, status.clone(), &written);
    let files = options.files.clone();
    let intake = tokio::spawn(async move {
        intake.claim(definition).await?;
        intake.run(&files).await
    });
    let calls = process.models.stop.clone();
    let mut run = Run { engine, intake: Some(intake), stop, calls, taken_in, written, sent_back };
    let ended = run.supervise(signals).await;
    display.finish().await;
    lag.abort();
    admission::measure(&log, &status, &process.metrics).await;
    process.quiet().await;
    let interrupted = ended?;
    let models = process.models;
    let summary = summarise::summary(&summarise::Facts {
        settings: &settings,
        options: &options,
        models: &models,
        written: &run.written.borrow(),
        taken_in: *run.taken_in.borrow(),
        is_simulated,
        interrupted,
        elapsed: started.elapsed(),
    });
    summarise::write_outputs(&settings, &run.written.borrow().totals);
    summarise::write_card(&settings, &run.written.borrow().totals, is_simulated);
    if let Some(cluster) = models.cluster {
        cluster.stop().await;
    }
    Ok(Ended { report: Report::Finite(Box::new(summary)), interrupted })
}

/// What runs, and how it is told to stop.
struct Run {
    engine: JoinHandle<Result<(), EngineError>>,
    intake: Option<JoinHandle<Result<(), IntakeError>>>,
    stop: watch::Sender<Stop>,
    /// The signal for calls to the models.
    calls: model::StopSignal,
    taken_in: watch::Receiver<IntakeProgress>,
    written: watch::Receiver<Written>,
    /// Records that were sent back from the dead letters by the beginning.
    sent_back: u64,
}

impl Run {
    /// Waits for the end and drains; whether the end was a signal's.
    async fn supervise(&mut self, mut signals: Signals) -> Result<bool, RunError> {
        let end = self.wait(&mut signals).await;
        if let Some(intake) = self.intake.take() {
            intake.abort();
        }
        let interrupted = match end {
            Ok(End::Done) => false,
            Ok(End::Signal) => {
                tracing::info!("stopping: what runs is finished and committed; a second signal ends at once");
                tokio::spawn(signals.end_at_once());
                true
            }
            Ok(End::Engine(ended)) => return ended.map(|()| true).map_err(RunError::from),
            Err(error) => {
                self.drain().await.unwrap_or_else(|error| tracing::warn!(%error, "while stopping"));
                return Err(error);
            }
        };
        self.drain().await?;
        Ok(interrupted)
    }

    async fn drain(&mut self) -> Result<(), RunError> {
        self.calls.drain();
        self.stop.send_replace(Stop::Drain);
        (&mut self.engine).await.map_err(|_| RunError::Broken("engine"))?.map_err(RunError::from)
    }

    /// Waits for whatever ends the run first.
    async fn wait(&mut self, signals: &mut Signals) -> Result<End, RunError> {
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return Ok(End::Signal),
                engine = &mut self.engine => return Ok(End::Engine(engine.map_err(|_| RunError::Broken("engine"))?)),
                intake = joined(&mut self.intake) => {
                    self.intake = None;
                    match intake.map_err(|_| RunError::Broken("intake"))? {
                        // Then the engine has ended or is about to, and says why.
                        Ok(()) | Err(IntakeError::Stopped) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                () = all_written(&mut self.taken_in, &mut self.written, self.sent_back) => return Ok(End::Done),
            }
        }
    }
}

/// What ended a run.
enum End {
    /// Every prompt is accounted for.
    Done,
    /// A signal.
    Signal,
    /// The engine ended by itself.
    Engine(Result<(), EngineError>),
}

async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Waits until the input has ended and every thread and reject of it is in the files. Threads that were `sent_back`
/// have ended only once the exporter knows of it, and they have ended again.
async fn all_written(
    taken_in: &mut watch::Receiver<IntakeProgress>,
    written: &mut watch::Receiver<Written>,
    sent_back: u64,
) {
    let Ok(input) = taken_in.wait_for(|input| input.finished).await.map(|input| *input) else {
        return std::future::pending().await;
    };
    let done = |written: &Written| {
        let knows = written.totals.retried() >= sent_back;
        knows && written.totals.threads() >= input.threads && written.totals.all_rejects() >= input.rejects
    };
    if written.wait_for(done).await.is_err() {
        std::future::pending().await
    }
}

fn show_progress(
    settings: &Settings,
    screen: &Screen,
    taken_in: &watch::Receiver<IntakeProgress>,
    status: watch::Receiver<Status>,
    written: &watch::Receiver<Written>,
) -> Progress {
    let (taken_in, written) = (taken_in.clone(), written.clone());
    Progress::start(settings.observe.progress, screen, move || {
        let input = *taken_in.borrow();
        ProgressSnapshot {
            counting: Counting::Threads,
            total: input.finished.then_some(input.threads),
            finished: written.borrow().totals.threads(),
            stages: status.borrow().stages.iter().map(|stage| admission::progress(stage, None)).collect(),
        }
    })
}
