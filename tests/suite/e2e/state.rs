//! The state folder: one process at a time.

use std::fs;

use crate::support::{Bench, Cluster};

#[test]
fn a_second_process_on_the_same_folder_is_refused_and_the_first_is_unharmed() {
    let (bench, cluster) = (Bench::with_prompts(40), Cluster::slow());
    let mut first = bench.start(&cluster, &["prompts.jsonl"]);
    first.until("the first is at work", || (cluster.answered() >= 20).then_some(()));
    let second = bench.run(&cluster, &["prompts.jsonl"]).expect_code(4);
    second.expect_error(&["another avr process has it open", "--out"]);
    assert_eq!(second.stdout, "");
    first.finish().expect_code(0);
    assert_eq!(bench.output().threads().len(), 40);
    assert_eq!(cluster.asked_again(), []);
}

/// Files without the log that accounts for them are somebody's work: they are left as they are.
#[test]
fn files_without_their_state_are_not_overwritten() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&[]));
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    let before = bench.output().contents();
    fs::remove_dir_all(bench.output().state()).expect("removed");
    bench
        .run(&cluster, &["prompts.jsonl"])
        .expect_code(1)
        .expect_error(&["was not written by this run's state"]);
    assert_eq!(bench.output().contents(), before);
}
