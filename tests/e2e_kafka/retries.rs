//! `avr dead-letters retry` killed in the middle, and two at once: each letter is sent back once.

use std::collections::BTreeMap;

use avr::topic::{HANDLED, PROMPTS, TopicName};

use crate::{
    letters::{letters, listed, start, texts, told},
    pipeline::Pipeline,
    raw::{Raw, RawRecord},
    support::{Cluster, Finished},
    workers::stop,
};

/// Eight commits' worth.
const COUNT: usize = 2000;
/// Where the first retries are killed, in letters handled.
const KILLED_AT: [usize; 2] = [200, 900];

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

/// How many records a topic has of each key.
fn counts(raw: &Raw, topic: TopicName) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    raw.read(topic).iter().for_each(|record| *counts.entry(record.key()).or_default() += 1);
    counts
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
fn a_retry_that_is_killed_and_run_again_sends_nothing_back_twice() {
    let Some(pipeline) = Pipeline::new(0) else { return };
    let (raw, models) = (Raw::of(&pipeline), Cluster::start(&[]));
    make_letters(&pipeline, &raw, &models);

    for handled in KILLED_AT {
        let mut killed = start(&pipeline, &["retry", "--all"]);
        let is_at_work = || (pipeline.keys(HANDLED.name).len() > handled).then_some(());
        killed.until("some letters are sent back", is_at_work);
        assert!(killed.kill(), "it was in the middle");
    }
    // Two at once: the later fences the earlier, or they come one after the other.
    let both = [start(&pipeline, &["retry", "--all"]), start(&pipeline, &["retry", "--all"])];
    let ended = both.map(|retry| has_ended_well(&retry.finish()));
    assert!(ended.contains(&true), "one of them has nobody after it");
    assert_eq!(told(&pipeline, &["retry", "--all"]), "0 letters were sent back\n");
    assert_eq!(listed(&pipeline, &[]).len(), 0);

    let (prompts, handled) = (counts(&raw, PROMPTS.name), counts(&raw, HANDLED.name));
    assert_eq!((prompts.len(), handled.len()), (COUNT, COUNT));
    let sent_back = |(key, count): (&String, &u32)| (*count != 2).then(|| format!("{key}: {count}"));
    assert_eq!(prompts.iter().find_map(sent_back), None, "once from the producer, once from a retry");
    assert!(handled.values().all(|count| *count == 1), "each letter was handled once");

    // What fails again becomes a new letter, which can be given up.
    let worker = pipeline.worker(&models, &[], &[]);
    assert_eq!(pipeline.wait()["dead_letters"], COUNT);
    stop(worker);
    let again = listed(&pipeline, &[]);
    assert!(again.iter().all(|letter| letter["retries"] == 1), "{:?}", again[0]);
    assert_eq!(texts(&again, "kind"), vec!["schema"; COUNT]);
    letters(&pipeline, &["drop", "--all"]).expect_code(2).expect_error(&["--yes"]);
    assert!(told(&pipeline, &["drop", "--error", "schema"]).starts_with("2000 letters were dropped"));
    assert_eq!(listed(&pipeline, &[]).len(), 0);
    assert_eq!(counts(&raw, PROMPTS.name), prompts, "what is dropped goes nowhere");
}
