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

use clap::Args;
pub(crate) use summarise::{replay_summary, write_card, write_outputs};

use super::{args::SettingsArgs, output::CommandOutput};
use crate::{
    app::{AssembleError, Broken, EngineEnd, ExitCode, HasExitCode, ModelSetupError, OpenLogError, Shutdown},
    config::Settings,
    dataflow::{Chosen, UnknownStage},
    intake::IntakeError,
    log::LogError,
    pipeline::claims::ClaimError,
    source::SourceErrors,
    terminal::Screen,
};

/// What `avr run` takes.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Input is JSON Lines, a JSON array or Parquet, plain, gzip or zstd, told apart by content. A line is known by its \
columns: those of popular data sets (README.md lists them), or the ones that --column names. A line that cannot be used \
goes to rejects.jsonl, and the run goes on.

Run the same command again to carry on after an interruption: nothing is made twice, and no model call of a step that \
was committed is made again.

Examples:
  avr run --simulate examples/prompts.jsonl
  avr run --simulate --recipe stage2 --out long answered.jsonl
  avr run --generator http://gpu1:8000 --generator http://gpu2:8000 --generator-model llama \\
          --reward http://gpu3:8000 --reward-model armo --out data prompts.jsonl.zst
  zcat prompts.gz | avr run --config avr.toml -

With --kafka it is a worker of a cluster: it takes no files (see avr submit), runs until it is told to stop, and connects \
to the models that its stages ask:
  avr run --kafka broker1:9092 --stage critique --stage improve --generator http://gpu1:8000 --generator-model llama
  avr run --kafka broker1:9092 --stage select --stage export --out data")]
pub struct RunArgs {
    /// Files of prompts; `-` is standard input. Without any, the run carries on with what was taken in before.
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,

    /// With --kafka: the stages that this worker runs, one an option [default: all]. They are draft, critique, improve,
    /// score, select and export; each is a consumer group that shares its work out among all workers that run it.
    #[arg(long, value_name = "NAME")]
    pub stage: Vec<String>,

    /// Use simulated models: a look at the whole flow without a GPU. The records are good for nothing else.
    #[arg(long, conflicts_with_all = ["generator", "generator_model", "reward", "reward_model"])]
    pub simulate: bool,

    /// Print the summary as JSON on standard output.
    #[arg(long)]
    pub json: bool,

    /// What else may be set.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Runs: over the embedded log until every prompt is accounted for, over a cluster as a worker until it is told to
/// stop.
///
/// # Errors
/// See [`RunError`]. What was committed before the error is complete; the same command carries on from there.
pub async fn run(
    args: &RunArgs,
    settings: Settings,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<CommandOutput, RunError> {
    match settings.kafka.clone() {
        None if !args.stage.is_empty() => Err(WrongUsage::StagesWithoutCluster.into()),
        None => finite::run(args, settings, screen, shutdown).await,
        Some(_) if !args.files.is_empty() => Err(WrongUsage::FilesForWorker.into()),
        Some(kafka) => {
            let chosen = Chosen::named(&args.stage).map_err(WrongUsage::UnknownStage)?;
            worker::run(args, settings, &kafka, chosen, screen, shutdown).await
        }
    }
}

/// A command line that cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum WrongUsage {
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
    /// There is nothing to do.
    #[error(
        "nothing to do: name at least one FILE (or - for standard input); this output folder has nothing to carry on with"
    )]
    Nothing,
}

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] WrongUsage),
    /// Files cannot be read.
    #[error(transparent)]
    Sources(#[from] SourceErrors),
    /// The models cannot be asked.
    #[error(transparent)]
    Models(#[from] ModelSetupError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// The stages cannot be run.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The log was begun for something else.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine ended.
    #[error(transparent)]
    Engine(#[from] EngineEnd),
    /// The intake ended.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A part of the run panicked.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl HasExitCode for RunError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) | Self::Sources(_) => ExitCode::WrongUsage,
            Self::Claim(error) => error.exit_code(),
            Self::Models(error) => error.exit_code(),
            Self::Open(error) => error.exit_code(),
            Self::Assemble(error) => error.exit_code(),
            Self::Log(error) => error.exit_code(),
            Self::Engine(error) => error.exit_code(),
            Self::Intake(error) => error.exit_code(),
            Self::Broken(_) => ExitCode::Failed,
        }
    }
}
