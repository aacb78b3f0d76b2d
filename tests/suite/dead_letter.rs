//! Dead letters are sent back exactly once, whenever the process that does so dies and however badly the log answers.

use std::{collections::BTreeMap, time::Duration};

use avr::{
    dead_letter::{DeadLetter, DeadLetterFilter, Handling, HandlingReport, handle, list, retries},
    log::{Committer as _, Header, Log as _, Output, Record},
    record::HandledAction,
    topic::{DEAD_LETTERS, DRAFTED, HANDLED, PROMPTS, TopicName},
};
use bytes::Bytes;

use crate::memory_log::{Faults, MemoryLog, Options};

const RETRY: Handling = Handling { action: HandledAction::Retried, dry_run: false, at_ms: 1 };
const SEEDS: u64 = 300;
/// A payload that no JSON is.
const GARBAGE: &[u8] = b"\xff\x00\x1b[2J";

fn letter(number: usize, topic: &str, stage: &str, kind: &str) -> Output {
    let header = |name: &str, value: &str| Header { name: name.into(), value: Some(value.to_owned().into()) };
    let headers = vec![
        Header { name: "traceparent".into(), value: Some(Bytes::from_static(b"\xfe")) },
        header("__connect.errors.topic", topic),
        header("__connect.errors.stage", stage),
        header("avr.error.kind", kind),
        header("avr.attempts", "3"),
    ];
    let value = [GARBAGE, number.to_string().as_bytes()].concat();
    let key = Some(Bytes::from(format!("key-{number}")));
    Output { topic: DEAD_LETTERS, key, value: Some(value.into()), headers }
}

async fn log_of(letters: Vec<Output>, options: Options) -> MemoryLog {
    let topics = [(PROMPTS.name, 2), (DRAFTED.name, 2), (DEAD_LETTERS, 2), (HANDLED.name, 1)];
    let log = MemoryLog::new(&topics, Options { faults: Faults::NONE, ..options });
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    committer.commit(letters, vec![]).await.expect("calm");
    log
}

fn values(records: &[Record]) -> Vec<Bytes> {
    let mut values: Vec<Bytes> = records.iter().filter_map(|record| record.value.clone()).collect();
    values.sort();
    values
}

