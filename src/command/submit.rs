//! `avr submit`: prompts into a cluster's pipeline, from anywhere, each once however often it is given.
//!
//! ```text
//!   become the committer "submit" ─▶ read the index ─▶ intake: prompts + index entries, one transaction a batch
//! ```
//!
//! The index is read after the committer stands, so whatever an earlier submit left undecided is decided by then. Of two
//! submits at once the later fences the earlier, which waits for a while, becomes the committer again, and reads the
//! index anew; so both come to their end and nothing is doubled.

use std::time::Instant;

use clap::Args;
use tokio::sync::watch;

use super::{args::SettingsArgs, output::CommandOutput};
use crate::{
    app::{self, ExitCode, HasExitCode, OpenLogError, Shutdown},
    config::{KafkaSettings, Settings},
    intake::{self, Intake, IntakeError, IntakeProgress, SUBMIT_COMMITTER},
    log::{LogError, StandaloneCommitter, kafka::KafkaLog},
    observe::Metrics,
    pipeline::claims::{ClaimError, claim_recipe},
    source::{self, SourceErrors},
    terminal::{Counting, InputTotals, ProgressDisplay, ProgressSnapshot, Screen, SubmitSummary},
};

/// What `avr submit` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Input is what `avr run` takes: JSON Lines, a JSON array or Parquet, plain, gzip or zstd, told apart by content; a line \
is known by its columns. A line that cannot be used becomes a reject, which the exporter writes to rejects.jsonl with \
the reason.

A prompt is taken in once: submitting the same file again, from another machine, or after being killed in the middle, \
makes nothing twice. Two submits may run at once; the later one goes first.

The recipe must be the workers' (--recipe, or the same avr.toml): the first submit claims its definition for the \
pipeline, and later ones and workers with another are refused.

Exit codes:
  0    all of the input is in the pipeline
  1    it failed; the same command carries on
  2    the command line, the configuration or the cluster's topics are wrong
  3    --strict: a line of input cannot be used
  130  interrupted; the same command carries on

Examples:
  avr submit --kafka broker1:9092 prompts.jsonl.zst
  zcat prompts.gz | avr submit --config avr.toml -")]
pub struct SubmitArgs {
    /// Files of prompts; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,

    /// Print the summary as JSON on standard output.
    #[arg(long)]
    pub json: bool,

    /// What else may be set.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Why a submit could not begin, or ended before its input.
#[derive(Debug, thiserror::Error)]
pub enum SubmitCommandError {
    /// There is no cluster to submit to.
    #[error(
        "submit needs a cluster: name it with --kafka HOST:PORT. Over the embedded log there is one process, which \
         takes the files itself: avr run FILE…"
    )]
    NoCluster,
    /// Files cannot be read.
    #[error(transparent)]
    Sources(#[from] SourceErrors),
    /// The cluster cannot be used.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log was begun for something else.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The intake ended.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

impl HasExitCode for SubmitCommandError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCluster | Self::Sources(_) => ExitCode::WrongUsage,
            Self::Open(error) => error.exit_code(),
            Self::Log(error) => error.exit_code(),
            Self::Claim(error) => error.exit_code(),
            Self::Intake(error) => error.exit_code(),
        }
    }
}

/// Submits files to the cluster that the settings name, until the process is told to stop.
///
/// # Errors
/// See [`SubmitCommandError`]. What was submitted before it stays.
pub async fn run(
    args: &SubmitArgs,
    settings: &Settings,
    screen: &Screen,
    shutdown: &Shutdown,
) -> Result<CommandOutput, SubmitCommandError> {
    let kafka = settings.kafka.as_ref().ok_or(SubmitCommandError::NoCluster)?;
    source::open_all(&args.files)?;
    let started = Instant::now();
    let begun = shutdown.unless_asked(begin(args, settings, kafka)).await;
    let (progress, interrupted) = match begun.transpose()? {
        None => (IntakeProgress::default(), true),
        Some(intake) => {
            let progress = intake.progress();
            let display = show_progress(settings, screen, progress.clone());
            let ended = shutdown.unless_asked(intake.run(&args.files)).await;
            display.finish().await;
            let interrupted = ended.transpose()?.is_none();
            (*progress.borrow(), interrupted)
        }
    };
    let IntakeProgress { new, known, rejected, threads, rejects, .. } = progress;
    let (input, elapsed) = (InputTotals { new, known, rejected }, started.elapsed());
    let summary = SubmitSummary { interrupted, input, threads, rejects, elapsed };
    Ok(CommandOutput::report(&summary, args.json, interrupted))
}

/// An intake that commits by itself, with the index as it is and the recipe claimed.
async fn begin(
    args: &SubmitArgs,
    settings: &Settings,
    kafka: &KafkaSettings,
) -> Result<Intake<KafkaLog, StandaloneCommitter<KafkaLog>>, SubmitCommandError> {
    let log = app::await_cluster(kafka, &[], &args.settings.log.cluster.fix_command()).await?;
    let writer = StandaloneCommitter::start(log.clone(), SUBMIT_COMMITTER).await?;
    let index = intake::read_index(&log).await?;
    let reference = settings.recipe.reference(&settings.templates);
    let options = settings.intake.clone();
    let (mut intake, _) = Intake::new(log, writer, reference, options, index, Metrics::new());
    claim_recipe(&mut intake, &app::definition(settings, None)).await?;
    Ok(intake)
}

fn show_progress(
    settings: &Settings,
    screen: &Screen,
    progress: watch::Receiver<IntakeProgress>,
) -> ProgressDisplay {
    ProgressDisplay::start(settings.observe.progress, screen, move || {
        let IntakeProgress { new, known, rejected, .. } = *progress.borrow();
        let finished = new + known + rejected;
        ProgressSnapshot { counting: Counting::Prompts, total: None, finished, stages: vec![] }
    })
}
