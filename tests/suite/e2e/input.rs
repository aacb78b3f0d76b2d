//! What goes in: the same thing twice, lines that cannot be used, and every way to pack a file.

use std::{fs, io::Write, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::writer::SerializedFileWriter,
    schema::parser::parse_message_type,
};
use serde_json::{Value, json};

use crate::support::{Bench, Cluster, Output, prompts};

/// What a summary says of the input: new, known, rejected.
fn input(summary: &Value) -> [u64; 3] {
    let input = &summary["process"]["input"];
    ["new", "known", "rejected"].map(|key| input[key].as_u64().expect("a count"))
}

#[test]
fn the_same_file_twice_makes_nothing_twice() {
    let (bench, cluster) = (Bench::with_prompts(12), Cluster::start(&[]));
    let first = bench.run(&cluster, &["prompts.jsonl", "prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(input(&first), [12, 12, 0]);
    let contents = bench.output().contents();
    let asked = cluster.counts();

    fs::rename(bench.path("prompts.jsonl"), bench.path("renamed.jsonl")).expect("renamed");
    let second = bench.run(&cluster, &["renamed.jsonl"]).expect_code(0).summary();
    assert_eq!(input(&second), [0, 12, 0]);
    assert_eq!(second["process"]["ended"], 0);
    assert_eq!(second["state"], first["state"]);
    assert_eq!(bench.output().contents(), contents);
    assert_eq!(cluster.counts(), asked, "no model was asked anything");
}

#[test]
fn a_run_without_files_carries_on_and_says_so_where_there_is_nothing() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&[]));
    bench.run(&cluster, &[]).expect_code(2).expect_error(&["name at least one FILE"]);
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    let summary = bench.run(&cluster, &[]).expect_code(0).summary();
    assert_eq!((input(&summary), bench.output().threads().len()), ([0, 0, 0], 3));
}

/// The line fits its own limit, and what a thread adds to it is too much for the log.
#[test]
fn a_prompt_that_the_log_could_not_take_is_rejected_and_the_run_goes_on() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&[]));
    let limit = 65_536;
    bench.write("long.jsonl", json!({"prompt": "x".repeat(limit - 20)}).to_string());
    let (log, line) = (format!("log.max_record_bytes={limit}"), format!("intake.max_line_bytes={limit}"));
    let options = ["--set", &log, "--set", &line, "long.jsonl", "prompts.jsonl"];
    bench.run(&cluster, &options).expect_code(0);
    assert_eq!(bench.output().threads().len(), 3);
    assert_eq!(bench.output().rejects()[0]["reason"], "too_large");
}

