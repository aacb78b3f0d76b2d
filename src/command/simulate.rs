//! `avr simulate`: a cluster of simulated model servers that runs until it is told to stop.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::output::CommandOutput;
use crate::{
    app::{ExitCode, HasExitCode, Shutdown},
    simulate::{Cluster, Options, SimulateError},
};

/// What `avr simulate` takes.
#[derive(Args, Clone, Debug)]
pub struct SimulateArgs {
    /// What the cluster is like.
    #[command(flatten)]
    pub options: Options,

    /// Write a JSON file with the URLs and the process id once every port listens, so that scripts need not
    /// sleep.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,

    /// Write the counts of requests by id to this JSON file when the cluster stops.
    #[arg(long, value_name = "FILE")]
    pub counts_file: Option<PathBuf>,
}

/// Why the cluster did not start, or could not leave what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SimulateCommandError {
    /// It did not start.
    #[error(transparent)]
    Start(#[from] SimulateError),
    /// A file could not be written.
    #[error("cannot write {}: {cause}; choose a file in a folder that exists and can be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Standard output is closed.
    #[error("cannot say where the servers listen: {0}; start the command from a shell")]
    Output(io::Error),
}

impl HasExitCode for SimulateCommandError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Failed
    }
}

/// Runs a simulated cluster until it is told to stop: writes the URLs to standard output, one a line, then a line that
/// says that it is ready.
///
/// # Errors
/// If the cluster cannot start, or a file asked for cannot be written.
pub async fn run(args: SimulateArgs, shutdown: &Shutdown) -> Result<CommandOutput, SimulateCommandError> {
    let cluster = Cluster::start(args.options).await?;
    announce(&cluster, &mut io::stdout().lock()).map_err(SimulateCommandError::Output)?;
    if let Some(file) = &args.ready_file {
        write_whole(file, &ready(&cluster))?;
    }
    shutdown.asked().await;
    let counts = cluster.stop().await;
    if let Some(file) = &args.counts_file {
        write_whole(file, &counts)?;
    }
    Ok(CommandOutput::done(String::new()))
}

fn announce(cluster: &Cluster, out: &mut impl Write) -> io::Result<()> {
    for url in cluster.generator_urls() {
        writeln!(out, "simulated model, chat:   {url}")?;
    }
    for url in cluster.reward_urls() {
        writeln!(out, "simulated model, reward: {url}")?;
    }
    writeln!(out, "ready: these are simulated models, their texts mean nothing")?;
    out.flush()
}

fn ready(cluster: &Cluster) -> serde_json::Value {
    json!({
        "pid": std::process::id(),
        "generators": cluster.generator_urls(),
        "rewards": cluster.reward_urls(),
    })
}

/// Whoever waits for the file must never see half of it, so it is written beside its place and moved there.
fn write_whole(path: &Path, content: &impl Serialize) -> Result<(), SimulateCommandError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = serde_json::to_vec(content).map_err(io::Error::from);
    written
        .and_then(|bytes| fs::write(&beside, bytes))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|cause| SimulateCommandError::Write { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_says_where_it_listens_and_that_it_is_simulated() {
        let options = Options { generators: 2, rewards: 1, ..Options::default() };
        let cluster = Cluster::start(options).await.expect("any ports");
        let mut out = Vec::new();
        announce(&cluster, &mut out).expect("memory");
        let out = String::from_utf8(out).expect("UTF-8");
        assert_eq!(out.lines().count(), 4);
        assert!(out.lines().all(|line| line.contains("simulated model")), "{out}");
        let file = tempfile::tempdir().expect("a folder").path().join("ready.json");
        let missing_folder = write_whole(&file, &ready(&cluster)).expect_err("the folder is gone");
        assert!(missing_folder.to_string().contains("choose a file"), "{missing_folder}");
    }
}
