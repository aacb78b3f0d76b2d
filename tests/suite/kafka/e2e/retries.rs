//! `avr dead-letters retry` killed in the middle, and two at once: each letter is sent back once.

use avr::topic::{HANDLED, PROMPTS};

use super::{
    dead_letter_command::{letters, listed, start, texts, told},
    pipeline::Pipeline,
    raw::{Raw, RawRecord},
    workers::stop,
};
use crate::support::{Cluster, Finished};

/// Fifteen commits' worth.
const COUNT: usize = 4000;
/// Letters that are given up before.
const DROPPED: usize = 3;
/// How many more letters are written down as handled when the first retries are killed.
const KILLED_AT: [i64; 2] = [1, 400];

/// Records of another program that no stage can read; a worker makes a letter of each.
fn make_letters(pipeline: &Pipeline, raw: &Raw, models: &Cluster) {
    let garbage = |n: usize| RawRecord {
        partition: i32::try_from(n % 3).expect("a partition"),
        ..RawRecord::new(&format!("stage1:garbage-{n}"), format!("{{\"garbage\": {n}"))
    };
    raw.write(PROMPTS.name, &(0..COUNT).map(garbage).collect::<Vec<_>>());
    let worker = pipeline.worker(models, &[], &[]);
    assert_eq!(pipeline.wait()["dead_letters"], COUNT);
    stop(worker);
}

/// Whether it came to its end; else it must say that another took over.
#[track_caller]
fn has_ended_well(retry: &Finished) -> bool {
    if retry.code == Some(1) {
        retry.expect_error(&["another `avr dead-letters` took over", "nothing is sent back twice"]);
    } else {
        assert_eq!(retry.code, Some(0), "{}", retry.stderr);
    }
    retry.code == Some(0)
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_retry_that_is_killed_and_run_again_sends_nothing_back_twice() {
    let pipeline = Pipeline::new(0);
    let (raw, models) = (Raw::of(&pipeline), Cluster::start(&[]));
    make_letters(&pipeline, &raw, &models);
    let all = listed(&pipeline, &[]);
    assert_eq!(texts(&all, "kind"), vec!["schema"; COUNT]);
    letters(&pipeline, &["drop", "--all"]).expect_code(2).expect_error(&["--yes"]);
    let dropped = [&["drop"][..], &texts(&all[..DROPPED], "id")].concat();
    assert!(told(&pipeline, &dropped).starts_with("3 dead letters were dropped"));

    for more in KILLED_AT {
        let before = pipeline.end(HANDLED.name);
        let mut killed = start(&pipeline, &["retry", "--all"]);
        let is_at_work = || (pipeline.end(HANDLED.name) >= before + more).then_some(());
        killed.until("some letters are sent back", is_at_work);
        assert!(killed.kill(), "it was in the middle");
    }
    // Two at once: the later fences the earlier, or they come one after the other.
    let both = [start(&pipeline, &["retry", "--all"]), start(&pipeline, &["retry", "--all"])];
    let ended = both.map(|retry| has_ended_well(&retry.finish()));
    assert!(ended.contains(&true), "one of them has nobody after it");
    assert_eq!(told(&pipeline, &["retry", "--all"]), "0 dead letters were sent back\n");
    assert_eq!(listed(&pipeline, &[]).len(), 0);

    let (prompts, handled) = (pipeline.keys(PROMPTS.name), pipeline.keys(HANDLED.name));
    assert_eq!((prompts.len(), handled.len()), (COUNT, COUNT));
    assert!(handled.values().all(|count| *count == 1), "each letter was handled once");
    let given_up = texts(&all[..DROPPED], "thread");
    let expected = |key: &str| if given_up.contains(&key) { 1 } else { 2 };
    let wrong = prompts.iter().find(|(key, count)| **count != expected(key));
    assert_eq!(wrong, None, "once from the producer, and once from a retry");
    assert_eq!(listed(&pipeline, &["--handled"]).len(), COUNT);
}
