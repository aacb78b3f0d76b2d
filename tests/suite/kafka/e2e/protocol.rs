//! The newer group protocol: the brokers share partitions out.

use super::{
    deaths::Deaths,
    pipeline::{CLASSIC, Pipeline, Setup},
};
use crate::support::Cluster;

const COUNT: usize = 60;
const CONSUMER: Setup =
    Setup { consumer: "", kafka: "cleanup_interval_s = 0\ngroup_protocol = \"consumer\"\n", ..CLASSIC };

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn workers_that_come_and_go_and_die_double_nothing_where_the_brokers_share_out() {
    let pipeline = Pipeline::with(COUNT, &CONSUMER);
    let models = Cluster::slow();
    let names = ["killed", "stopped", "stays"];
    let [mut killed, mut stopped, mut stays] = names.map(|name| pipeline.named_worker(&models, name));
    pipeline.until_shared_out(&mut stays, &names);
    pipeline.submit(&["prompts.jsonl"]);

    killed.until("it is in the middle", || (models.answered() > 60).then_some(()));
    let mut deaths = Deaths::default();
    let added =
        deaths.kill(&pipeline, &models, ("killed", killed), || pipeline.named_worker(&models, "added"));
    assert!(deaths.snapshots[0].is_in_the_middle());
    stopped.until("it is in the middle", || (models.answered() > 200).then_some(()));
    deaths.stop("stopped", stopped);
    pipeline.wait();
    pipeline.until_shared_out(&mut stays, &["stays", "added"]);
    deaths.stop("stays", stays);
    deaths.stop("added", added);

    pipeline.assert_as_undisturbed();
    deaths.check(&pipeline, &models);
}
