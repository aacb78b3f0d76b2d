//! Static membership: a worker that comes back under its name finds its partitions, and the others hear nothing of it.

use avr::record::WorkerStatus;

use crate::{
    deaths::Deaths,
    pipeline::{PATIENT, Pipeline, Setup},
    support::{Cluster, Process},
};

const COUNT: usize = 60;
const STATIC: Setup = Setup { kafka: "cleanup_interval_s = 0\nstatic_membership = true\n", ..PATIENT };

/// What a worker has said of partitions that came or went.
fn moves(worker: &mut Process) -> Vec<String> {
    let lines = worker.said().lines().filter(|line| line.contains("avr::engine::assignment"));
    lines.map(str::to_owned).collect()
}

/// The partitions of each stage that a worker has, as it said last.
fn partitions(status: &WorkerStatus) -> Vec<(String, Vec<(String, i32)>)> {
    let stages = status.stages.iter().map(|stage| {
        let mut held: Vec<_> =
            stage.partitions.iter().map(|held| (held.topic.clone(), held.partition)).collect();
        held.sort_unstable();
        (stage.name.clone(), held)
    });
    stages.collect()
}

#[test]
fn a_worker_that_comes_back_under_its_name_has_its_partitions_again_and_no_other_hears_of_it() {
    let Some(pipeline) = Pipeline::with(COUNT, &STATIC) else { return };
    let models = Cluster::slow();
    let names = ["stays", "returns"];
    let [mut stays, mut returns] = names.map(|name| pipeline.named_worker(&models, name));
    pipeline.until_shared_out(&mut stays, &names);
    let held = partitions(&pipeline.said()["returns"]);
    let moved = moves(&mut stays);
    assert!(!moved.is_empty(), "it says what comes and goes");
    pipeline.submit(&["prompts.jsonl"]);

    let mut deaths = Deaths::default();
    returns.until("it is in the middle", || (models.answered() > 60).then_some(()));
    let again = || pipeline.named_worker(&models, "returns");
    let mut returns = deaths.kill(&pipeline, &models, returns, again);
    let is_back = || (partitions(&pipeline.said()["returns"]) == held).then_some(());
    returns.until("it has its partitions again", is_back);
    returns.until("there is more to be done", || (models.answered() > 250).then_some(()));
    deaths.stop(returns);
    let mut returns = again();
    returns.until("it has its partitions again", is_back);
    pipeline.wait();
    assert_eq!(moves(&mut stays), moved, "no partition came to it, and none went");
    [stays, returns].into_iter().for_each(|worker| drop(deaths.stop(worker)));
    pipeline.assert_as_undisturbed();
    deaths.check(&pipeline, &models);
}
