//! Chaos: real workers on a real Kafka cluster while processes are killed, stopped and added and brokers die.
//! Afterwards every prompt has exactly the records and the outcome of an undisturbed run, and no call of a committed
//! step was made again. The models are simulated.
//!
//! The short form runs with the other tests; `scripts/chaos` runs the long one and tells how to repeat it.

mod observer;
mod plan;
mod workers;

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use observer::Observer;
use plan::{Disturbance, Form, Protocol};
use workers::Workers;

use super::cluster;
use crate::support::{
    Bench, Cluster, Process,
    calls::{self, Snapshot},
    ended::Dropped,
    lines::{difference, lines_of_files, lines_of_shards},
    prompts,
};

/// Without any progress for so long, something hangs.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Prompts that are submitted beyond the outcomes that a moment waits for.
const AHEAD: usize = 300;
/// Between two looks at processes that have no way to tell.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The pipeline's configuration: small shares and short time-outs, so that much goes wrong in little time.
fn configuration(bootstrap: &str, prefix: &str, protocol: Protocol) -> String {
    let servers: Vec<&str> = bootstrap.split(',').collect();
    let members = match protocol {
        Protocol::Classic => {
            "[kafka.consumer]\n\"session.timeout.ms\" = 3000\n\"heartbeat.interval.ms\" = 500"
        }
        // The brokers decide: ten seconds in clusters of scripts/kafka.
        Protocol::Consumer => "group_protocol = \"consumer\"",
    };
    format!(
        r#"
[kafka]
bootstrap_servers = {servers:?}
prefix = "{prefix}"
partitions = 8
cleanup_interval_s = 3
{members}
[stages]
draft = 48
critique = 48
improve = 48
score = 48
[export]
shard_interval_s = 1.0
[engine]
drain_grace_s = 10
[observe]
log_filter = "warn,avr=info,avr::engine::discarded=debug"
"#
    )
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn whatever_dies_the_result_is_that_of_an_undisturbed_run() {
    let brokers = cluster::alone();
    let form = Form::from_environment();
    eprintln!("chaos: {form:?}; the models are simulated");
    let undisturbed = Bench::new();
    undisturbed.write("prompts.jsonl", prompts(0..form.prompts));
    undisturbed.run(&Cluster::start(&[]), &["prompts.jsonl"]).expect_code(0);

    let bench = Bench::new();
    let prefix = format!("chaos-{}-{}.", form.seed, std::process::id());
    bench.write("avr.toml", configuration(&brokers.bootstrap, &prefix, form.protocol));
    let cluster = Cluster::start(&["--latency", "batching", "--step-ms", "1", "--step-ms-per-sequence", "0"]);
    Process::start(&mut bench.avr(&["topics", "apply"])).finish().expect_code(0);
    let observer = Observer::start(&brokers.bootstrap, &prefix);
    let mut workers = Workers::start(&bench, &cluster);

    let started = Instant::now();
    let mut feed = Feed { bench: &bench, given: 0 };
    let snapshots = disturb(&form, &mut workers, &mut feed, &observer, &brokers, &cluster);
    feed.up_to(form.prompts);
    wait_for("all have ended", form.prompts, || observer.ended(), &mut workers);
    eprintln!("chaos: all outcomes are committed after {:.0?}", started.elapsed());
    let exported = || lines_of_shards(&bench.path("out")).get("outcomes").map_or(0, Vec::len);
    wait_for("all are in the files", form.prompts, exported, &mut workers);
    let past = workers.end();

    let ended = observer.seen().ended.clone();
    let twice: Vec<_> = ended.iter().filter(|(_, times)| **times != 1).collect();
    assert_eq!((ended.len(), twice.as_slice()), (form.prompts, &[][..]), "each thread ends once");
    let (found, expected) = (lines_of_shards(&bench.path("out")), lines_of_files(&undisturbed.path("out")));
    assert_eq!(difference(&found, &expected), None);
    assert!(observer::deleted(&brokers.bootstrap, &prefix) > 0, "consumed records were deleted meanwhile");
    let thread_of = |step: &Dropped| observer.seen().thread_at(&step.topic, step.partition, step.offset);
    let lives: Vec<_> = past.into_iter().map(|past| past.life(thread_of)).collect();
    assert!(
        snapshots.iter().any(Snapshot::is_in_the_middle),
        "some disturbance came in the middle of the work"
    );
    let calls = calls::check(&snapshots, &lives, &cluster.counts(), &cluster.senders());
    let kinds: BTreeMap<_, _> = found.iter().map(|(kind, lines)| (kind, lines.len())).collect();
    eprintln!(
        "chaos: {} disturbances, {calls:?}, lines {kinds:?}, {:.0?}",
        snapshots.len(),
        started.elapsed()
    );
}

/// Prompts on their way into the pipeline. They are submitted as the plan goes on, so that there is work under way at
/// each of its moments, however fast the machine is.
struct Feed<'a> {
    bench: &'a Bench,
    given: usize,
}

impl Feed<'_> {
    /// Submits a file that has grown to so many prompts; those that were submitted before are known.
    fn up_to(&mut self, count: usize) {
        if count > self.given {
            self.bench.write("prompts.jsonl", prompts(0..count));
            let mut submit = self.bench.avr(&["submit", "--progress", "none", "prompts.jsonl"]);
            Process::start(&mut submit).finish_soon().expect_code(0);
            self.given = count;
        }
    }
}

/// Lets everything happen that is planned, each at its moment.
fn disturb(
    form: &Form,
    workers: &mut Workers<'_>,
    feed: &mut Feed<'_>,
    observer: &Observer,
    brokers: &cluster::Cluster,
    cluster: &Cluster,
) -> Vec<Snapshot> {
    let mut snapshots = Vec::new();
    for moment in plan::plan(form) {
        feed.up_to(form.prompts.min(moment.outcomes + AHEAD));
        wait_for("its moment has come", moment.outcomes, || observer.ended(), workers);
        eprintln!("chaos: {} outcomes: {:?}", observer.ended(), moment.what);
        match moment.what {
            Disturbance::Kill(which) => workers.kill(which, || observer.seen().reached().clone()),
            Disturbance::Terminate(which) => workers.terminate(which),
            Disturbance::Add(nth) => workers.add(nth),
            Disturbance::Remove => workers.remove(),
            Disturbance::BrokerDies(broker) => brokers.script(&["kill", &broker.to_string()]),
            Disturbance::BrokerReturns(broker) => brokers.script(&["up", &broker.to_string()]),
        }
        let reached = observer.seen().reached().clone();
        snapshots.push(Snapshot::of(&reached, cluster.counts()));
    }
    snapshots
}

/// Waits until so many are there. Nothing tells this process of another's progress, so it looks again and again;
/// it gives up only where nothing moves at all.
fn wait_for(what: &str, goal: usize, count: impl Fn() -> usize, workers: &mut Workers<'_>) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let now = count();
        if now >= goal {
            return;
        }
        if now > last {
            (last, since) = (now, Instant::now());
        }
        workers.check();
        if since.elapsed() > STANDSTILL {
            let seen = workers.describe();
            panic!("waited for {goal} until {what}, and it stands still at {now}:\n{seen}");
        }
        thread::sleep(LOOK_AGAIN);
    }
}
