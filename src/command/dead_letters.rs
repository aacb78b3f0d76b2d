//! `avr dead-letters`: what could not be handled, and what is to become of it.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use crate::{
    app,
    cli::{ClusterArgs, SettingsArgs},
    clock::now_ms,
    command::run::RunError,
    config::Settings,
    dead_letter::{
        Deed, HandleError, LetterId, Letters, Report, Selection, handle, read_letter, read_letters,
    },
    log::{Log, LogError, kafka::KafkaLog},
    record::HandledAction,
    terminal::dead_letters as shown,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a letter is not there or cannot be sent back, or the log failed; what was done before is done
  2  the command line or the configuration is wrong, or there is no log
  4  another process has the output folder";

/// What `avr dead-letters` takes.
#[derive(Debug, Args)]
#[command(
    after_help = EXIT_CODES,
    long_about = "Look at the records that a stage could not handle, send them back, or give them up.

A dead letter is a record as it came, byte for byte, with headers that say where from and what happened. When what was \
wrong is mended (a server's limit, a template, a version of avr), `retry` sends records back to the topic that they came \
from, and the stage takes them as if they came for the first time. A letter is sent back once, however often the command \
is run or killed; one that fails again becomes a new letter.

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
    /// List the letters that nothing was done with yet, with totals by stage and kind.
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
    /// Show one letter: headers and payload.
    Show {
        /// The letter, as `list` names it.
        #[arg(value_name = "ID")]
        id: LetterId,
        /// Which log.
        #[command(flatten)]
        log: LogArgs,
    },
    /// Send records back to the topics that they came from.
    Retry(HandleArgs),
    /// Give letters up: they are no longer listed. Their threads stay ended as dead letters.
    Drop(HandleArgs),
}

/// Which letters, and how.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["ids", "all", "stage", "error"])))]
pub struct HandleArgs {
    /// The letters, as `list` names them.
    #[arg(value_name = "ID", conflicts_with_all = ["all", "stage", "error"])]
    pub ids: Vec<LetterId>,
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

/// Which log to look into.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// The output folder with the embedded log, where no cluster is named [default: out].
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl DeadLettersArgs {
    /// What they say of the configuration.
    pub fn settings(&self) -> SettingsArgs {
        let log = match &self.command {
            DeadLettersCommand::List { log, .. } | DeadLettersCommand::Show { log, .. } => log,
            DeadLettersCommand::Retry(args) | DeadLettersCommand::Drop(args) => &args.log,
        };
        let LogArgs { out, cluster } = log.clone();
        SettingsArgs { out, ..cluster.into() }
    }
}

impl HandleArgs {
    fn selection(&self) -> Selection {
        if self.ids.is_empty() {
            Selection::Fitting { stage: self.stage.clone(), kind: self.error.clone() }
        } else {
            Selection::Ids(self.ids.iter().copied().collect())
        }
    }
}

/// What the command has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// What could not be done, for standard error.
    pub problems: Vec<String>,
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
    /// The log cannot be opened or read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(RunError),
    /// Letters could not be handled.
    #[error(transparent)]
    Handle(#[from] HandleError),
}

/// Runs the command over the log that the settings name.
///
/// # Errors
/// See [`DeadLettersError`].
pub async fn dead_letters(args: &DeadLettersArgs, settings: &Settings) -> Result<Answer, DeadLettersError> {
    if let Some(kafka) = &settings.kafka {
        let log = KafkaLog::connect(kafka.options.clone()).await?;
        return over(&log, args).await;
    }
    let state = settings.out.join(app::STATE);
    if !state.is_dir() {
        return Err(DeadLettersError::NoLog(state));
    }
    let log = app::open_state(state, settings.log).await.map_err(|error| match error {
        RunError::Log(error) => DeadLettersError::Log(error),
        other => DeadLettersError::Open(other),
    })?;
    over(&log, args).await
}

/// Runs the command over a log.
async fn over<L: Log>(log: &L, args: &DeadLettersArgs) -> Result<Answer, DeadLettersError> {
    match &args.command {
        DeadLettersCommand::List { handled, json, .. } => {
            let mut all = read_letters(log).await?;
            all.letters.retain(|letter| *handled || letter.handled.is_none());
            let text = if *json { shown::json(&all) } else { shown::list(&all) };
            Ok(Answer { text, problems: vec![] })
        }
        DeadLettersCommand::Show { id, .. } => show(log, *id).await,
        DeadLettersCommand::Retry(args) => act(log, args, HandledAction::Retried).await,
        DeadLettersCommand::Drop(args) if args.all && !args.yes && !args.dry_run => {
            Err(DeadLettersError::Everything)
        }
        DeadLettersCommand::Drop(args) => act(log, args, HandledAction::Dropped).await,
    }
}

async fn show<L: Log>(log: &L, id: LetterId) -> Result<Answer, DeadLettersError> {
    let Letters { letters } = read_letters(log).await?;
    let letter = letters.into_iter().find(|letter| letter.id == id);
    Ok(match (letter, read_letter(log, id).await?) {
        (Some(letter), Some(record)) => Answer { text: shown::show(&letter, &record), problems: vec![] },
        _ => Answer { text: String::new(), problems: vec![missing(id)] },
    })
}

async fn act<L: Log>(log: &L, args: &HandleArgs, action: HandledAction) -> Result<Answer, DeadLettersError> {
    let deed = Deed { action, dry_run: args.dry_run };
    let Report { done, before, missing: absent, unreturnable } =
        handle(log, &args.selection(), deed, now_ms()).await?;
    let problems = absent.into_iter().map(missing);
    let unreturnable = unreturnable.iter().map(|(id, why)| format!("letter {id} cannot be sent back: {why}"));
    Ok(Answer { text: shown::done(&done, &before, deed), problems: problems.chain(unreturnable).collect() })
}

fn missing(id: LetterId) -> String {
    format!("there is no letter {id}: `avr dead-letters list --handled` shows all")
}
