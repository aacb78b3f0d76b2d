//! `avr replay`: selects from finished threads again, with other thresholds and without one model call.
//!
//! ```text
//!   topic `scored` of another state ─▶ selection, by this recipe ─▶ files of a folder of its own
//! ```
//!
//! The log is only read. What is written is a function of the threads and the recipe, so the same command makes the
//! same files again, from their beginning: an interrupted replay needs nothing but to be run once more.

mod folder;
mod selection;
mod source;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Args;

use self::{
    selection::{Selected, Selection},
    source::{MadeBy, ReplaySource},
};
use super::{
    args::SettingsArgs,
    output::CommandOutput,
    run::{replay_summary, write_card, write_outputs},
};
use crate::{
    app::{self, Broken, ExitCode, HasExitCode, OpenLogError, STATE, Shutdown, is_simulated},
    config::Settings,
    export::{ExportError, Files},
    intake::read_index,
    log::{Log, LogError},
    record::RecipeRef,
    terminal::{Counting, Ending, ProgressDisplay, ProgressSnapshot, Screen, SourceTotals, StageProgress},
};

/// What `avr replay` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
A run keeps its finished threads with all their texts and rewards. A replay holds them against other thresholds and makes \
records of other kinds, without asking a model. Only what selects may differ from the recipe that the threads were \
made by: records, pairs, max_pairs, min_gain, min_margin, length_control. Threads that became dead letters before they \
were scored are not among them.

Examples:
  avr replay --from out --out out-wide --set recipes.stage1.min_margin=0.5
  avr replay --from out --out out-kto --set recipes.stage1.records=kto,reward_pair
  avr replay --kafka broker:9092 --out selected
  avr replay --from out --out out-strict --recipe strict    ([recipes.strict] with base = \"stage1\" in avr.toml)")]
pub struct ReplayArgs {
    /// The output folder of the run whose threads are selected from; no process may have it open. With --kafka and without
    /// it they come from the cluster, where workers may be at work.
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,

    /// Print the summary as JSON on standard output.
    #[arg(long)]
    pub json: bool,

    /// What else may be set.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Why nothing could be selected again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Nobody said which threads.
    #[error(
        "name the output folder whose threads are to be selected from again with --from DIR, or a cluster with --kafka"
    )]
    NoSource,
    /// The folder holds no state.
    #[error("{}: no state of a run is there; --from wants the folder that was given to avr run as --out", .0.display())]
    NoState(PathBuf),
    /// Source and target are one.
    #[error(
        "--out is the folder of the source; the records go into a folder of their own, choose another --out"
    )]
    SameFolder,
    /// No recipe of the source has the name, and there is more than one or none.
    #[error(
        "the source has threads of {known}, and none of recipe {wanted}: say with --recipe which it is, or give yours that name"
    )]
    NoRecipe {
        /// The recipe asked for.
        wanted: String,
        /// The source's recipes.
        known: String,
    },
    /// Something that is no matter of selection differs.
    #[error(
        "the source's threads were made by another recipe than {name} ({difference}). Only what selects may differ \
         ({allowed}): set the others as they were"
    )]
    Incompatible {
        /// The recipe asked for.
        name: String,
        /// The keys, with both values.
        difference: String,
        /// The keys that may differ.
        allowed: String,
    },
    /// The target holds another replay.
    #[error("{}: a replay with other settings is there ({difference}); choose another folder with --out", folder.display())]
    OtherReplay {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The target is a run's.
    #[error("{}: a run has its state there; choose another folder with --out", .0.display())]
    RunFolder(PathBuf),
    /// No thread is kept.
    #[error(
        "the source keeps no finished thread: either none was finished, or they were deleted once they had been selected \
         from (log.keep_for_replay, over a cluster kafka.keep_for_replay)"
    )]
    NothingKept,
    /// The cluster's finished threads are deleted.
    #[error(
        "nothing can be selected again: kafka.keep_for_replay is false, so workers delete finished threads from topic \
         {topic} once they have been selected from, and only the latest are left. Threads are kept from the moment on when \
         all workers run with kafka.keep_for_replay = true"
    )]
    NotKept {
        /// The topic, as the cluster names it.
        topic: String,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Opening the log.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// The files.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What the folder says of itself.
    #[error("{}: {cause}", path.display())]
    Marker {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: std::io::Error,
    },
    /// A part of the replay panicked.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl HasExitCode for ReplayError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Log(error) => error.exit_code(),
            Self::Open(error) => error.exit_code(),
            Self::Export(error) => error.exit_code(),
            Self::Marker { .. } | Self::Broken(_) => ExitCode::Failed,
            Self::NoSource
            | Self::NoState(_)
            | Self::SameFolder
            | Self::NoRecipe { .. }
            | Self::Incompatible { .. }
            | Self::OtherReplay { .. }
            | Self::RunFolder(_)
            | Self::NothingKept
            | Self::NotKept { .. } => ExitCode::WrongUsage,
        }
    }
}

