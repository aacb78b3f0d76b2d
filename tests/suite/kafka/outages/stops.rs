//! Whole workers that are told to stop while no broker answers.

use avr::topic::RECORDS;

use crate::{
    kafka::{
        cluster,
        e2e::pipeline::{CLASSIC, Pipeline, assert_each_once},
    },
    support::Cluster as Models,
};

/// So many that some are open however long freezing takes.
const COUNT: usize = 600;
const BROKERS: [&str; 3] = ["1", "2", "3"];

/// It gives up, says with its exit code what it could not do, and another does it.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_worker_whose_last_results_no_broker_takes_says_so() {
    let cluster = cluster::alone();
    let pipeline = Pipeline::on(cluster.clone(), COUNT, &CLASSIC);
    let models = Models::slow();
    let mut worker = pipeline.worker(&models, &["draft"], &["--set", "engine.drain_grace_s=1"]);
    pipeline.submit(&["prompts.jsonl"]);
    worker.until("it is in the middle", || (models.answered() > 20).then_some(()));
    BROKERS.iter().for_each(|broker| cluster.script(&["freeze", broker]));
    let before = models.answered();
    worker.until("it has results that nobody takes", || (models.answered() > before).then_some(()));
    worker.terminate();
    let ended = worker.finish_soon();
    BROKERS.iter().for_each(|broker| cluster.script(&["thaw", broker]));
    let told = ["steps are discarded and will be made again", "did not take the results of"];
    ended.expect_code(5).expect_error(&told);

    let next = pipeline.worker(&models, &[], &[]);
    pipeline.wait();
    next.terminate();
    next.finish_soon().expect_code(0);
    assert_each_once(&pipeline.keys(RECORDS.name), COUNT);
}
