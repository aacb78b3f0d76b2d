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
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Args;

use self::{
    selection::{Selected, Selection},
    source::Source,
};
use crate::{
    app::{self, Signals},
    cli::SettingsArgs,
    command::{self, run::RunError},
    config::Settings,
    export::ExportError,
    intake::read_index,
    log::{Log, LogError, kafka::KafkaLog},
    terminal::{Counting, Ending, Progress, ProgressSnapshot, Screen, SourceTotals, StageProgress, Summary},
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

/// A replay that came to its end, or was told to stop before.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What came of it.
    pub summary: Summary,
    /// Whether it was told to stop before everything was done.
    pub interrupted: bool,
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
    /// Opening the log, or what else a run has in common.
    #[error(transparent)]
    Run(#[from] RunError),
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
    /// A part of the replay broke.
    #[error("the selection broke in a way that it did not foresee")]
    Broken,
}

/// Selects again from the threads of the state in `from`, or without it from those of the cluster that the settings name.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    settings: Settings,
    from: Option<PathBuf>,
    screen: &Screen,
) -> Result<Replayed, ReplayError> {
    let Some(from) = from else {
        let kafka = settings.kafka.as_ref().ok_or(ReplayError::NoSource)?;
        if !kafka.topics.keep_for_replay {
            return Err(ReplayError::NotKept { topic: kafka.options.name(selection::SOURCE.0) });
        }
        let source = Source::in_cluster(&kafka.options);
        let log = KafkaLog::connect(kafka.options.clone()).await?;
        return replay(settings, log, source, screen).await;
    };
    let state = from.join(app::STATE);
    if !state.is_dir() {
        return Err(ReplayError::NoState(from));
    }
    if is_same(&from, &settings.out) {
        return Err(ReplayError::SameFolder);
    }
    let log = app::open_state(state, settings.log).await?;
    replay(settings, log, Source::in_folder(&from), screen).await
}

fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    whole(one).is_some_and(|one| whole(other).is_some_and(|other| one == other))
}

/// Selects again from the threads of any log.
async fn replay<L: Log>(
    settings: Settings,
    log: L,
    from: Source,
    screen: &Screen,
) -> Result<Replayed, ReplayError> {
    let (started, mut signals) = (Instant::now(), Signals::listen()?);
    let index = read_index(&log).await?;
    let made_by = source::compatible(&index, &settings)?;
    let total = selection::kept(&log).await?;
    if total == 0 {
        return Err(ReplayError::NothingKept);
    }
    let definition = app::definition(&settings, made_by.simulated);
    let files = folder::open(&settings, &from.identity, definition).await?;
    let watched = Watched::default();
    let stop = watched.clone();
    let stopping = tokio::spawn(async move {
        signals.next().await;
        stop.stop.store(true, Ordering::Relaxed);
    });
    let display = show_progress(&settings, screen, total, &watched);
    let selection = Selection::new(&settings, made_by.reference, files, watched.clone());
    let runtime = tokio::runtime::Handle::current();
    // Threads are read, selected from and written one after the other, which takes a thread of its own.
    let selecting = tokio::task::spawn_blocking(move || runtime.block_on(selection.scan(&log)));
    let selected = selecting.await;
    stopping.abort();
    display.finish().await;
    let Selected { totals, counts } = selected.map_err(|_| ReplayError::Broken)??;
    // A cluster's state does not say whose models its workers asked; their names do.
    let simulated = made_by.simulated.unwrap_or_else(|| totals.models.names().any(app::is_simulated));
    command::run::write_outputs(&settings, &totals);
    command::run::write_card(&settings, &totals, simulated);
    let source = SourceTotals {
        name: from.name,
        taken_in: index.threads(),
        outcomes: from.outcomes,
        kept: counts.kept,
        unreadable: counts.unreadable,
        of_other_recipes: counts.of_other_recipes,
        again: counts.again,
    };
    let interrupted = watched.stop.load(Ordering::Relaxed);
    let ending = Ending::Replayed { source, interrupted };
    let summary = command::run::replay_summary(&settings, &totals, simulated, ending, started.elapsed());
    Ok(Replayed { summary, interrupted })
}

/// What the display calls the work: it is that stage's.
const STAGE: &str = "select";

/// What the display and a signal share with the selection.
#[derive(Clone, Debug, Default)]
struct Watched {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

fn show_progress(settings: &Settings, screen: &Screen, total: u64, watched: &Watched) -> Progress {
    let done = Arc::clone(&watched.done);
    Progress::start(settings.observe.progress, screen, move || {
        let done = done.load(Ordering::Relaxed);
        let stage =
            StageProgress { name: STAGE, done, in_flight: 0, waiting: total.saturating_sub(done), lag: None };
        ProgressSnapshot {
            counting: Counting::Threads,
            total: Some(total),
            finished: done,
            stages: vec![stage],
        }
    })
}
