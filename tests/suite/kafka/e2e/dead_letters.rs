//! Dead letters of real workers, from the model that refused to the thread's end, by the commands that a user types.

use std::collections::BTreeMap;

use avr::topic::{CRITIQUED, DEAD_LETTERS, HANDLED, PROMPTS, RECORDS};
use serde_json::{Value, json};

use super::{
    dead_letter_command::{letters, listed, texts, told},
    pipeline::{Pipeline, assert_each_once},
    raw::{Raw, RawHeader, RawRecord},
    workers::stop,
};
use crate::support::{
    Bench, Cluster,
    lines::{Lines, difference, lines_of_files, lines_of_shards},
};

/// Prompts that nobody refuses, and of each size that is too much for somebody.
const GOOD: usize = 12;
const EACH: usize = 3;
/// Everything that is taken in: the good, those too long for a model and for a worker, and the foreign one.
const ALL: usize = GOOD + 2 * EACH + 1;

/// Words that are too many for the smaller models.
const LONG: usize = 17_000;
/// Words that fit into the smaller worker's records with critiques, and not with improvements.
const MEDIUM: usize = 12_600;
const SMALLER_MODELS: [&str; 2] = ["--max-model-len", "20000"];
const SMALLER_WORKER: [&str; 4] =
    ["--set", "kafka.max_record_bytes=65536", "--set", "intake.max_line_bytes=65536"];

fn line(id: &str, words: usize) -> String {
    format!("{}\n", json!({"id": id, "prompt": "word ".repeat(words)}))
}

fn write_inputs(bench: &Bench) -> [&'static str; 3] {
    let long = (0..EACH).map(|n| line(&format!("draft{n}"), LONG));
    let medium = (0..EACH).map(|n| line(&format!("improve{n}"), MEDIUM));
    bench.write("long.jsonl", long.chain(medium).collect::<String>());
    bench.write("foreign.jsonl", line("foreign", LONG));
    ["prompts.jsonl", "long.jsonl", "foreign.jsonl"]
}

/// The line of `foreign.jsonl` as another program would write it to the topic: the thread that the intake makes of it,
/// in its own spacing and with headers of its own.
fn foreign(raw: &Raw) -> RawRecord {
    let prompts = raw.read(PROMPTS.name);
    let mut thread =
        prompts.iter().find(|record| record.key() == "stage1:draft0").expect("it is there").json();
    thread["id"] = "stage1:foreign".into();
    thread["origin"] = json!({"source": "foreign.jsonl", "line": 1});
    let text = serde_json::to_string_pretty(&thread).expect("JSON");
    RawRecord { partition: 1, headers: foreign_headers(), ..RawRecord::new("stage1:foreign", text) }
}

/// Some that are no text, that come twice, and that have no value.
fn foreign_headers() -> Vec<RawHeader> {
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    vec![
        header("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        header("twice", b"\xff\x00\xfe"),
        header("twice", b""),
        ("without".to_owned(), None),
    ]
}

/// The headers of a letter of this stage, with `*` for a value that is looked at apart.
fn expected_headers(origin: &RawRecord, stage: &str) -> Vec<(String, String)> {
    let (partition, offset) = (origin.partition.to_string(), origin.offset.to_string());
    let (topic, kind) = if stage == "draft" { ("prompts", "refused") } else { ("critiqued", "too_large") };
    let class = format!("avr.{kind}");
    let mut expected = vec![
        ("__connect.errors.topic", topic),
        ("__connect.errors.partition", &partition),
        ("__connect.errors.offset", &offset),
        ("__connect.errors.stage", stage),
        ("__connect.errors.exception.class.name", &class),
        ("__connect.errors.exception.message", "*"),
        ("avr.error.kind", kind),
        ("avr.attempts", "*"),
    ];
    if kind == "refused" {
        expected.extend([("avr.http.status", "400"), ("avr.model", "simulated-chat")]);
    }
    expected.push(("avr.first_failed_at", "*"));
    expected.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A letter is its record, byte for byte, and behind the record's own headers those that say what happened.
#[track_caller]
fn assert_letter_of(letter: &RawRecord, origin: &RawRecord, stage: &str) {
    assert_eq!((&letter.key, &letter.value), (&origin.key, &origin.value));
    let (own, added) = letter.headers.split_at(origin.headers.len());
    assert_eq!(own, origin.headers);
    let text = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().expect("a value")).expect("UTF-8");
    let found: Vec<_> = added.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let expected = expected_headers(origin, stage);
    let names =
        |headers: &[(String, String)]| headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert!(expected == "*" || found == expected, "{name}: {found:?} instead of {expected:?}");
    }
    let message = letter.header("__connect.errors.exception.message");
    let part = if stage == "draft" { "refused the request with status 400" } else { "65536" };
    assert!(message.contains(part), "{message}");
    assert!(letter.header("avr.attempts").parse::<u32>().expect("a number") >= 1);
    assert!(letter.header("avr.first_failed_at").parse::<i64>().expect("milliseconds") > 1_600_000_000_000);
}

