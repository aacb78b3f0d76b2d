//! `avr dead-letters`: what could not be handled, and what is to become of it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{args::LogArgs, output::CommandOutput};
use crate::{
    app::{self, ExitCode, HasExitCode, OpenLogError, STATE, Shutdown},
    clock::now_ms,
    config::Settings,
    dead_letter::{self, DeadLetterFilter, DeadLetterId, HandleError, Handling, HandlingReport},
    log::{Log, LogError},
    record::HandledAction,
    terminal::dead_letters as shown,
};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a dead letter is not there or cannot be sent back, or the log failed; what was done before is done
  2    the command line or the configuration is wrong, or there is no log
  4    another process has the output folder
  130  interrupted by Ctrl-C or SIGTERM; what was done before is done";

/// What `avr dead-letters` takes.
#[derive(Debug, Args)]
#[command(
    after_help = EXIT_CODES,
    long_about = "Look at the records that a stage could not handle, send them back, or give them up.

A dead letter is a record as it came, byte for byte, with headers that say where from and what happened. When what was \
wrong is mended (a server's limit, a template, a version of avr), `retry` sends records back to the topic that they came \
from, and the stage takes them as if they came for the first time. A dead letter is sent back once, however often the command \
is run or killed; one that fails again becomes a new dead letter.

TRIES, the header avr.attempts, says how often what failed was tried: the requests that were sent for a call of a model, \
retries among them, and 1 for what is the same every time (a record that does not fit its schema, a result that is too \
large).

Over the embedded log no run may have the folder; after `retry` the same `avr run` command carries on with them. Over \
Kafka the workers may run."
)]
pub struct DeadLettersArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLettersCommand,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// List the dead letters that nothing was done with yet, with totals by stage and kind.
    List {
        /// Those that were handled, too, with what was done.
        #[arg(long)]
        handled: bool,
        /// Print one JSON object on standard output.
        #[arg(long)]
        json: bool,
        /// Which log.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Show one dead letter: headers and payload.
    Show {
        /// The dead letter, as `list` names it.
        #[arg(value_name = "ID")]
        id: DeadLetterId,
        /// Which log.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Send records back to the topics that they came from.
    Retry(HandleArgs),
    /// Give dead letters up: they are no longer listed. Their threads stay ended as dead letters.
    Drop(HandleArgs),
}

/// Which dead letters, and how.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["ids", "all", "stage", "error"])))]
pub struct HandleArgs {
    /// The dead letters, as `list` names them.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "stage", "error"])]
    pub ids: Vec<DeadLetterId>,
    /// All that nothing was done with yet.
    #[arg(long, conflicts_with_all = ["stage", "error"])]
    pub all: bool,
    /// Those of this stage.
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Those with this kind of error.
    #[arg(long, value_name = "KIND")]
    pub error: Option<String>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Yes, all of them (for `drop --all`).
    #[arg(long)]
    pub yes: bool,
    /// Which log.
    #[command(flatten)]
    pub log: LogArgs,
}

impl DeadLettersArgs {
    /// Which log to look into.
    pub fn log(&self) -> &LogArgs {
        match &self.command {
            DeadLettersCommand::List { log, .. } | DeadLettersCommand::Show { log, .. } => log,
            DeadLettersCommand::Retry(args) | DeadLettersCommand::Drop(args) => &args.log,
        }
    }
}

impl HandleArgs {
    fn filter(&self) -> DeadLetterFilter {
        if self.ids.is_empty() {
            DeadLetterFilter::Matching { stage: self.stage.clone(), kind: self.error.clone() }
        } else {
            DeadLetterFilter::Ids(self.ids.iter().copied().collect())
        }
    }
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLettersError {
    /// There is no log.
    #[error("{} is not there: name the output folder of a run with --out, or a cluster with --kafka", .0.display())]
    NoLog(PathBuf),
    /// To give everything up wants another word.
    #[error("this gives up every dead letter: add --yes if that is meant, or --dry-run to see them")]
    Everything,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// Dead letters could not be handled.
    #[error(transparent)]
    Handle(#[from] HandleError),
}

impl HasExitCode for DeadLettersError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoLog(_) | Self::Everything => ExitCode::WrongUsage,
            Self::Log(error) => error.exit_code(),
            Self::Open(error) => error.exit_code(),
            Self::Handle(_) => ExitCode::Failed,
        }
    }
}

/// Runs the command over the log that the settings name.
///
/// # Errors
/// See [`DeadLettersError`].
pub async fn run(
    args: &DeadLettersArgs,
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<CommandOutput, DeadLettersError> {
    let done = shutdown.unless_asked(open_and_do(args, settings)).await;
    done.unwrap_or_else(|| Ok(CommandOutput::interrupted()))
}

async fn open_and_do(args: &DeadLettersArgs, settings: &Settings) -> Result<CommandOutput, DeadLettersError> {
    if let Some(kafka) = &settings.kafka {
        return over(&app::connect(&kafka.options).await?, args).await;
    }
    let state = settings.out.join(STATE);
    if !state.is_dir() {
        return Err(DeadLettersError::NoLog(state));
    }
    over(&app::open_folder(state, settings.log).await?, args).await
}

/// Runs the command over a log.
async fn over<L: Log>(log: &L, args: &DeadLettersArgs) -> Result<CommandOutput, DeadLettersError> {
    match &args.command {
        DeadLettersCommand::List { handled, json, .. } => {
            let mut all = dead_letter::list(log).await?;
            all.retain(|dead_letter| *handled || dead_letter.handled.is_none());
            let text = if *json { shown::json(&all) } else { shown::list(&all) };
            Ok(CommandOutput::done(text))
        }
        DeadLettersCommand::Show { id, .. } => show(log, *id).await,
        DeadLettersCommand::Retry(args) => act(log, args, HandledAction::Retried).await,
        DeadLettersCommand::Drop(args) if args.all && !args.yes && !args.dry_run => {
            Err(DeadLettersError::Everything)
        }
        DeadLettersCommand::Drop(args) => act(log, args, HandledAction::Dropped).await,
    }
}

async fn show<L: Log>(log: &L, id: DeadLetterId) -> Result<CommandOutput, DeadLettersError> {
    Ok(match dead_letter::show(log, id).await? {
        Some((found, record)) => CommandOutput::done(shown::show(&found, &record)),
        None => with_problems(String::new(), vec![missing(id)]),
    })
}

async fn act<L: Log>(
    log: &L,
    args: &HandleArgs,
    action: HandledAction,
) -> Result<CommandOutput, DeadLettersError> {
    let handling = Handling { action, dry_run: args.dry_run, at_ms: now_ms() };
    let HandlingReport { done, before, missing: absent, not_retryable } =
        dead_letter::handle(log, &args.filter(), handling).await?;
    let problems = absent.into_iter().map(missing);
    let not_retryable =
        not_retryable.iter().map(|(id, why)| format!("dead letter {id} cannot be sent back: {why}"));
    let text = shown::done(&done, &before, handling);
    Ok(with_problems(text, problems.chain(not_retryable).collect()))
}

fn with_problems(text: String, problems: Vec<String>) -> CommandOutput {
    let code = if problems.is_empty() { ExitCode::Done } else { ExitCode::Failed };
    CommandOutput { text, problems, code }
}

fn missing(id: DeadLetterId) -> String {
    format!("there is no dead letter {id}: `avr dead-letters list --handled` shows all")
}
