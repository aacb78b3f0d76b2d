//! A folder to work in, and `avr` called from there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tempfile::TempDir;

use super::{Cluster, Finished, Output, Process};

/// A folder of its own for a test.
pub(crate) struct Bench {
    folder: TempDir,
}

/// Lines of that many different prompts, with the ids `p0`, `p1` and so on.
pub(crate) fn prompts(range: std::ops::Range<usize>) -> String {
    let line =
        |n| json!({"id": format!("p{n}"), "prompt": format!("Explain in three sentences what {n} means.")});
    range.map(|n| format!("{}\n", line(n))).collect()
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A bench with `count` prompts in `prompts.jsonl`.
    pub(crate) fn with_prompts(count: usize) -> Self {
        let bench = Self::new();
        bench.write("prompts.jsonl", prompts(0..count));
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("written");
    }

    /// `avr` with these arguments, in the folder, in an environment that says nothing of avr.
    pub(crate) fn avr(&self, arguments: &[&str]) -> Command {
        avr_in(self.folder.path(), arguments)
    }

    /// Starts `avr run` against the cluster. Arguments that begin with `--` may stand among the files.
    pub(crate) fn start(&self, cluster: &Cluster, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(cluster, arguments))
    }

    /// Lets `avr run` against the cluster come to its end.
    pub(crate) fn run(&self, cluster: &Cluster, arguments: &[&str]) -> Finished {
        self.start(cluster, arguments).finish()
    }

    pub(crate) fn command(&self, cluster: &Cluster, arguments: &[&str]) -> Command {
        let mut command = self.avr(&["run", "--json", "--progress", "none"]);
        command.args(["--set", "observe.listen=127.0.0.1:0"]);
        command.args(cluster.arguments()).args(arguments);
        command
    }

    /// What is in the default output folder.
    pub(crate) fn output(&self) -> Output {
        Output::of(self.path("out"))
    }
}

pub(crate) fn avr_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_avr"));
    command.current_dir(folder).args(arguments).env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AVR_")) {
        command.env_remove(name);
    }
    command
}
