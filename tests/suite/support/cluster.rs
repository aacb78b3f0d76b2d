//! `avr simulate` in a process of its own.

use avr::simulate::{RequestCounts, Senders};
use serde_json::Value;
use tempfile::TempDir;

use super::{Process, bench::avr_in, get};

/// A cluster that takes a few seconds for a hundred prompts.
pub(crate) const SLOW: [&str; 8] =
    ["--latency", "batching", "--step-ms", "1", "--slots", "24", "--reward-latency-ms", "10"];

/// The file in its folder that it leaves its last counts in.
const COUNTS: &str = "counts.json";

/// A simulated cluster; it ends when it is dropped.
pub(crate) struct Cluster {
    process: Process,
    folder: TempDir,
    generator: String,
    reward: String,
}

impl Cluster {
    /// A cluster with short answers, unless they are to have another length, and these options, on any free ports.
    pub(crate) fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ready_file = folder.path().join("ready.json");
        let mut command = avr_in(folder.path(), &["simulate", "--ready-file"]);
        command.arg(&ready_file).args(["--counts-file", COUNTS]).args(options);
        if !options.contains(&"--mean-tokens") {
            command.args(["--mean-tokens", "60"]);
        }
        let mut process = Process::start(&mut command);
        let ready: Value = process
            .until("the cluster is ready", || serde_json::from_slice(&std::fs::read(&ready_file).ok()?).ok());
        let url = |role: &str| ready[role][0].as_str().expect("a URL").to_owned();
        let (generator, reward) = (url("generators"), url("rewards"));
        Self { process, folder, generator, reward }
    }

    /// Ends it as an operator does, and gives its last counts.
    pub(crate) fn stop(self) -> RequestCounts {
        self.process.terminate();
        self.process.finish_soon().expect_code(0);
        let counts = std::fs::read(self.folder.path().join(COUNTS)).expect("it writes them at its end");
        serde_json::from_slice(&counts).expect("counts")
    }

    /// A cluster that takes a few seconds for a hundred prompts, so that there is a middle to interrupt.
    pub(crate) fn slow() -> Self {
        Self::start(&SLOW)
    }

    /// The arguments of `avr run` that lead here.
    pub(crate) fn arguments(&self) -> [&str; 8] {
        let Self { generator, reward, .. } = self;
        [
            "--generator",
            generator,
            "--generator-model",
            "simulated-chat", //
            "--reward",
            reward,
            "--reward-model",
            "simulated-reward",
        ]
    }

    /// Where the generator listens: host and port.
    pub(crate) fn address(&self) -> &str {
        self.generator.trim_start_matches("http://")
    }

    /// Requests by id.
    pub(crate) fn counts(&self) -> RequestCounts {
        serde_json::from_str(&self.ask("/simulate/counts")).expect("counts")
    }

    /// Requests by sender and id.
    pub(crate) fn senders(&self) -> Senders {
        serde_json::from_str(&self.ask("/simulate/senders")).expect("senders")
    }

    /// Totals of requests.
    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&self.ask("/simulate/stats")).expect("stats")
    }

    /// Answers handed out so far.
    pub(crate) fn answered(&self) -> u64 {
        self.stats()["answered"].as_u64().expect("a count")
    }

    fn ask(&self, path: &str) -> String {
        let (status, body) = get(self.address(), path).expect("the cluster answers");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The calls that were sent more than once, with how often.
    pub(crate) fn asked_again(&self) -> Vec<(String, u64)> {
        let counts = self.counts();
        assert_eq!(counts.not_by_id, 0, "every request has an id");
        let again = counts.by_id.into_iter().filter(|(_, count)| count.attempts > 1);
        again.map(|(id, count)| (id, count.attempts)).collect()
    }
}
