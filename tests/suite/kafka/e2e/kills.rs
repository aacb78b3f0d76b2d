//! kill -9, again and again, while threads go round in the loop.

use avr::topic::{PROMPTS, RECORDS};

use super::{
    deaths::Deaths,
    pipeline::{CLASSIC, Pipeline, Setup, assert_each_once},
    workers::{PAIR, pair},
};
use crate::support::{Cluster, calls::Snapshot};

const COUNT: usize = 60;
const STAGE2: Setup =
    Setup { recipe: "stage2", sections: "[recipes.stage2]\nanswer = \"draft\"\n", ..CLASSIC };

/// Answers that the models have given when one of the two workers is killed. Among them some at which threads of every
/// round are on their way.
const MOMENTS: [u64; 5] = [60, 250, 500, 800, 1100];

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn workers_killed_in_the_loop_end_as_undisturbed_ones_and_ask_again_only_what_was_not_committed() {
    let pipeline = Pipeline::with(COUNT, &STAGE2);
    let models = Cluster::slow();
    let mut deaths = Deaths::default();
    let workers = deaths.kill_in_turn(&pipeline, &models, pair(&pipeline, &models), &MOMENTS);
    pipeline.wait();
    PAIR.into_iter().zip(workers).for_each(|(name, worker)| deaths.stop(name, worker));

    pipeline.assert_as_undisturbed();
    assert_each_once(&pipeline.keys(PROMPTS.name), COUNT);
    assert_each_once(&pipeline.keys(RECORDS.name), COUNT);
    let kills = &deaths.snapshots;
    assert!(kills.iter().any(Snapshot::is_in_the_middle), "some kill came in the middle of the work");
    let in_a_later_round = |kill: &Snapshot| kill.open.iter().any(|id| id.split('-').nth(2) != Some("0"));
    assert!(kills.iter().any(in_a_later_round), "some came in the middle of a later round");
    let calls = deaths.check(&pipeline, &models);
    assert!(calls.repeated > 0, "a kill costs the calls in flight: {calls:?}");
}