/// Processes that send letters back die one after the other, over a log at its worst; the last one is calm.
async fn send_back_through_a_storm(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let letters: Vec<Output> = (0..600).map(|n| letter(n, "prompts", "draft", "refused")).collect();
    let mut sent: Vec<Bytes> = letters.iter().filter_map(|letter| letter.value.clone()).collect();
    sent.sort();
    let log = log_of(letters, Options::stormy(seed)).await;
    log.set_faults(Faults::STORM);
    for _ in 0..random.u64(1..5) {
        let process = log.process("doomed");
        process.kill_after(random.u64(1..40));
        tokio::select! {
            biased;
            _ = handle(&process, &DeadLetterFilter::ALL, RETRY) => {}
            () = process.killed() => {}
        }
        process.kill();
    }
    log.set_faults(Faults::NONE);
    handle(&log.process("last"), &DeadLetterFilter::ALL, RETRY).await.expect("calm");
    assert_eq!(values(&log.records(PROMPTS.name)), sent, "seed {seed}");
    assert_eq!(log.records(HANDLED.name).len(), 600, "seed {seed}");
    let report = handle(&log.process("again"), &DeadLetterFilter::ALL, RETRY).await.expect("calm");
    assert_eq!(report, HandlingReport::default(), "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn letters_are_sent_back_once_whatever_happens() {
    for seed in 0..SEEDS {
        send_back_through_a_storm(seed).await;
    }
}

/// Letters of different stages and kinds, one of which names a topic that is none of ours.
async fn mixed() -> MemoryLog {
    let letters = vec![
        letter(0, "prompts", "draft", "refused"),
        letter(1, "drafted", "critique", "refused"),
        letter(2, "drafted", "critique", "panic"),
        letter(3, "../etc/passwd", "draft", "panic"),
        letter(4, "dead-letters", "export", "schema"),
        letter(5, "index", "export", "schema"),
    ];
    log_of(letters, Options::calm(1)).await
}

async fn by_kind(log: &MemoryLog) -> BTreeMap<String, Vec<DeadLetter>> {
    let letters = list(&log.process("look")).await.expect("calm");
    let mut kinds: BTreeMap<String, Vec<DeadLetter>> = BTreeMap::new();
    letters.into_iter().for_each(|letter| kinds.entry(letter.headers.kind.clone()).or_default().push(letter));
    kinds
}

fn sizes(log: &MemoryLog, topics: [TopicName; 3]) -> [usize; 3] {
    topics.map(|topic| log.records(topic).len())
}

#[tokio::test(start_paused = true)]
async fn what_is_selected_goes_back_to_its_topic_byte_for_byte() {
    let log = mixed().await;
    let filter = DeadLetterFilter::Matching { stage: Some("critique".into()), kind: Some("refused".into()) };
    let dry = Handling { dry_run: true, ..RETRY };
    let would = handle(&log.process("avr"), &filter, dry).await.expect("calm");
    let topics = [PROMPTS.name, DRAFTED.name, HANDLED.name];
    assert_eq!((would.done.len(), sizes(&log, topics)), (1, [0, 0, 0]));

    let report = handle(&log.process("avr"), &filter, RETRY).await.expect("calm");
    assert_eq!((&report.done, sizes(&log, topics)), (&would.done, [0, 1, 1]));
    let record = log.records(DRAFTED.name).remove(0);
    assert_eq!(record.value.as_deref(), Some(&[GARBAGE, b"1"].concat()[..]));
    assert_eq!(record.key.as_deref(), Some(&b"key-1"[..]));
    assert_eq!(record.headers[0].value.as_deref(), Some(&b"\xfe"[..]), "others' headers pass");
    assert_eq!(retries(&record), 1);
    assert!(record.headers.iter().all(|header| header.name != "avr.error.kind"));

    let ids = DeadLetterFilter::Ids(report.done.iter().copied().collect());
    let again = handle(&log.process("avr"), &ids, RETRY).await.expect("calm");
    assert_eq!((again.before, again.done.len(), sizes(&log, topics)), (report.done, 0, [0, 1, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_header_chooses_no_topic_but_those_that_stages_read() {
    let log = mixed().await;
    let report = handle(&log.process("avr"), &DeadLetterFilter::ALL, RETRY).await.expect("calm");
    assert_eq!((report.done.len(), report.not_retryable.len()), (3, 3));
    assert!(report.not_retryable.values().any(|why| why.to_string().contains("../etc/passwd")));
    let drop = Handling { action: HandledAction::Dropped, dry_run: false, at_ms: 2 };
    let dropped = handle(&log.process("avr"), &DeadLetterFilter::ALL, drop).await.expect("calm");
    assert_eq!((dropped.done.len(), log.records(HANDLED.name).len()), (3, 6));
    let kinds = by_kind(&log).await;
    let actions = |kind: &str| -> Vec<_> {
        kinds[kind].iter().map(|letter| letter.handled.as_ref().expect("handled").action).collect()
    };
    assert_eq!(actions("refused"), [HandledAction::Retried; 2]);
    assert_eq!(actions("schema"), [HandledAction::Dropped; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_there_is_told() {
    let log = mixed().await;
    let id = "7-1704".parse().expect("an id");
    let report = handle(&log.process("avr"), &DeadLetterFilter::Ids([id].into()), RETRY).await.expect("calm");
    assert_eq!((report.missing, report.done.len()), (vec![id], 0));
}

/// A process whose first commit is not made, and a second one that does everything while the first waits.
#[tokio::test(start_paused = true)]
async fn what_another_did_meanwhile_is_not_done_again() {
    let letters = (0..600).map(|n| letter(n, "prompts", "draft", "refused")).collect();
    let log = log_of(letters, Options::calm(3)).await;
    log.set_faults(Faults { retriable: 1.0, ..Faults::NONE });
    let first = log.process("first");
    let first = tokio::spawn(async move { handle(&first, &DeadLetterFilter::ALL, RETRY).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    log.set_faults(Faults::NONE);
    let second = handle(&log.process("second"), &DeadLetterFilter::ALL, RETRY).await.expect("calm");
    let first = first.await.expect("no panic").expect("calm");
    assert_eq!((first.done.len(), second.done.len()), (0, 600));
    assert_eq!(log.records(PROMPTS.name).len(), 600);
}

/// Two at once, each of which fences the other now and then and waits for it; how many each of them handled.
async fn send_back_two_at_once(seed: u64) -> [usize; 2] {
    let letters: Vec<Output> = (0..600).map(|n| letter(n, "prompts", "draft", "refused")).collect();
    let log = log_of(letters, Options::stormy(seed)).await;
    log.set_faults(Faults { retriable: 0.3, doubtful: 0.2, yields: 0.5, sleeps: 0.5, ..Faults::NONE });
    let (first, second) = (log.process("first"), log.process("second"));
    let (first, second) = tokio::join!(
        handle(&first, &DeadLetterFilter::ALL, RETRY),
        handle(&second, &DeadLetterFilter::ALL, RETRY)
    );
    log.set_faults(Faults::NONE);
    assert_eq!(log.records(PROMPTS.name).len(), 600, "seed {seed}: both are at their end");
    [first, second].map(|ended| ended.unwrap_or_else(|error| panic!("seed {seed}: {error}")).done.len())
}

#[tokio::test(start_paused = true)]
async fn two_at_once_both_end_and_send_nothing_back_twice() {
    let mut shared = 0;
    for seed in 0..SEEDS / 4 {
        let done = send_back_two_at_once(seed).await;
        shared += usize::from(!done.contains(&0));
    }
    assert!(shared > 0, "neither ever took over from the other");
}
