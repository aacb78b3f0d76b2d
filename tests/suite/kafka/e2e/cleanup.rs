//! Workers that delete what every stage is past, while one of them dies.

use avr::topic::{CRITIQUED, DRAFTED, IMPROVED, PROMPTS, RECORDS, SCORED, TopicName};

use super::{
    deaths::Deaths,
    pipeline::{PATIENT, Pipeline, Setup, assert_each_once},
    workers::{PAIR, pair},
};
use crate::support::Cluster;

const COUNT: usize = 60;
/// The topics of which nothing is kept that was consumed.
const WORKING: [TopicName; 5] = [PROMPTS.name, DRAFTED.name, CRITIQUED.name, IMPROVED.name, RECORDS.name];

/// Answers that the models have given when a worker is killed.
const MOMENTS: [u64; 3] = [150, 500, 900];

const CLEANING: Setup = Setup {
    recipe: "stage2",
    kafka: "cleanup_interval_s = 0.3\nstatic_membership = true\n",
    sections: "[recipes.stage2]\nanswer = \"draft\"\n",
    ..PATIENT
};

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn consumed_records_go_beside_workers_that_die_and_nothing_else_does() {
    let pipeline = Pipeline::with(COUNT, &CLEANING);
    let models = Cluster::slow();
    let mut deaths = Deaths::default();
    let mut workers = deaths.kill_in_turn(&pipeline, &models, pair(&pipeline, &models), &MOMENTS);
    assert!(pipeline.keys(PROMPTS.name).len() < COUNT, "some are deleted while others are at work");
    pipeline.wait();
    for topic in WORKING {
        workers[0].until("what was consumed is gone", || pipeline.keys(topic).is_empty().then_some(()));
    }
    PAIR.into_iter().zip(workers).for_each(|(name, worker)| deaths.stop(name, worker));

    pipeline.assert_as_undisturbed();
    assert_each_once(&pipeline.keys(SCORED.name), COUNT);
    deaths.check(&pipeline, &models);
}