fn by_key(records: Vec<RawRecord>) -> BTreeMap<String, Vec<RawRecord>> {
    let mut keys: BTreeMap<String, Vec<RawRecord>> = BTreeMap::new();
    records.into_iter().for_each(|record| keys.entry(record.key()).or_default().push(record));
    keys
}

/// Letters of two stages, one of them of a record that another program wrote.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn letters_of_workers_are_sent_back_to_their_stages_and_their_threads_end_once() {
    let pipeline = Pipeline::new(GOOD);
    let (raw, inputs) = (Raw::of(&pipeline), write_inputs(&pipeline.bench));
    assert_eq!(pipeline.submit(&inputs[..2]), (ALL as u64 - 1, 0));
    raw.write(PROMPTS.name, &[foreign(&raw)]);
    let small = Cluster::start(&SMALLER_MODELS);
    let workers = [&["draft", "improve"][..], &[]];
    let workers = workers.map(|stages| pipeline.worker(&small, stages, &SMALLER_WORKER));
    let status = pipeline.wait();
    assert_eq!(status["dead_letters"], 2 * EACH as u64 + 1, "{status}");
    let _summaries = workers.map(stop);

    let (prompts, critiqued) = (by_key(raw.read(PROMPTS.name)), by_key(raw.read(CRITIQUED.name)));
    let written = by_key(raw.read(DEAD_LETTERS));
    assert_eq!(written.len(), 2 * EACH + 1);
    for (key, letters) in &written {
        assert_eq!(letters.len(), 1, "{key}");
        match key.starts_with("stage1:improve") {
            true => assert_letter_of(&letters[0], &critiqued[key][0], "improve"),
            false => assert_letter_of(&letters[0], &prompts[key][0], "draft"),
        }
    }
    assert_eq!(prompts["stage1:foreign"][0].headers, foreign_headers());

    look_at(&pipeline);
    send_back(&pipeline, &raw);

    let large = Cluster::start(&[]);
    let workers = [pipeline.worker(&large, &["draft", "improve"], &[]), pipeline.worker(&large, &[], &[])];
    let status = pipeline.wait();
    assert_eq!(status["dead_letters"], 0, "{status}");
    let _summaries = workers.map(stop);
    assert_each_once(&pipeline.keys(RECORDS.name), ALL);
    assert_eq!(large.asked_again(), []);
    // A letter of improve went back to improve: its draft is not asked for again.
    let drafts = large.counts().by_id.into_keys().filter(|id| id.contains("-draft-")).count();
    assert_eq!(drafts, EACH + 1);
    assert_ended_well(&pipeline, &inputs);
}

/// The commands that change nothing.
fn look_at(pipeline: &Pipeline) {
    let all = listed(pipeline, &[]);
    let count = |stage| all.iter().filter(|letter| letter["stage"] == stage).count();
    assert_eq!((count("draft"), count("improve"), all.len()), (EACH + 1, EACH, 2 * EACH + 1));
    let table = told(pipeline, &["list"]);
    for part in
        ["      4  draft  refused", "      3  improve  too_large", "      7  in all", "stage1:foreign"]
    {
        assert!(table.contains(part), "{part:?} is not in:\n{table}");
    }
    let foreign = all.iter().find(|letter| letter["thread"] == "stage1:foreign").expect("it is listed");
    let shown = told(pipeline, &["show", foreign["id"].as_str().expect("an id")]);
    for part in
        ["from      prompts/1, offset ", "avr.http.status: 400", "traceparent: 00-0af7", "twice: 0xff00fe"]
    {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }
    letters(pipeline, &["show", "0-170400"])
        .expect_code(1)
        .expect_error(&["there is no dead letter 0-170400"]);
    letters(pipeline, &["retry", "0-170400"])
        .expect_code(1)
        .expect_error(&["there is no dead letter 0-170400"]);
    let would = told(pipeline, &["retry", "--all", "--dry-run"]);
    assert!(would.contains("7 dead letters would be sent back; nothing was done"), "{would}");
    assert_eq!(listed(pipeline, &[]).len(), 2 * EACH + 1);
}

