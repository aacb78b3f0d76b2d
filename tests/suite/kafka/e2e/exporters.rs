//! An exporter that freezes with a shard in its hands, loses its partitions, and wakes when another has done its work.

use std::path::PathBuf;

use super::{
    pipeline::{CLASSIC, Pipeline, Setup},
    raw::Raw,
    workers::stop,
};
use crate::support::{Cluster, Process, prompts};

/// How often it freezes, and how many prompts are new each time.
const ROUNDS: usize = 2;
const COUNT: usize = 60;
/// Who is silent is missed soon.
const HASTY: Setup =
    Setup { consumer: "\"session.timeout.ms\" = 2000\n\"heartbeat.interval.ms\" = 500\n", ..CLASSIC };

/// What is in the staging folder but for the folders of finished shards and the pipeline's name: shards whose files are
/// not in their places, and drafts of other files.
fn staged(pipeline: &Pipeline) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(pipeline.bench.path("out/.staging")).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| !path.ends_with("finished") && !path.ends_with("pipeline")).collect()
}

/// Freezes an exporter while a shard of its is staged: the commit is under way, or made and the files are not moved yet.
fn freeze_with_a_shard(pipeline: &Pipeline, exporter: &mut Process) {
    loop {
        exporter.until("a shard is staged", || (!staged(pipeline).is_empty()).then_some(()));
        exporter.signal("STOP");
        if !staged(pipeline).is_empty() {
            return;
        }
        exporter.signal("CONT");
    }
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn an_exporter_that_was_frozen_and_wakes_harms_no_file() {
    let pipeline = Pipeline::with(0, &HASTY);
    let (raw, models) = (Raw::of(&pipeline), Cluster::slow());
    let others = pipeline.worker(&models, &["draft", "critique", "improve", "score", "select"], &[]);
    let mut exporter = pipeline.worker(&models, &["export"], &[]);
    for round in 1..=ROUNDS {
        pipeline.bench.write("prompts.jsonl", prompts(0..round * COUNT));
        assert_eq!(pipeline.submit(&["prompts.jsonl"]).0, COUNT as u64);
        freeze_with_a_shard(&pipeline, &mut exporter);
        let next = pipeline.worker(&models, &["export"], &[]);
        // The next owner waits for the session of the frozen one, and for its transaction.
        pipeline.wait();
        pipeline.assert_as_undisturbed();
        assert_eq!(raw.groups(&["export"])[0].members.len(), 1, "the frozen one is none any more");

        exporter.signal("CONT");
        let is_back = || (raw.groups_once(&["export"])?[0].members.len() == 2).then_some(());
        exporter.until("it is a member again", is_back);
        stop(next);
    }
    for worker in [exporter, others] {
        stop(worker);
    }
    pipeline.assert_as_undisturbed();
    assert_eq!(staged(&pipeline), Vec::<PathBuf>::new(), "nothing is left half done");
}
