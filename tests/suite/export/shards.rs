//! The exporter over a shared log, through the engine's interface: what lies in the output folder, and what trainers
//! find there.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use avr::{
    dead_letter,
    engine::Sink,
    export::{FormatName, ShardOptions, ShardSink, Written},
    log::{Partition, Record},
    observe::Metrics,
    record::{HandledAction, HandledLetter},
    topic::{DEAD_LETTERS, HANDLED, RECORDS, REJECTS, TopicName},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

fn record(topic: TopicName, index: i32, offset: i64, value: &Value) -> Arc<Record> {
    let value = Some(serde_json::to_vec(value).unwrap().into());
    let key = Some(format!("stage1:{offset}").into());
    let partition = Partition { topic, index };
    Arc::new(Record { partition, offset, timestamp_ms: 0, key, value, headers: vec![] })
}

fn selection_result(number: i64) -> Value {
    let turn = |role: &str, text: &str| json!({"role": role, "content": text});
    let side = |text: &str| json!([turn("assistant", text)]);
    let record = |kind: &str, rejected: Value| {
        json!({
            "id": format!("stage1:{number}/{kind}"), "kind": kind, "prompt": [turn("user", "x")], "chosen": side("good"),
            "rejected": rejected, "rewards": {"answer": 0.1, "chosen": 0.2, "rejected": null}, "gain": 0.1,
            "provenance": "{}",
        })
    };
    let outcome = json!({
        "thread": format!("stage1:{number}"), "recipe": {"name": "stage1", "hash": "00"},
        "origin": {"source": "-", "line": number}, "reason": "selected", "records": ["sft", "response_pair"],
        "withheld": {}, "answer_reward": 0.1, "best_reward": 0.2, "gain": 0.1, "cut_off": 0, "error": null,
    });
    json!({"outcome": outcome, "records": [record("sft", json!([])), record("response_pair", side("bad"))]})
}

fn reject(line: i64) -> Value {
    json!({"source": "-", "line": line, "reason": "not_json", "message": "no"})
}

fn handled(action: HandledAction) -> Value {
    let (letter, thread, stage, kind) = ("0-7".into(), None, None, None);
    serde_json::to_value(HandledLetter { letter, action, at_ms: 1, thread, stage, kind }).unwrap()
}

fn sink(folder: &Path) -> (ShardSink, watch::Receiver<Written>) {
    let formats = vec![FormatName::LlamaFactory, FormatName::Trl];
    let options = ShardOptions { folder: folder.to_owned(), pipeline: "avr.".into(), sync: true, formats };
    ShardSink::new(options, &Metrics::new())
}

/// Paths of everything below a folder that is a file, staging aside.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(".staging") {
                folders.push(path);
            } else if path.is_file() {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// The folders with shards.
fn tables(folder: &Path) -> BTreeSet<String> {
    let shards = files(folder).into_iter().filter(|file| file.ends_with(".jsonl"));
    shards.map(|file| file.rsplit_once('/').unwrap().0.to_owned()).collect()
}

fn lines(folder: &Path, table: &str) -> Vec<Value> {
    let entries = fs::read_dir(folder.join(table)).unwrap();
    let texts = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn only_committed_shards_lie_where_trainers_look() {
    let folder = TempDir::new().unwrap();
    let (mut sink, written) = sink(folder.path());
    let batch = [
        record(RECORDS.name, 0, 3, &selection_result(3)),
        record(RECORDS.name, 1, 5, &selection_result(5)),
        record(REJECTS.name, 0, 0, &reject(9)),
        record(RECORDS.name, 1, 6, &json!({"no": "selection result"})),
        record(RECORDS.name, 1, 8, &selection_result(8)),
    ];
    let appended = sink.append(&batch).unwrap();
    assert_eq!(appended.checkpoints.len(), 3, "one for each partition");
    assert_eq!(
        appended.refused.iter().map(|(at, letter)| (*at, letter.kind)).collect::<Vec<_>>(),
        [(3, "schema")]
    );
    assert_eq!(files(folder.path()), BTreeSet::new(), "nothing before the commit");
    sink.roll_back().unwrap();

    let appended = sink.append(&batch).unwrap();
    sink.committed().unwrap();
    let both = ["sft", "pairs"].map(|name| format!("llamafactory/avr_{name}"));
    let mut expected: BTreeSet<String> =
        ["outcomes", "rejects", "records/sft", "records/pairs", "trl/avr_sft", "trl/avr_dpo"]
            .map(str::to_owned)
            .into();
    expected.extend(both);
    assert_eq!(tables(folder.path()), expected);
    let others: Vec<String> =
        files(folder.path()).into_iter().filter(|file| !file.ends_with(".jsonl")).collect();
    assert_eq!(others, ["llamafactory/dataset_info.json"]);
    for table in &expected {
        let count = if table == "rejects" { 1 } else { 3 };
        assert_eq!(lines(folder.path(), table).len(), count, "{table}");
    }
    let info = fs::read(folder.path().join("llamafactory/dataset_info.json")).unwrap();
    let info: Value = serde_json::from_slice(&info).unwrap();
    assert_eq!([&info["avr_sft"]["file_name"], &info["avr_pairs"]["file_name"]], ["avr_sft", "avr_pairs"]);
    assert_eq!((&info["avr_pairs"]["ranking"], info.as_object().unwrap().len()), (&json!(true), 2));
    let checkpoint = &appended.checkpoints[&Partition { topic: RECORDS.name, index: 1 }];
    assert!(checkpoint.contains("records-1-0000000000000000005-0000000000000000008-"), "{checkpoint}");
    assert_eq!(written.borrow().totals.threads(), 3);
}

#[test]
fn a_thread_that_was_sent_back_is_open_until_it_ends_again() {
    let folder = TempDir::new().unwrap();
    let (mut sink, written) = sink(folder.path());
    let letter = record(DEAD_LETTERS, 0, 7, &json!({"not": "a thread"}));
    let sent_back = record(HANDLED.name, 0, 0, &handled(HandledAction::Retried));
    let dropped = record(HANDLED.name, 0, 1, &handled(HandledAction::Dropped));
    let tombstone = Arc::new(Record { value: None, offset: 2, ..(*dropped).clone() });

    // The topics are read side by side, so that what was done may come before the letter.
    let appended = sink.append(&[sent_back, dropped, tombstone]).unwrap();
    assert!(appended.checkpoints.is_empty() && appended.refused.is_empty(), "it has no rows: {appended:?}");
    sink.committed().unwrap();
    assert_eq!(written.borrow().totals.threads(), 0);
    sink.append(&[letter]).unwrap();
    sink.committed().unwrap();
    assert_eq!((written.borrow().totals.threads(), written.borrow().totals.retried()), (0, 1));

    let again =
        Record { headers: vec![retries("2")], ..(*record(RECORDS.name, 0, 4, &selection_result(7))).clone() };
    assert_eq!(dead_letter::retries(&again), 2);
    sink.append(&[Arc::new(again)]).unwrap();
    sink.committed().unwrap();
    let outcomes = lines(folder.path(), "outcomes");
    let retried: BTreeSet<Option<u64>> = outcomes.iter().map(|outcome| outcome["retried"].as_u64()).collect();
    assert_eq!(retried, BTreeSet::from([None, Some(2)]));
    let totals = &written.borrow().totals;
    assert_eq!((totals.threads(), totals.outcomes().values().sum::<u64>()), (1, 1));
}

fn retries(count: &'static str) -> avr::log::Header {
    avr::log::Header { name: "avr.retries".into(), value: Some(count.into()) }
}
