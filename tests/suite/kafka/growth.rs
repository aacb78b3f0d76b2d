//! Partitions are added to a topic while its readers are at work.

use std::collections::BTreeMap;

use avr::log::{
    Log as _, Partition,
    kafka::{GroupProtocol, KafkaLog, MissingProgress},
};

use super::cluster::{self, Pipeline};
use crate::log_suite::{
    GROUP, TOPICS, WORK,
    worker::{Running, copies_are_exact, original},
    write,
};

const BEFORE: i32 = 4;
const AFTER: i32 = 7;

async fn worker(
    pipeline: &Pipeline,
    protocol: GroupProtocol,
    missing: MissingProgress,
    name: &str,
) -> Running {
    let options = pipeline.options(protocol);
    let process = pipeline.process(avr::log::kafka::KafkaOptions { missing_progress: missing, ..options });
    Running::start(process.await, name)
}

/// How many records there are in each partition.
async fn counts(log: &KafkaLog) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    let mut count = |record: avr::log::Record| *counts.entry(record.partition.index).or_default() += 1;
    log.scan(WORK, &mut count).await.expect("a topic can be scanned");
    counts
}

/// Copies what is written before, while and after the topic grows. Writers hear of new partitions sooner than readers,
/// so a reader that did not begin at offset 0 would miss some.
async fn new_partitions_are_taken_up(protocol: GroupProtocol) {
    let cluster = cluster::shared();
    let pipeline = cluster.fresh(TOPICS).await;
    let log = pipeline.process(pipeline.options(protocol)).await;
    let values: Vec<_> = (0..240).map(original).collect();
    let first = worker(&pipeline, protocol, MissingProgress::Begin, "first").await;
    write(&log, values[..60].to_vec()).await;
    copies_are_exact(&log, 60).await;
    first.stop().await;

    // From here on as workers are without configuration: no group begins anew where progress may be lost.
    let mut workers = Vec::new();
    for name in ["second", "third"] {
        workers.push(worker(&pipeline, protocol, MissingProgress::Refuse, name).await);
    }
    write(&log, values[60..120].to_vec()).await;
    pipeline.grow(WORK, AFTER).await;
    // A process that connects now knows of them.
    let log = pipeline.process(pipeline.options(protocol)).await;
    write(&log, values[120..180].to_vec()).await;
    copies_are_exact(&log, 180).await;
    let counted = counts(&log).await;
    assert!((BEFORE..AFTER).all(|index| counted.contains_key(&index)), "{counted:?}");
    write(&log, values[180..].to_vec()).await;
    copies_are_exact(&log, 240).await;
    for worker in workers {
        worker.stop().await;
    }

    let ends = log.ends(WORK).await.expect("ends can be read");
    let partitions: Vec<Partition> = ends.iter().map(|(partition, _)| *partition).collect();
    let progress = log.progress(GROUP, partitions).await.expect("progress can be read");
    for ((partition, end), progress) in ends.into_iter().zip(progress) {
        let done = progress.map(|progress| progress.offset);
        assert!(done.is_some_and(|done| done > 0 && done <= end), "{partition} of {end}: {done:?}");
    }
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn new_partitions_are_taken_up_classic() {
    new_partitions_are_taken_up(GroupProtocol::Classic).await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn new_partitions_are_taken_up_consumer() {
    new_partitions_are_taken_up(GroupProtocol::Consumer).await;
}
