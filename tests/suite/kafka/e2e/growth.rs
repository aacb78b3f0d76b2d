//! Partitions are added under workers that are at work.

use std::collections::BTreeMap;

use avr::{
    log::{Log as _, Partition, Record},
    topic::{CRITIQUED, DRAFTED, IMPROVED, PROMPTS, RECORDS, SCORED, TopicName},
};

use super::{
    pipeline::{PATIENT, Pipeline, Setup, assert_each_once},
    workers::{PAIR, pair, stop},
};
use crate::support::{Cluster, prompts};

const BEFORE: usize = 40;
const AFTER: usize = 100;
/// The topics between the stages.
const TOPICS: [TopicName; 5] = [PROMPTS.name, DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name];

const FEW: Setup =
    Setup { sections: "[kafka.client]\n\"topic.metadata.refresh.interval.ms\" = 1000\n", ..PATIENT };
const MORE: Setup = Setup { partitions: 5, ..FEW };

/// The first record's offset in each partition that has one.
fn firsts(pipeline: &Pipeline, topic: TopicName) -> BTreeMap<i32, i64> {
    let mut firsts = BTreeMap::new();
    let mut visit = |record: Record| {
        firsts.entry(record.partition.index).or_insert(record.offset);
    };
    pipeline.runtime.block_on(pipeline.log.scan(topic, &mut visit)).expect("the cluster answers");
    firsts
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn partitions_that_are_added_at_work_are_begun_at_0_and_nothing_is_lost_or_doubled() {
    let pipeline = Pipeline::with(BEFORE, &FEW);
    let models = Cluster::slow();
    let mut workers = pair(&pipeline, &models);
    workers[0].until("they are in the middle", || (models.answered() > 60).then_some(()));
    pipeline.change(&MORE);
    pipeline.bench.write("prompts.jsonl", prompts(0..AFTER));
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), ((AFTER - BEFORE) as u64, BEFORE as u64));
    pipeline.until_shared_out(&mut workers[0], &PAIR);
    pipeline.wait();
    workers.into_iter().for_each(|worker| drop(stop(worker)));

    for topic in TOPICS {
        let firsts = firsts(&pipeline, topic);
        let new: Vec<_> = (FEW.partitions as i32..MORE.partitions as i32)
            .map(|index| (Partition { topic, index }, firsts.get(&index)))
            .collect();
        assert!(new.iter().all(|(_, first)| *first == Some(&0)), "each is used: {new:?}");
    }
    assert_each_once(&pipeline.keys(PROMPTS.name), AFTER);
    assert_each_once(&pipeline.keys(RECORDS.name), AFTER);
    pipeline.assert_as_undisturbed();
    assert_eq!(models.asked_again(), []);
}
