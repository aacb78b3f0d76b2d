//! Static membership: a worker that comes back under its name finds its partitions, and the others hear nothing of it.

use avr::clock::now_ms;

use super::{
    assignments::Shares,
    deaths::Deaths,
    pipeline::{PATIENT, Pipeline, Setup},
};
use crate::support::{Cluster, Process};

const COUNT: usize = 60;
const STATIC: Setup = Setup { kafka: "cleanup_interval_s = 0\nstatic_membership = true\n", ..PATIENT };

/// The brokers decide how long a session is.
const STATIC_CONSUMER: Setup = Setup {
    consumer: "",
    kafka: "cleanup_interval_s = 0\nstatic_membership = true\ngroup_protocol = \"consumer\"\n",
    ..PATIENT
};

/// What a worker has said of partitions that came or went.
fn moves(worker: &mut Process) -> Vec<String> {
    let lines = worker.said().lines().filter(|line| line.contains("avr::engine::rebalance"));
    lines.map(str::to_owned).collect()
}

/// Two workers between which everything is shared out, with all prompts submitted.
struct Begun {
    stays: Process,
    returns: Process,
    /// What the one has that will return.
    held: Shares,
    /// What the other has said of partitions.
    moved: Vec<String>,
}

fn begin(pipeline: &Pipeline, models: &Cluster) -> Begun {
    let names = ["stays", "returns"];
    let [mut stays, returns] = names.map(|name| pipeline.named_worker(models, name));
    pipeline.until_shared_out(&mut stays, &names);
    let held = pipeline.said()["returns"].shares.clone();
    let moved = moves(&mut stays);
    assert!(!moved.is_empty(), "it says what comes and goes");
    pipeline.submit(&["prompts.jsonl"]);
    Begun { stays, returns, held, moved }
}

/// Waits until the worker that took the place of one that is dead says that it has what that had.
fn wait_until_back(pipeline: &Pipeline, worker: &mut Process, held: &Shares) {
    let since_ms = now_ms();
    worker.until("it has its partitions again", || {
        let said = &pipeline.said()["returns"];
        (said.at_ms > since_ms && said.shares == *held).then_some(())
    });
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_worker_that_comes_back_under_its_name_has_its_partitions_again_and_no_other_hears_of_it() {
    let pipeline = Pipeline::with(COUNT, &STATIC);
    let models = Cluster::slow();
    let Begun { mut stays, mut returns, held, moved } = begin(&pipeline, &models);

    let mut deaths = Deaths::default();
    let again = || pipeline.named_worker(&models, "returns");
    returns.until("it is in the middle", || (models.answered() > 60).then_some(()));
    let mut returns = deaths.kill(&pipeline, &models, ("returns", returns), again);
    wait_until_back(&pipeline, &mut returns, &held);
    returns.until("there is more to be done", || (models.answered() > 250).then_some(()));
    deaths.stop("returns", returns);
    let mut returns = again();
    wait_until_back(&pipeline, &mut returns, &held);
    pipeline.wait();
    assert_eq!(moves(&mut stays), moved, "no partition came to it, and none went");
    deaths.stop("stays", stays);
    deaths.stop("returns", returns);
    pipeline.assert_as_undisturbed();
    deaths.check(&pipeline, &models);
}

/// With the newer protocol a place is kept for who left it in good order. Who died has it until its session ends, and
/// who comes too soon is told so.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn with_the_newer_protocol_a_place_is_kept_for_who_was_stopped_and_not_for_who_died() {
    let pipeline = Pipeline::with(COUNT, &STATIC_CONSUMER);
    let models = Cluster::slow();
    let Begun { mut stays, mut returns, held, moved } = begin(&pipeline, &models);

    let mut deaths = Deaths::default();
    let again = || pipeline.named_worker(&models, "returns");
    returns.until("it is in the middle", || (models.answered() > 60).then_some(()));
    deaths.stop("returns", returns);
    let mut returns = again();
    wait_until_back(&pipeline, &mut returns, &held);
    assert_eq!(moves(&mut stays), moved, "no partition came to it, and none went");

    returns.until("there is more to be done", || (models.answered() > 250).then_some(()));
    let mut back = deaths.kill(&pipeline, &models, ("returns", returns), again);
    let since_ms = now_ms();
    let is_refused = stays.until("it has a place, or none", || {
        let said = &pipeline.said()["returns"];
        let has_some = said.shares.values().any(|held| !held.is_empty());
        let has_ended = (!back.is_running()).then_some(true);
        has_ended.or_else(|| (said.at_ms > since_ms && has_some).then_some(false))
    });
    // A start on a busy machine may outlast the session.
    if is_refused {
        let refused = back.finish().expect_code(1);
        refused.expect_error(&["A worker of this name has the place", "start this one again"]);
        pipeline.until_shared_out(&mut stays, &["stays"]);
        back = again();
    }
    pipeline.wait();
    pipeline.until_shared_out(&mut stays, &["stays", "returns"]);
    deaths.stop("stays", stays);
    deaths.stop("returns", back);
    pipeline.assert_as_undisturbed();
    deaths.check(&pipeline, &models);
}
