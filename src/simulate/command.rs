//! `avr simulate`: start, say where, run until told to stop.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Cluster, SimulateArgs, SimulateError, protocol::to_json};

/// Runs a simulated cluster until SIGINT or SIGTERM: writes the URLs to standard output, one a line, then a line
/// that says that it is ready.
///
/// # Errors
/// If the cluster cannot start, or a file asked for cannot be written.
pub async fn run(args: SimulateArgs) -> Result<(), SimulateError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SimulateError::Terminal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(SimulateError::Terminal)?;
    let cluster = Cluster::start(args.options).await?;
    announce(&cluster, &mut io::stdout().lock()).map_err(SimulateError::Terminal)?;
    if let Some(file) = &args.ready_file {
        write_whole(file, &ready(&cluster))?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let counts = cluster.stop().await;
    match &args.counts_file {
        Some(file) => write_whole(file, &to_json(&counts)),
        None => Ok(()),
    }
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

fn ready(cluster: &Cluster) -> Vec<u8> {
    to_json(&json!({
        "pid": std::process::id(),
        "generators": cluster.generator_urls(),
        "rewards": cluster.reward_urls(),
    }))
}

/// Who waits for the file must never see half of it, so it is written beside its place and moved there.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), SimulateError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    fs::write(&beside, content)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|source| SimulateError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Options;

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
        let missing_folder = write_whole(&file, b"{}").expect_err("the folder is gone");
        assert!(missing_folder.to_string().contains("choose a file"), "{missing_folder}");
    }
}