#[test]
fn an_id_with_other_content_is_refused_with_a_reason() {
    let (bench, cluster) = (Bench::with_prompts(3), Cluster::start(&[]));
    bench.write("other.jsonl", r#"{"id": "p1", "prompt": "Something else."}"#);
    for _ in 0..2 {
        bench.run(&cluster, &["prompts.jsonl", "other.jsonl"]).expect_code(0);
        let rejects = bench.output().rejects();
        assert_eq!(rejects.len(), 1, "once, however often it is given");
        let reject = &rejects[0];
        assert_eq!((&reject["source"], &reject["line"]), (&json!("other.jsonl"), &json!(1)));
        assert_eq!(reject["reason"], "id_conflict");
        let message = reject["message"].as_str().expect("a text");
        assert!(message.contains("\"p1\"") && message.contains("id of its own"), "{message}");
        assert_eq!(bench.output().threads().len(), 3);
    }
}

/// The bad lines of a file, each with the reason it is rejected for.
fn bad_lines() -> Vec<(Vec<u8>, &'static str)> {
    let huge = format!(r#"{{"prompt": "{}"}}"#, "x".repeat(50 << 20));
    vec![
        (br#"{"prompt": " "}"#.to_vec(), "empty_prompt"),
        (b"{\"prompt\": \"\xff\xfe\"}".to_vec(), "invalid_utf8"),
        (huge.into_bytes(), "too_large"),
        (br#"{"messages": [{"role": "system", "content": "Be brief."}]}"#.to_vec(), "no_user_turn"),
        (br#"{"prompt": "unfinished"#.to_vec(), "not_json"),
        (br#"{"page": "Which column?"}"#.to_vec(), "no_known_columns"),
    ]
}

#[test]
fn lines_that_cannot_be_used_are_reported_once_and_the_others_go_through() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&[]));
    let mut file = prompts(0..2).into_bytes();
    for (at, (line, _)) in bad_lines().into_iter().enumerate() {
        file.extend([line, b"\n".to_vec(), prompts(at + 2..at + 3).into_bytes()].concat());
    }
    bench.write("mixed.jsonl", file);
    let expected: Vec<_> =
        bad_lines().iter().enumerate().map(|(at, (_, reason))| (3 + 2 * at as u64, *reason)).collect();
    for rejected in [expected.len() as u64, 0] {
        let summary = bench.run(&cluster, &["mixed.jsonl"]).expect_code(0).summary();
        assert_eq!(input(&summary)[2], rejected);
        let rejects = bench.output().rejects();
        let found: Vec<_> = rejects
            .iter()
            .map(|reject| {
                (reject["line"].as_u64().expect("a line"), reject["reason"].as_str().expect("a reason"))
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(json!(Output::count(&rejects, "reason")), summary["state"]["rejects"]);
        assert_eq!(bench.output().threads().len(), 2 + expected.len());
    }
}

#[test]
fn strict_stops_at_the_first_bad_line_and_the_corrected_file_carries_on() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&[]));
    let good = prompts(0..4);
    bench.write("prompts.jsonl", format!("{good}{{\"prompt\": 7}}\n{}", prompts(4..6)));
    let finished = bench.run(&cluster, &["--strict", "prompts.jsonl"]).expect_code(3);
    finished.expect_error(&["prompts.jsonl, line 5: ", "column prompt", "--strict"]);
    bench.write("prompts.jsonl", format!("{good}{}", prompts(4..6)));
    bench.run(&cluster, &["--strict", "prompts.jsonl"]).expect_code(0);
    assert_eq!(bench.output().threads().len(), 6);
    assert_eq!(bench.output().rejects(), Vec::<Value>::new());
    assert_eq!(cluster.asked_again(), []);
}

#[test]
fn files_that_cannot_be_read_are_all_named_before_anything_begins() {
    let (bench, cluster) = (Bench::with_prompts(2), Cluster::start(&[]));
    let finished = bench.run(&cluster, &["prompts.jsonl", "nowhere.jsonl", "."]).expect_code(2);
    finished.expect_error(&["nowhere.jsonl: no such file", ".: is a folder"]);
    assert!(!bench.path("out").exists());
    assert_eq!(cluster.counts().requests, 0);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// One column of text.
fn parquet(prompts: &[&str]) -> Vec<u8> {
    let schema = parse_message_type("message row { required binary prompt (STRING); }").expect("a schema");
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Default::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let mut column = group.next_column().expect("readable").expect("one column");
    let values: Vec<_> = prompts.iter().map(|prompt| ByteArray::from(*prompt)).collect();
    column.typed::<ByteArrayType>().write_batch(&values, None, None).expect("written");
    column.close().expect("closed");
    group.close().expect("closed");
    writer.close().expect("closed");
    bytes
}

#[test]
fn every_packing_and_standard_input_go_through_in_one_run() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&[]));
    bench.write("plain.jsonl", prompts(0..2));
    bench.write("packed.gz", gzip(&prompts(2..4)));
    let zstandard = zstd::encode_all(prompts(4..6).as_bytes(), 1).expect("memory");
    bench.write("packed.zst", zstandard);
    bench.write("table.parquet", parquet(&["What is a row?", "What is a column?"]));
    bench.write("list.json", r#"[{"id": "a", "prompt": "In a list?"}, {"id": "b", "prompt": "Yes?"}]"#);
    let files = ["plain.jsonl", "packed.gz", "packed.zst", "table.parquet", "list.json", "-"];
    let mut process = bench.start(&cluster, &files);
    let mut stdin = process.stdin();
    stdin.write_all(prompts(6..8).as_bytes()).expect("the process reads");
    drop(stdin);
    let summary = process.finish().expect_code(0).summary();
    assert_eq!(input(&summary), [12, 0, 0]);
    let outcomes = bench.output().outcomes();
    let origins: Vec<Value> = outcomes.iter().map(|outcome| outcome["origin"].clone()).collect();
    for file in files {
        for line in [1, 2] {
            assert!(origins.contains(&json!({"source": file, "line": line})), "{file}, line {line}");
        }
    }
}