/// Sends all letters back: one stage's, one by its id, the others by their kind; each goes where it came from, once.
fn send_back(pipeline: &Pipeline, raw: &Raw) {
    let sizes = || (raw.read(PROMPTS.name).len(), raw.read(CRITIQUED.name).len());
    let (prompts, critiqued) = sizes();
    assert!(told(pipeline, &["retry", "--stage", "improve"]).starts_with("3 dead letters were sent back"));
    assert_eq!(sizes(), (prompts, critiqued + EACH));

    let left = listed(pipeline, &[]);
    assert_eq!(texts(&left, "stage"), ["draft"; EACH + 1]);
    let id = texts(&left, "id")[0];
    assert!(told(pipeline, &["retry", id]).starts_with("1 dead letter was sent back"));
    assert_eq!(sizes(), (prompts + 1, critiqued + EACH));
    let again = told(pipeline, &["retry", id]);
    assert_eq!(again, format!("0 dead letters were sent back\n{id} had been handled before\n"));
    let panicked = told(pipeline, &["retry", "--error", "panic"]);
    assert_eq!(panicked, "0 dead letters were sent back\n");
    assert_eq!(sizes(), (prompts + 1, critiqued + EACH), "nothing was sent back twice");

    assert!(told(pipeline, &["retry", "--error", "refused"]).starts_with("3 dead letters were sent back"));
    assert_eq!(told(pipeline, &["retry", "--all"]), "0 dead letters were sent back\n");
    assert_eq!(sizes(), (prompts + EACH + 1, critiqued + EACH));
    assert_eq!(raw.read(HANDLED.name).len(), 2 * EACH + 1);
    assert_eq!((listed(pipeline, &[]).len(), listed(pipeline, &["--handled"]).len()), (0, 2 * EACH + 1));
    assert_history_stays(raw);
}

/// What was sent back is the record as it came, with the headers of others and its history behind them.
fn assert_history_stays(raw: &Raw) {
    let prompts = by_key(raw.read(PROMPTS.name));
    let foreign = &prompts["stage1:foreign"];
    let (came, back) = match &foreign[..] {
        [one, other] if one.headers.len() < other.headers.len() => (one, other),
        [one, other] => (other, one),
        _ => panic!("it came once and was sent back once: {foreign:?}"),
    };
    assert_eq!((&back.key, &back.value), (&came.key, &came.value));
    let (own, history) = back.headers.split_at(came.headers.len());
    assert_eq!(own, foreign_headers());
    let names: Vec<&str> = history.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["avr.attempts", "avr.first_failed_at", "avr.retries"]);
    assert_eq!(back.header("avr.retries"), "1");
}

/// The files hold what an undisturbed run makes of the same input; only that threads ended as letters before is told
/// besides.
#[track_caller]
fn assert_ended_well(pipeline: &Pipeline, inputs: &[&str]) {
    let undisturbed = Bench::with_prompts(GOOD);
    write_inputs(&undisturbed);
    undisturbed.run(&Cluster::start(&[]), inputs).expect_code(0);
    let (mut found, mut expected) =
        (lines_of_shards(&pipeline.bench.path("out")), lines_of_files(&undisturbed.path("out")));
    let (outcomes, wanted) = (outcomes(&mut found), outcomes(&mut expected));
    assert_eq!(difference(&found, &expected), None);
    assert_eq!(outcomes.len(), ALL);
    for (thread, lines) in &outcomes {
        let (last, before) = lines.split_last().expect("a line");
        let reasons: Vec<&Value> = before.iter().map(|line| &line["reason"]).collect();
        let mut expected = wanted[thread][0].clone();
        if thread.starts_with("stage1:p") {
            assert_eq!(reasons, [""; 0], "{thread}");
        } else {
            assert_eq!(reasons, ["dead_letter"], "{thread}");
            expected["retried"] = 1.into();
        }
        assert_eq!(last, &expected);
    }
}

/// The outcomes of each thread, those of letters first; they are taken out.
fn outcomes(lines: &mut Lines) -> BTreeMap<String, Vec<Value>> {
    let mut outcomes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines.remove("outcomes").expect("outcomes") {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        outcomes.entry(line["thread"].as_str().expect("an id").to_owned()).or_default().push(line);
    }
    outcomes.values_mut().for_each(|lines| lines.sort_by_key(|line| line["reason"] != "dead_letter"));
    outcomes
}
