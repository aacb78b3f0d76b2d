//! SIGTERM and Ctrl-C: the first drains, the second does not.

use std::net::TcpListener;

use crate::support::{Bench, Cluster, Process};

const PROMPTS: usize = 60;

fn wait_for_answers(process: &mut Process, cluster: &Cluster, answers: u64) {
    process.until("the cluster has answered", || (cluster.answered() >= answers).then_some(()));
}

/// Interrupts a run twice in its middle by a signal, and lets it end: no call is made twice at all.
#[track_caller]
fn check_drains(signal: &str) {
    let undisturbed = Bench::with_prompts(PROMPTS);
    undisturbed.run(&Cluster::start(&[]), &["prompts.jsonl"]).expect_code(0);

    let (bench, cluster) = (Bench::with_prompts(PROMPTS), Cluster::slow());
    for answers in [20, 200] {
        let mut process = bench.start(&cluster, &["prompts.jsonl"]);
        wait_for_answers(&mut process, &cluster, answers);
        process.signal(signal);
        let summary = process.finish().expect_code(130).summary();
        let resume =
            summary["ending"]["interrupted"]["resume"].as_str().expect("the command to carry on with");
        assert!(resume.contains(" run ") && resume.ends_with(" prompts.jsonl"), "{resume}");
        let under_way = summary["state"]["under_way"].as_u64().expect("a count");
        assert_eq!(under_way, (PROMPTS - bench.output().threads().len()) as u64);
        assert!(under_way > 0, "the signal came in the middle");
    }
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    assert_eq!(cluster.asked_again(), []);
    assert_eq!(bench.output().contents(), undisturbed.output().contents());
}

#[test]
fn sigterm_drains_and_the_same_command_carries_on_without_asking_anything_twice() {
    check_drains("TERM");
}

#[test]
fn ctrl_c_drains_and_the_same_command_carries_on_without_asking_anything_twice() {
    check_drains("INT");
}

/// The models never answer, so a drain would take as long as its grace.
#[test]
fn a_second_signal_ends_at_once() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&["--hang-rate", "1"]));
    let mut process = bench.start(&cluster, &["--set", "engine.drain_grace_s=3600", "prompts.jsonl"]);
    process.until("requests hang", || (cluster.counts().requests >= 3).then_some(()));
    process.terminate();
    process.wait_for_line("a second signal ends at once");
    process.terminate();
    let finished = process.finish_soon().expect_code(130);
    assert_eq!(finished.stdout, "", "nothing is summed up");
    let well = Cluster::start(&[]);
    bench.run(&well, &["prompts.jsonl"]).expect_code(0);
    assert_eq!(bench.output().threads().len(), 3);
}

/// Steps that do not end within the grace are given up, and made again by the next run.
#[test]
fn the_grace_ends_a_drain_that_would_not_end() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&["--hang-rate", "1"]));
    let mut process = bench.start(&cluster, &["--set", "engine.drain_grace_s=0.1", "prompts.jsonl"]);
    process.until("requests hang", || (cluster.counts().requests >= 3).then_some(()));
    process.terminate();
    process.wait_for_line("the grace is over");
    let summary = process.finish().expect_code(130).summary();
    assert_eq!(summary["state"]["under_way"], 3);
    bench.run(&Cluster::start(&[]), &["prompts.jsonl"]).expect_code(0);
    assert_eq!(bench.output().threads().len(), 3);
}

/// A port at which connections are taken and nothing ever answers. It closes when it is dropped.
fn silent_broker() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

/// Every command that talks to a cluster ends at the first signal while it connects: nothing is under way yet.
#[test]
fn a_signal_ends_a_command_that_waits_for_a_silent_cluster() {
    let (bench, (_listener, address)) = (Bench::with_prompts(1), silent_broker());
    let commands: [(&[&str], i32); 8] = [
        (&["submit", "prompts.jsonl"], 130),
        (&["replay"], 130),
        (&["status"], 130),
        (&["status", "--wait"], 130),
        (&["topics", "diff"], 130),
        (&["dead-letters", "list"], 130),
        (&["run", "--stage", "export"], 0),
        (&["run", "--simulate"], 0),
    ];
    for signal in ["TERM", "INT"] {
        let start = |(arguments, code): &(&[&str], i32)| {
            let mut command = bench.avr(arguments);
            command.args(["--kafka", &address, "--set", "observe.listen=127.0.0.1:0"]);
            (Process::start(&mut command), *code)
        };
        let mut started: Vec<_> = commands.iter().map(start).collect();
        for (process, _) in &mut started {
            process.wait_for_line("connecting to the cluster");
            process.signal(signal);
            process.wait_for_line("a second signal ends at once");
        }
        for (process, code) in started {
            process.finish_soon().expect_code(code);
        }
    }
}
