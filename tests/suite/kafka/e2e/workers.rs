//! Workers: some stages each, stopped, frozen and woken.

use avr::topic::{PROMPTS, RECORDS};
use serde_json::Value;

use super::pipeline::{Pipeline, assert_each_once};
use crate::support::{Cluster, Process};

pub(crate) const COUNT: usize = 60;

/// Stops a worker as an orchestrator does, and gives its summary.
#[track_caller]
pub(crate) fn stop(worker: Process) -> Value {
    worker.terminate();
    worker.finish_soon().expect_code(0).summary()
}

/// The workers of [`pair`].
pub(crate) const PAIR: [&str; 2] = ["one", "two"];

/// Two workers of every stage, with the work shared out between them and all prompts submitted.
pub(crate) fn pair(pipeline: &Pipeline, models: &Cluster) -> [Process; 2] {
    let mut workers = PAIR.map(|name| pipeline.named_worker(models, name));
    pipeline.until_shared_out(&mut workers[0], &PAIR);
    pipeline.submit(&["prompts.jsonl"]);
    workers
}

fn steps(summary: &Value, stage: &str) -> u64 {
    let stages = summary["stages"].as_array().expect("stages");
    let found = stages.iter().find(|found| found["name"] == stage);
    found.map_or(0, |found| found["steps"].as_u64().expect("a count"))
}

/// Three processes with two stages each, started before there is anything to do.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn three_workers_with_two_stages_each_make_what_one_process_makes() {
    let pipeline = Pipeline::new(COUNT);
    let models = Cluster::start(&[]);
    let groups = [["draft", "critique"], ["improve", "score"], ["select", "export"]];
    let workers = groups.map(|stages| pipeline.worker(&models, &stages, &[]));
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), (COUNT as u64, 0));
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), (0, COUNT as u64));
    let status = pipeline.wait();
    let stages = status["stages"].as_array().expect("stages");
    assert!(stages.iter().all(|stage| stage["left"] == 0 && stage["workers"] == 1), "{status}");
    let states: Vec<_> = status["workers"].as_array().expect("workers").iter().map(|w| &w["state"]).collect();
    assert_eq!(states, ["alive"; 3]);

    let summaries = workers.map(stop);
    for (stages, summary) in groups.iter().zip(&summaries) {
        assert!(stages.iter().all(|stage| steps(summary, stage) == COUNT as u64), "{summary}");
        assert_eq!(summary["simulated"], true, "its models are an `avr simulate`");
    }
    assert_eq!(summaries[2]["models"], serde_json::json!([]), "select and export ask nobody");
    let silent = pipeline.status();
    let states: Vec<_> = silent["workers"].as_array().expect("workers").iter().map(|w| &w["state"]).collect();
    assert_eq!(states, ["stopping"; 3], "each said so");
    pipeline.assert_as_undisturbed();
    assert_eq!(models.asked_again(), []);
}

/// A worker that is told to stop in the middle finishes what runs, and another goes on from there: no call is made
/// twice.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_worker_that_stops_hands_over_and_nothing_is_asked_again() {
    let pipeline = Pipeline::new(COUNT);
    let models = Cluster::slow();
    let mut first = pipeline.worker(&models, &[], &[]);
    pipeline.submit(&["prompts.jsonl"]);
    first.until("it is in the middle", || (models.answered() > 100).then_some(()));
    let summary = stop(first);
    assert!(steps(&summary, "draft") > 0 && steps(&summary, "select") < COUNT as u64, "{summary}");
    let second = pipeline.worker(&models, &[], &[]);
    pipeline.wait();
    stop(second);
    pipeline.assert_as_undisturbed();
    assert_eq!(models.asked_again(), []);
}

/// Frozen past its session and its transaction, then woken: what it still has in hand is another's by then.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_worker_that_was_frozen_and_wakes_writes_nothing_twice() {
    let pipeline = Pipeline::new(COUNT);
    let models = Cluster::slow();
    let all = ["draft", "critique", "improve", "score", "select"];
    let exporter = pipeline.worker(&models, &["export"], &[]);
    let mut frozen = pipeline.worker(&models, &all, &[]);
    pipeline.submit(&["prompts.jsonl"]);
    frozen.until("it is in the middle", || (models.answered() > 100).then_some(()));
    frozen.signal("STOP");
    let other = pipeline.worker(&models, &all, &[]);
    pipeline.wait();
    frozen.signal("CONT");
    let alive = |status: &Value| {
        let workers = status["workers"].as_array().expect("workers");
        workers.iter().filter(|worker| worker["state"] == "alive").count() == 3
    };
    frozen.until("it is heard of again", || alive(&pipeline.status()).then_some(()));
    for worker in [frozen, other, exporter] {
        stop(worker);
    }
    assert_each_once(&pipeline.keys(RECORDS.name), COUNT);
    assert_each_once(&pipeline.keys(PROMPTS.name), COUNT);
    pipeline.assert_as_undisturbed();
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn what_a_worker_cannot_be_is_said() {
    let pipeline = Pipeline::new(1);
    let run = |arguments: &[&str]| {
        let mut command = pipeline.bench.avr(&["run", "--simulate", "--set", "observe.listen=127.0.0.1:0"]);
        Process::start(command.args(arguments)).finish().expect_code(2)
    };
    run(&["--stage", "drafts"]).expect_error(&["no stage \"drafts\"", "draft, critique, improve"]);
    run(&["prompts.jsonl"]).expect_error(&["avr submit --kafka"]);
    run(&["--recipe", "evaluation", "--stage", "score"]).expect_error(&["pass none of these stages: score"]);
}

/// Records of simulated models and of real ones are not mixed, whoever comes first.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn simulated_and_real_models_do_not_share_a_pipeline() {
    let pipeline = Pipeline::new(1);
    let models = Cluster::start(&[]);
    stop(pipeline.worker(&models, &["draft"], &[]));
    let nobody = "http://127.0.0.1:1";
    let real = ["--generator", nobody, "--generator-model", "m", "--reward", nobody, "--reward-model", "r"];
    let run = |arguments: &[&str]| {
        let mut command = pipeline.bench.avr(&["run", "--set", "observe.listen=127.0.0.1:0"]);
        Process::start(command.args(arguments))
    };
    let refused = run(&real).finish_soon().expect_code(2);
    refused.expect_error(&["begun with simulated models, and this worker asks real ones", "kafka.prefix"]);
    stop(pipeline.worker(&models, &["score"], &[]));
    // Who asks no model is of neither sort.
    let mut exporter = run(&["--stage", "export", "--json"]);
    exporter.wait_for_line("working until it is told to stop");
    stop(exporter);
}
