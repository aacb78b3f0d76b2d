//! `--follow`: what is appended is taken, and a line that is being written is waited for.

use std::{
    fs::{File, OpenOptions},
    io::Write,
};

use crate::support::{Bench, Cluster, Process, prompts};

fn wait_for_outcomes(process: &mut Process, bench: &Bench, count: usize) {
    process
        .until("the threads have ended", || (bench.output().threads_so_far().len() >= count).then_some(()));
}

fn append(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).expect("written");
}

#[test]
fn what_is_appended_is_taken_and_a_half_written_line_is_waited_for() {
    let (bench, cluster) = (Bench::with_prompts(4), Cluster::start(&[]));
    let mut file = OpenOptions::new().append(true).open(bench.path("prompts.jsonl")).expect("opened");
    let mut process = bench.start(&cluster, &["--follow", "prompts.jsonl"]);
    wait_for_outcomes(&mut process, &bench, 4);

    let (more, last) = (prompts(4..6), prompts(6..7));
    let (begun, rest) = last.split_at(last.len() / 2);
    append(&mut file, &more);
    append(&mut file, begun);
    wait_for_outcomes(&mut process, &bench, 6);
    append(&mut file, rest);
    wait_for_outcomes(&mut process, &bench, 7);

    process.terminate();
    let summary = process.finish_soon().expect_code(130).summary();
    let input = &summary["process"]["input"];
    assert_eq!((&input["new"], &input["known"], &input["rejected"]), (&7.into(), &0.into(), &0.into()));
    assert_eq!(bench.output().threads().len(), 7);
    assert!(bench.output().rejects().is_empty());
    assert_eq!(cluster.asked_again(), []);
}

#[test]
fn a_line_left_half_written_is_taken_by_the_run_after_it_was_finished() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&[]));
    let all = prompts(0..2);
    bench.write("prompts.jsonl", &all[..all.len() - 5]);
    let mut process = bench.start(&cluster, &["--follow", "prompts.jsonl"]);
    wait_for_outcomes(&mut process, &bench, 1);
    process.terminate();
    process.finish_soon().expect_code(130);
    bench.write("prompts.jsonl", &all);
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    assert_eq!((bench.output().threads().len(), bench.output().rejects().len()), (2, 0));
}
