//! `avr status`: how far a cluster's pipeline is, for whoever looks on.
//!
//! ```text
//!   progress of each group, ends of each topic ─▶ what is left   ┐
//!   topic workers ─▶ who works, and on what                      ├─▶ Sample ─▶ two of them: Picture ─▶ table, JSON
//!   topics dead-letters and handled ─▶ dead letters that wait    ┘
//! ```
//!
//! It joins no group and commits nothing, so looking disturbs nobody.

mod picture;
mod sample;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;

pub use sample::{Sample, StageSample};

use super::{args::ClusterArgs, output::CommandOutput};
use picture::picture;

use crate::{
    app::{self, ExitCode, HasExitCode, OpenLogError, Shutdown},
    config::{KafkaSettings, Settings},
    log::{Log, LogError},
    terminal::{Picture, Report as _},
};

/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What `avr status` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
  LEFT     records that the stage has not done, over all workers; `≤` where that many were not counted one by one,
           which includes the markers of transactions
  OLDEST   how long the oldest of them has been there
  DONE     offsets done, over all time: records and the markers between them
  RATE     how fast DONE grows
  RUNNING, WAITING, PARKED
           steps that run, records fetched, and threads left alone because they follow another recipe, as the workers
           said last (they say so every kafka.heartbeat_interval_s); a silent worker is shown as such and not counted

--wait ends with 0 once nothing is left in any stage: each stage was seen with no record left, twice, and no topic had
grown meanwhile. Markers of transactions behind the last record do not count.

Exit codes:
  0    the picture was shown; with --wait, nothing is left to do
  1    the cluster does not answer
  2    the command line or the configuration is wrong
  130  interrupted by Ctrl-C or SIGTERM

Examples:
  avr status --kafka broker1:9092
  avr status --kafka broker1:9092 --watch
  avr submit --kafka broker1:9092 prompts.jsonl && avr status --kafka broker1:9092 --wait")]
pub struct StatusArgs {
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Show it again and again, until it is interrupted.
    #[arg(long)]
    pub watch: bool,

    /// Wait until nothing is left to do in any stage.
    #[arg(long)]
    pub wait: bool,

    /// Seconds between two looks, from which the rates are taken.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// There is no cluster to look at.
    #[error(
        "status needs a cluster: name it with --kafka HOST:PORT. A run over the embedded log shows its own progress, \
         and serves metrics at observe.listen"
    )]
    NoCluster,
    /// The cluster cannot be used.
    #[error(transparent)]
    Open(#[from] OpenLogError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl HasExitCode for StatusError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoCluster => ExitCode::WrongUsage,
            Self::Open(error) => error.exit_code(),
            Self::Log(error) => error.exit_code(),
        }
    }
}

/// Looks at the cluster that the settings name, and prints what it sees.
///
/// # Errors
/// See [`StatusError`].
pub async fn run(
    args: &StatusArgs,
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<CommandOutput, StatusError> {
    let kafka = settings.kafka.as_ref().ok_or(StatusError::NoCluster)?;
    let looked = shutdown.unless_asked(look(args, kafka)).await;
    looked.unwrap_or_else(|| Ok(CommandOutput::interrupted()))
}

async fn look(args: &StatusArgs, kafka: &KafkaSettings) -> Result<CommandOutput, StatusError> {
    let fix_command = args.cluster.fix_command();
    let log = if args.wait || args.watch {
        app::await_cluster(kafka, &[], &fix_command).await?
    } else {
        app::open_cluster(kafka, &[], &fix_command).await?
    };
    let (interval, silent_after) = (Duration::from_secs(args.interval), kafka.heartbeat_interval * 3);
    let looks = Looks { log, interval, silent_after };
    let last = looks
        .until(|picture| {
            if args.watch {
                show(args, picture);
            }
            if args.wait { picture.nothing_left } else { !args.watch }
        })
        .await?;
    let shown = if args.watch { String::new() } else { text(args, &last) };
    Ok(CommandOutput::done(shown))
}

fn text(args: &StatusArgs, picture: &Picture) -> String {
    if args.json { picture.json() + "\n" } else { picture.text() }
}

/// Shows a picture in the place of the one before.
fn show(args: &StatusArgs, picture: &Picture) {
    let mut out = std::io::stdout();
    let clear = if !args.json && out.is_terminal() { CLEAR } else { "" };
    // Whoever does not read any more is no reason to fail.
    let _ = write!(out, "{clear}{}", text(args, picture)).and_then(|()| out.flush());
}

/// How a log is looked at.
pub struct Looks<L: Log> {
    /// The log.
    pub log: L,
    /// The time between two samples.
    pub interval: Duration,
    /// After how long without a word a worker is silent.
    pub silent_after: Duration,
}

impl<L: Log> Looks<L> {
    /// Takes samples until `enough` says so of the picture that the latest two make; returns that one.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn until(&self, mut enough: impl FnMut(&Picture) -> bool) -> Result<Picture, LogError> {
        let mut before = Sample::take(&self.log, None).await?;
        loop {
            tokio::time::sleep(self.interval).await;
            let now = Sample::take(&self.log, Some(&before)).await?;
            let seen = picture(&before, &now, self.silent_after);
            if enough(&seen) {
                return Ok(seen);
            }
            before = now;
        }
    }
}
