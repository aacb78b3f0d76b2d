//! `avr run`: puts the parts together, watches over them, and says what came of it.
//!
//! ```text
//!   no cluster:  Settings ─▶ embedded log · models · engine · intake · admin ─▶ finite ─▶ drain ─▶ summary
//!   a cluster:   Settings ─▶ Kafka · models of some stages · engine · admin ─▶ worker ─▶ drain ─▶ summary
//! ```
//!
//! A finite run has every stage and takes its prompts from files; it ends when each is accounted for. A worker has
//! some stages or all, takes what comes, and ends when it is told to. Both are written for any log.

mod finite;
mod summarise;
mod worker;

use std::path::PathBuf;

pub(crate) use summarise::{replay_summary, write_card, write_outputs};

use crate::{
    app::OpenError,
    config::Settings,
    dataflow::{Chosen, UnknownStage},
    engine::EngineError,
    intake::{IntakeError, RecipeChanged},
    log::LogError,
    model::OptionsError,
    simulate::SimulateError,
    source::SourceError,
    stage::MissingModel,
    terminal::{Screen, Summary, WorkerSummary},
};

/// Runs: over the embedded log until every prompt is accounted for, over a cluster as a worker until it is told to
/// stop.
///
/// # Errors
/// See [`RunError`]. What was committed before the error is complete; the same command carries on from there.
pub async fn run(settings: Settings, options: RunOptions, screen: &Screen) -> Result<Ended, RunError> {
    match settings.kafka.clone() {
        None if !options.stages.is_empty() => Err(RunError::StagesWithoutCluster),
        None => finite::run(settings, options, screen).await,
        Some(_) if !options.files.is_empty() => Err(RunError::FilesForWorker),
        Some(kafka) => {
            let chosen = Chosen::named(&options.stages)?;
            worker::run(settings, &kafka, options, chosen, screen).await
        }
    }
}

/// What to run, beside the settings.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Files to read, `-` for standard input. None: carry on with what was taken in before.
    pub files: Vec<String>,
    /// The stages of a worker, by name; none for all.
    pub stages: Vec<String>,
    /// Start a simulated model cluster and use it.
    pub simulate: bool,
    /// The command that carries on, to be shown when the run is interrupted.
    pub resume: String,
    /// The command that sets a cluster's topics right, to be shown where they are not.
    pub mend: String,
}

/// A run that ended by itself or was told to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What came of it.
    pub report: Report,
    /// Whether it was told to stop before everything was done.
    pub interrupted: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub enum Report {
    /// Of one that ends by itself.
    Finite(Box<Summary>),
    /// Of a worker.
    Worker(Box<WorkerSummary>),
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Finite(summary) => summary.text(),
            Self::Worker(summary) => summary.text(),
        }
    }

    /// For machines: one line of JSON.
    pub fn json(&self) -> String {
        match self {
            Self::Finite(summary) => summary.json(),
            Self::Worker(summary) => summary.json(),
        }
    }
}

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No server was named for a role.
    #[error(
        "no {role} is configured: name its servers with --{role} URL and its model with --{role}-model NAME (or in \
         avr.toml under [models.{role}]), or try it out with --simulate"
    )]
    NoModel {
        /// The role.
        role: &'static str,
    },
    /// A model's options do not fit.
    #[error("models.{role}: {cause}")]
    Model {
        /// The role.
        role: &'static str,
        /// What does not fit.
        cause: OptionsError,
    },
    /// The simulated cluster did not start.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// Files cannot be read.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Sources(Vec<SourceError>),
    /// The output folder cannot be made or written.
    #[error("{}: {cause}; choose another folder with --out", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine ended.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The intake ended.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// `--stage` without a cluster.
    #[error(
        "--stage is for workers of a cluster (--kafka): over the embedded log one process has every stage, because the \
         log in the output folder is open to one process only"
    )]
    StagesWithoutCluster,
    /// Files for a worker.
    #[error(
        "a worker of a cluster takes no files: prompts come by `avr submit --kafka ADDRESS FILE…`, from any machine and \
         at any time"
    )]
    FilesForWorker,
    /// A name that no stage has.
    #[error(transparent)]
    UnknownStage(#[from] UnknownStage),
    /// None of the chosen stages is passed by threads of the recipe.
    #[error(
        "threads of recipe {recipe} pass none of these stages: {stages}; name others with --stage, or leave it out"
    )]
    NoStage {
        /// The recipe.
        recipe: String,
        /// What was chosen.
        stages: String,
    },
    /// A stage without its model.
    #[error(transparent)]
    MissingModel(#[from] MissingModel),
    /// The cluster cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The cluster's threads follow another definition of the recipe.
    #[error(transparent)]
    RecipeChanged(#[from] RecipeChanged),
    /// There is nothing to do.
    #[error(
        "nothing to do: name at least one FILE (or - for standard input); this output folder has nothing to carry on with"
    )]
    Nothing,
    /// Nothing could tell the run to stop.
    #[error("signals cannot be heard: {0}")]
    Signals(std::io::Error),
    /// A part of the run broke.
    #[error("the {0} broke in a way that it did not foresee")]
    Broken(&'static str),
}