/// Selects again from the threads of the state in the folder that the arguments name, or without one from those of the
/// cluster that the settings name.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    args: &ReplayArgs,
    settings: Settings,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<CommandOutput, ReplayError> {
    let replay = Replay { args, settings: &settings, screen, shutdown };
    let Some(from) = &args.from else {
        let kafka = settings.kafka.as_ref().ok_or(ReplayError::NoSource)?;
        if !kafka.topics.keep_for_replay {
            return Err(ReplayError::NotKept { topic: kafka.options.name(selection::SOURCE.0) });
        }
        let opened = shutdown.unless_asked(app::connect(&kafka.options)).await;
        let Some(log) = opened.transpose()? else { return Ok(CommandOutput::interrupted()) };
        return replay.of(log, ReplaySource::in_cluster(&kafka.options)).await;
    };
    let state = from.join(STATE);
    if !state.is_dir() {
        return Err(ReplayError::NoState(from.clone()));
    }
    if is_same(from, &settings.out) {
        return Err(ReplayError::SameFolder);
    }
    let log = app::open_folder(state, settings.log).await?;
    replay.of(log, ReplaySource::in_folder(from)).await
}

fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    whole(one).is_some_and(|one| whole(other).is_some_and(|other| one == other))
}

/// A replay of any log.
struct Replay<'a> {
    args: &'a ReplayArgs,
    settings: &'a Settings,
    screen: &'a Screen,
    shutdown: &'a Shutdown,
}

/// What is known before anything is selected.
struct PreparedReplay {
    made_by: MadeBy,
    /// Threads that were taken in by the source.
    taken_in: u64,
    /// How many are kept, at most.
    kept: u64,
    files: Files,
}

impl Replay<'_> {
    async fn of<L: Log>(&self, log: L, source: ReplaySource) -> Result<CommandOutput, ReplayError> {
        let started = Instant::now();
        let prepared = self.shutdown.unless_asked(self.prepare(&log, &source)).await;
        let Some(prepared) = prepared.transpose()? else { return Ok(CommandOutput::interrupted()) };
        let PreparedReplay { made_by, taken_in, kept, files } = prepared;
        let Selected { totals, counts, interrupted } =
            self.select(log, made_by.reference, kept, files).await?;
        // A cluster's state does not say whose models its workers asked; their names do.
        let simulated = made_by.simulated.unwrap_or_else(|| totals.models.names().any(is_simulated));
        write_outputs(self.settings, &totals);
        write_card(self.settings, &totals, simulated);
        let source = SourceTotals {
            name: source.name,
            taken_in,
            outcomes: source.outcomes,
            kept: counts.kept,
            unreadable: counts.unreadable,
            of_other_recipes: counts.of_other_recipes,
            again: counts.again,
        };
        let ending = Ending::Replayed { source, interrupted };
        let summary = replay_summary(self.settings, &totals, simulated, ending, started.elapsed());
        Ok(CommandOutput::report(&summary, self.args.json, interrupted))
    }

    async fn prepare<L: Log>(&self, log: &L, source: &ReplaySource) -> Result<PreparedReplay, ReplayError> {
        let index = read_index(log).await?;
        let made_by = source::compatible(&index, self.settings)?;
        let kept = selection::kept(log).await?;
        if kept == 0 {
            return Err(ReplayError::NothingKept);
        }
        let definition = app::definition(self.settings, made_by.simulated);
        let files = folder::open(self.settings, &source.identity, definition).await?;
        Ok(PreparedReplay { made_by, taken_in: index.threads(), kept, files })
    }

    /// Threads are read, selected from and written one after the other, which takes an OS thread of its own.
    async fn select<L: Log>(
        &self,
        log: L,
        reference: RecipeRef,
        kept: u64,
        files: Files,
    ) -> Result<Selected, ReplayError> {
        let done = Arc::new(AtomicU64::new(0));
        let display = self.show_progress(kept, Arc::clone(&done));
        let selection = Selection::new(self.settings, reference, files, done);
        let (runtime, shutdown) = (tokio::runtime::Handle::current(), self.shutdown.clone());
        let selecting =
            tokio::task::spawn_blocking(move || runtime.block_on(selection.scan(&log, &shutdown)));
        let selected = selecting.await;
        display.finish().await;
        selected.map_err(|_| Broken("selection"))?
    }

    fn show_progress(&self, total: u64, done: Arc<AtomicU64>) -> ProgressDisplay {
        ProgressDisplay::start(self.settings.observe.progress, self.screen, move || {
            let done = done.load(Ordering::Relaxed);
            let waiting = total.saturating_sub(done);
            let stage = StageProgress { name: STAGE, done, in_flight: 0, waiting, lag: None };
            ProgressSnapshot {
                counting: Counting::Threads,
                total: Some(total),
                finished: done,
                stages: vec![stage],
            }
        })
    }
}

/// What the display calls the work: it is that stage's.
const STAGE: &str = "select";
