//! Records that no schema of ours knows, written by another program: what cannot be read becomes a dead letter that
//! names the place, what is merely unknown passes through, and neither holds up what lies behind it.

use std::collections::BTreeMap;

use avr::topic::{CRITIQUED, DEAD_LETTERS, DRAFTED, IMPROVED, PROMPTS, RECORDS, SCORED, TopicName};
use serde_json::{Value, json};

use super::{
    pipeline::{Pipeline, assert_each_once},
    raw::{Raw, RawRecord},
    workers::stop,
};
use crate::support::{Cluster, lines::lines_of_shards, prompts};

const COUNT: usize = 30;

/// A record that cannot be read: its topic and key, its payload, and how its letter's message begins.
struct Unreadable {
    topic: TopicName,
    name: &'static str,
    payload: Option<Vec<u8>>,
    message: &'static str,
}

/// What another program may take for a thread.
fn unreadable(thread: &Value) -> Vec<Unreadable> {
    let changed = |change: fn(&mut Value)| {
        let mut thread = thread.clone();
        change(&mut thread);
        Some(serde_json::to_vec(&thread).expect("JSON"))
    };
    let one = |name, payload, message| Unreadable { topic: PROMPTS.name, name, payload, message };
    vec![
        one("rubbish", Some(b"\xff\x00\x1b[2J".to_vec()), "the payload does not fit at "),
        one("nothing", None, "the payload does not fit at "),
        one("list", Some(b"[1, 2, 3]".to_vec()), "the payload does not fit at "),
        one(
            "cut",
            Some(b"{\"version\": 1, \"id\": \"stage1:cu".to_vec()),
            "the payload does not fit at id: ",
        ),
        one(
            "number",
            changed(|thread| thread["prompt"][0]["content"] = 7.into()),
            "the payload does not fit at prompt[0].content: invalid type: integer `7`",
        ),
        one(
            "missing",
            changed(|thread| drop(thread["origin"].as_object_mut().expect("an object").remove("line"))),
            "the payload does not fit at origin: missing field `line`",
        ),
        one(
            "newer",
            changed(|thread| thread["version"] = 2.into()),
            "the payload does not fit at version: a thread of schema 2; this avr knows 1",
        ),
        one(
            "newer-shape",
            changed(|thread| {
                thread["version"] = 3.into();
                thread["prompt"] = json!({"turns": []});
            }),
            "the payload does not fit at version: a thread of schema 3; this avr knows 1",
        ),
        selection_result(
            "no-outcome",
            "{\"outcome\": 5, \"records\": []}",
            "the payload does not fit at outcome: ",
        ),
        selection_result(
            "no-record",
            "{\"records\": [{\"id\": 7}]}",
            "the payload does not fit at records[0].id: ",
        ),
    ]
}

/// What another program may take for the end of a thread.
fn selection_result(name: &'static str, payload: &str, message: &'static str) -> Unreadable {
    Unreadable { topic: RECORDS.name, name, payload: Some(payload.as_bytes().to_vec()), message }
}

/// A thread of a later minor version: every object of it has a field that this one does not know.
fn later(thread: &Value) -> RawRecord {
    let mut thread = thread.clone();
    thread["id"] = "stage1:later".into();
    for path in ["", "/recipe", "/origin", "/prompt/0"] {
        thread.pointer_mut(path).expect("an object")["later"] = json!({"at": path, "values": [1, null, "ü"]});
    }
    let headers = vec![("traceparent".to_owned(), Some(b"00-ab-cd-01".to_vec()))];
    let payload = serde_json::to_vec(&thread).expect("JSON");
    RawRecord { partition: 2, headers, ..RawRecord::new("stage1:later", payload) }
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn what_no_schema_knows_becomes_letters_and_what_is_only_unknown_passes_through() {
    let pipeline = Pipeline::new(1);
    let raw = Raw::of(&pipeline);
    pipeline.submit(&["prompts.jsonl"]);
    let thread = raw.read(PROMPTS.name)[0].json();
    let unreadable = unreadable(&thread);
    // In front of the good ones in every partition, and some of them behind one another.
    for (n, bad) in unreadable.iter().enumerate() {
        let record = RawRecord {
            partition: i32::try_from(n % 3).expect("a partition"),
            key: Some(format!("stage1:{}", bad.name).into_bytes()),
            value: bad.payload.clone(),
            ..RawRecord::default()
        };
        raw.write(bad.topic, &[record]);
    }
    let later = later(&thread);
    raw.write(
        PROMPTS.name,
        &[RawRecord { key: None, ..RawRecord::new("", "no key, no JSON") }, later.clone()],
    );
    pipeline.bench.write("prompts.jsonl", prompts(0..COUNT));
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), (COUNT as u64 - 1, 1));

    let models = Cluster::start(&[]);
    let worker = pipeline.worker(&models, &[], &[]);
    let status = pipeline.wait();
    assert_eq!(status["dead_letters"], unreadable.len() + 1, "{status}");
    stop(worker);
    let mut ended = pipeline.keys(RECORDS.name);
    ended.retain(|key, _| !unreadable.iter().any(|bad| *key == format!("stage1:{}", bad.name)));
    assert_each_once(&ended, COUNT + 1);
    assert_eq!(models.asked_again(), []);
    let outcomes = &lines_of_shards(&pipeline.bench.path("out"))["outcomes"];
    let letters = outcomes.iter().filter(|line| line.contains("\"reason\":\"dead_letter\"")).count();
    assert_eq!((outcomes.len(), letters), (COUNT + unreadable.len() + 2, unreadable.len() + 1));

    let letters: BTreeMap<String, RawRecord> =
        raw.read(DEAD_LETTERS).into_iter().map(|letter| (letter.key(), letter)).collect();
    for bad in &unreadable {
        let letter = &letters[&format!("stage1:{}", bad.name)];
        assert_eq!(letter.value, bad.payload, "{}", bad.name);
        assert_eq!(letter.header("avr.error.kind"), "schema");
        let stage = if bad.topic == PROMPTS.name { "draft" } else { "export" };
        assert_eq!(letter.header("__connect.errors.stage"), stage);
        let message = letter.header("__connect.errors.exception.message");
        assert!(message.starts_with(bad.message), "{}: {message}", bad.name);
    }
    assert_eq!(letters[""].value.as_deref(), Some(&b"no key, no JSON"[..]));
    for topic in [DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name] {
        assert_passed_through(&raw, topic, &later);
    }
}

/// The thread of a later version has all that it came with.
#[track_caller]
fn assert_passed_through(raw: &Raw, topic: TopicName, came: &RawRecord) {
    let records = raw.read(topic);
    let passed = records.iter().find(|record| record.key == came.key);
    let passed = passed.unwrap_or_else(|| panic!("it is not in {topic}"));
    assert_eq!(passed.headers, came.headers, "{topic}");
    let (before, after) = (came.json(), passed.json());
    for path in ["/later", "/recipe", "/origin", "/prompt"] {
        assert_eq!(after.pointer(path), before.pointer(path), "{topic}");
    }
}
