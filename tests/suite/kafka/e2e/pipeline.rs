//! One pipeline of a test: a prefix in the cluster, a folder, and `avr` called on them.

use std::collections::BTreeMap;

use avr::{
    config,
    log::{Log as _, Record, kafka::KafkaLog},
    topic::TopicName,
};
use serde_json::Value;

use crate::{
    kafka::cluster::{self, Cluster},
    support::{Bench, Cluster as Models, Finished, Process},
};

/// What is special about a pipeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) recipe: &'static str,
    pub(crate) partitions: u32,
    /// The keys of the section `kafka.consumer`.
    pub(crate) consumer: &'static str,
    /// Further keys of the section `kafka`.
    pub(crate) kafka: &'static str,
    /// Whole sections of their own.
    pub(crate) sections: &'static str,
}

/// The classic protocol, three partitions, and no record deleted: what the topics hold can be read afterwards.
pub(crate) const CLASSIC: Setup = Setup {
    recipe: "stage1",
    partitions: 3,
    consumer: "\"session.timeout.ms\" = 6000\n\"heartbeat.interval.ms\" = 500\n",
    kafka: "cleanup_interval_s = 0\n",
    sections: "",
};

/// The same with a session that no start and no busy machine outlasts. Who dies is missed late.
pub(crate) const PATIENT: Setup =
    Setup { consumer: "\"session.timeout.ms\" = 60000\n\"heartbeat.interval.ms\" = 500\n", ..CLASSIC };

impl Setup {
    /// The configuration of whoever works in the pipeline.
    fn over_kafka(&self, address: &str, prefix: &str) -> String {
        let Self { recipe, partitions, consumer, kafka, sections } = self;
        let servers: Vec<&str> = address.split(',').collect();
        format!(
            "recipe = {recipe:?}\n[kafka]\nbootstrap_servers = {servers:?}\nprefix = {prefix:?}\n\
             partitions = {partitions}\nreplicas = 1\nheartbeat_interval_s = 0.5\n{kafka}[kafka.consumer]\n{consumer}\
             [export]\nshard_interval_s = 0.2\n\
             [observe]\nlog_filter = \"warn,avr=info,avr::engine::rebalance=debug,avr::engine::discarded=debug\"\n{sections}"
        )
    }
}

/// A pipeline of its own in the cluster, and a folder with an `avr.toml` that leads there.
pub(crate) struct Pipeline {
    pub(crate) bench: Bench,
    /// What the names of its topics and groups begin with.
    pub(crate) prefix: String,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) log: KafkaLog,
    pub(crate) cluster: Cluster,
    pub(crate) setup: Setup,
}

impl Pipeline {
    /// A pipeline whose topics are set up, with so many prompts in `prompts.jsonl`.
    pub(crate) fn new(prompts: usize) -> Self {
        Self::with(prompts, &CLASSIC)
    }

    /// A pipeline of this kind.
    pub(crate) fn with(prompts: usize, setup: &Setup) -> Self {
        Self::on(cluster::shared(), prompts, setup)
    }

    /// A pipeline on a cluster that the test has already.
    pub(crate) fn on(cluster: Cluster, prompts: usize, setup: &Setup) -> Self {
        let bench = Bench::with_prompts(prompts);
        let prefix = format!("e2e-{:08x}.", fastrand::u32(..));
        bench.write("avr.toml", setup.over_kafka(&cluster.bootstrap, &prefix));
        apply_topics(&bench);
        let settings = config::load(Some(&bench.path("avr.toml")), vec![]).expect("it is valid").0;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = settings.kafka.expect("it names a cluster").options;
        let log = runtime.block_on(KafkaLog::connect(options)).expect("the cluster answers");
        Self { bench, prefix, runtime, log, cluster, setup: *setup }
    }

    /// Makes it another kind of pipeline from here on: its configuration, and its topics.
    pub(crate) fn change(&self, setup: &Setup) {
        self.bench.write("avr.toml", setup.over_kafka(&self.cluster.bootstrap, &self.prefix));
        apply_topics(&self.bench);
    }

    /// Starts a worker of every stage under a name of its own.
    pub(crate) fn named_worker(&self, models: &Models, name: &str) -> Process {
        self.worker(models, &[], &["--worker", name])
    }

    /// Starts a worker with these stages, that asks the models of `models`.
    pub(crate) fn worker(&self, models: &Models, stages: &[&str], more: &[&str]) -> Process {
        let mut command = self.bench.command(models, more);
        command.args(stages.iter().flat_map(|stage| ["--stage", stage]));
        let mut process = Process::start(&mut command);
        process.wait_for_line("working until it is told to stop");
        process
    }

    pub(crate) fn start_submit(&self, files: &[&str]) -> Process {
        let mut command = self.bench.avr(&["submit", "--json", "--progress", "none"]);
        Process::start(command.args(files))
    }

    /// Submits files, and tells how many prompts were new and how many known.
    #[track_caller]
    pub(crate) fn submit(&self, files: &[&str]) -> (u64, u64) {
        new_and_known(&self.start_submit(files).finish().expect_code(0))
    }

    /// Waits until nothing is left to do.
    #[track_caller]
    pub(crate) fn wait(&self) -> Value {
        let mut command = self.bench.avr(&["status", "--json", "--wait", "--interval", "1"]);
        Process::start(&mut command).finish().expect_code(0).summary()
    }

    /// How far the pipeline is.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        let mut command = self.bench.avr(&["status", "--json", "--interval", "1"]);
        Process::start(&mut command).finish().expect_code(0).summary()
    }

    /// The ends of a topic's partitions, together.
    pub(crate) fn end(&self, topic: TopicName) -> i64 {
        let ends = self.runtime.block_on(self.log.ends(topic)).expect("the cluster answers");
        ends.iter().map(|(_, end)| end).sum()
    }

    /// How often each key is in a topic, as readers of committed records see it.
    pub(crate) fn keys(&self, topic: TopicName) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        let mut visit = |record: Record| {
            let key = String::from_utf8(record.key.expect("a key").to_vec()).expect("an id");
            *counts.entry(key).or_default() += 1;
        };
        self.runtime.block_on(self.log.scan(topic, &mut visit)).expect("the cluster answers");
        counts
    }
}

#[track_caller]
fn apply_topics(bench: &Bench) {
    Process::start(&mut bench.avr(&["topics", "apply"])).finish().expect_code(0);
}

/// Of a submit that ended: new prompts, and known ones.
#[track_caller]
pub(crate) fn new_and_known(submit: &Finished) -> (u64, u64) {
    let summary = submit.summary();
    let count = |name: &str| summary["input"][name].as_u64().expect("a count");
    (count("new"), count("known"))
}

/// Every key once, and so many of them.
#[track_caller]
pub(crate) fn assert_each_once(keys: &BTreeMap<String, u32>, count: usize) {
    let more: Vec<_> = keys.iter().filter(|(_, times)| **times != 1).collect();
    assert!(more.is_empty(), "{} more than once, {:?} first", more.len(), more[0]);
    assert_eq!(keys.len(), count);
}
