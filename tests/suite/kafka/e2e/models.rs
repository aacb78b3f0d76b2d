//! Models that go away for longer than the cluster waits for a member, and come back.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
};

use avr::topic::{DEAD_LETTERS, RECORDS, WORKERS};

use super::{
    pipeline::{CLASSIC, Pipeline, Setup, assert_each_once},
    raw::{Group, Raw},
    workers::{COUNT, stop},
};
use crate::support::{Cluster, Process, SLOW, get};

/// Every stage's group.
const GROUPS: [&str; 6] = ["draft", "critique", "improve", "score", "select", "export"];
/// A member that does not poll, or sends no heartbeat, for so long is taken for dead. Brokers on a machine that has much
/// else to do are slow to answer heartbeats, so it is not as short as it may be.
const LONGEST_SILENCE_MS: i64 = 15_000;

/// A port that is free, as is the one behind it, and that stays so while the models are away: it is below those that
/// systems hand out by themselves.
fn free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut drawn = std::iter::repeat_with(|| fastrand::u16(10_000..30_000));
    drawn.find(|port| is_free(*port) && is_free(port + 1)).expect("some are free")
}

/// Where a worker serves its metrics.
fn address_of(worker: &mut Process) -> String {
    let line = worker.said().lines().find(|line| line.contains("metrics and health are served"));
    line.and_then(|line| line.rsplit_once("address=")).expect("it says where").1.trim().to_owned()
}

/// The sum of a family's samples on a worker's page of metrics.
fn metric(address: &str, family: &str) -> f64 {
    let (_, page) = get(address, "/metrics").expect("it answers");
    let samples = page.lines().filter_map(|line| line.strip_prefix(family)?.rsplit_once(' '));
    samples.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}

/// When each worker was heard of last, by its own clock.
fn heard_at(raw: &Raw) -> Vec<i64> {
    let mut latest = BTreeMap::new();
    for status in raw.read(WORKERS.name) {
        latest.insert(status.key(), status.json()["at_ms"].as_i64().expect("milliseconds"));
    }
    latest.into_values().collect()
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn models_that_are_away_for_long_cost_no_thread_and_no_membership() {
    let silences = ["session.timeout.ms", "max.poll.interval.ms"]
        .map(|key| format!("{key:?} = {LONGEST_SILENCE_MS}\n"))
        .concat();
    let consumer = format!("{silences}\"heartbeat.interval.ms\" = 500\n").leak();
    let setup = Setup { consumer, sections: "[engine]\nrevoke_grace_s = 2\n", ..CLASSIC };
    let pipeline = Pipeline::with(COUNT, &setup);
    let raw = Raw::of(&pipeline);
    let port = free_ports().to_string();
    let options = [&SLOW[..], &["--port", &port]].concat();
    let models = Cluster::start(&options);
    let mut workers = [(); 2].map(|()| pipeline.worker(&models, &[], &[]));
    let groups = || raw.groups(&GROUPS);
    let is_whole = |group: &Group| group.is_stable && group.members.len() == 2;
    let are_whole = || raw.groups_once(&GROUPS)?.iter().all(is_whole).then_some(());
    workers[0].until("all are members", are_whole);
    pipeline.submit(&["prompts.jsonl"]);
    workers[0].until("they are in the middle", || (models.answered() > 100).then_some(()));
    let before = groups();
    let counts = models.stop();

    let addresses = workers.each_mut().map(address_of);
    let sum = |family: &str| addresses.iter().map(|address| metric(address, family)).sum::<f64>();
    let seen = || (sum("avr_model_failing_calls") > 0.0 && sum("avr_model_endpoint_up") < 4.0).then_some(());
    workers[0].until("calls fail and servers are left alone", seen);
    let since = heard_at(&raw).into_iter().max().expect("two workers");
    let long_enough =
        || heard_at(&raw).iter().all(|at| at - since > LONGEST_SILENCE_MS * 4 / 3).then_some(());
    workers[0].until("the cluster would have given them up", long_enough);
    assert_eq!(groups(), before, "each is the member that it was, and no group moves");
    assert_eq!(pipeline.end(DEAD_LETTERS), 0);
    assert!(sum("avr_model_failing_calls") > 0.0, "they still wait, and say so");

    let models = Cluster::start(&options);
    pipeline.wait();
    assert_eq!(sum("avr_model_failing_calls"), 0.0);
    assert_eq!(groups(), before);
    let _summaries = workers.map(stop);
    assert_eq!(pipeline.end(DEAD_LETTERS), 0);
    assert_each_once(&pipeline.keys(RECORDS.name), COUNT);
    pipeline.assert_as_undisturbed();
    let asked = models.counts().by_id;
    let again = counts.by_id.iter().find(|(id, count)| count.answered > 0 && asked.contains_key(*id));
    assert_eq!(again, None, "it was answered before the models went");
    assert_eq!(models.asked_again(), []);
}
