//! Dead letters from the run that made them to the run that ends them, by the commands that a user types.

use serde_json::{Value, json};

use crate::support::{Bench, Cluster, Finished, Process, prompts};

/// Three prompts, and one that a server with a short context refuses.
fn refused(bench: &Bench) -> Value {
    let long = json!({"id": "long", "prompt": "word ".repeat(4000)});
    bench.write("prompts.jsonl", format!("{}{long}\n", prompts(0..3)));
    let small = Cluster::start(&["--max-model-len", "2000"]);
    let summary = bench.run(&small, &["prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(summary["state"]["outcomes"]["dead_letter"], 1);
    summary
}

fn letters(bench: &Bench, arguments: &[&str]) -> Finished {
    Process::start(&mut bench.avr(&[&["dead-letters"], arguments].concat())).finish()
}

fn listed(bench: &Bench, arguments: &[&str]) -> Vec<Value> {
    let text = letters(bench, &[&["list", "--json"], arguments].concat()).expect_code(0).stdout;
    let list: Value = serde_json::from_str(&text).expect("JSON");
    list["dead_letters"].as_array().expect("a list").clone()
}

#[test]
fn a_letter_is_listed_shown_sent_back_and_its_thread_ends_well() {
    let bench = Bench::new();
    refused(&bench);
    let listed_now = listed(&bench, &[]);
    assert_eq!(listed_now.len(), 1);
    let (letter, id) = (&listed_now[0], listed_now[0]["id"].as_str().expect("an id"));
    assert_eq!([&letter["stage"], &letter["kind"], &letter["thread"]], ["draft", "refused", "stage1:long"]);
    let table = letters(&bench, &["list"]).expect_code(0).stdout;
    for part in ["ID", id, "stage1:long", "      1  draft  refused", "      1  in all"] {
        assert!(table.contains(part), "{part:?} is not in:\n{table}");
    }
    let shown = letters(&bench, &["show", id]).expect_code(0).stdout;
    for part in ["from      prompts/0, offset ", "avr.http.status: 400", "\"id\": \"stage1:long\""] {
        assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
    }

    let would = letters(&bench, &["retry", "--all", "--dry-run"]).expect_code(0).stdout;
    assert!(would.contains("1 dead letter would be sent back; nothing was done"), "{would}");
    letters(&bench, &["retry", "--stage", "draft"]).expect_code(0);
    assert_eq!(listed(&bench, &[]), Vec::<Value>::new());
    assert_eq!(listed(&bench, &["--handled"])[0]["handled"]["action"], "retried");

    let large = Cluster::start(&[]);
    let summary = bench.run(&large, &["prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(summary["state"]["under_way"], 0);
    let outcomes = summary["state"]["outcomes"].clone();
    assert_eq!(outcomes["dead_letter"].as_u64().unwrap_or(0), 0, "{outcomes}");
    let lines = bench.output().outcomes();
    let lines: Vec<&Value> = lines.iter().filter(|line| line["thread"] == "stage1:long").collect();
    assert_eq!(lines.len(), 2, "the last one counts");
    assert_eq!((&lines[0]["reason"], &lines[0]["retried"]), (&json!("dead_letter"), &Value::Null));
    assert_eq!(lines[1]["retried"], 1);
    assert_ne!(lines[1]["reason"], "dead_letter");
    // What is there is as if nothing had ever been refused.
    let undisturbed = Bench::new();
    undisturbed.write("prompts.jsonl", std::fs::read(bench.path("prompts.jsonl")).expect("there"));
    undisturbed.run(&Cluster::start(&[]), &["prompts.jsonl"]).expect_code(0);
    let (mut here, mut there) = (bench.output().contents(), undisturbed.output().contents());
    drop(here.remove("outcomes.jsonl"));
    drop(there.remove("outcomes.jsonl"));
    assert_eq!(here, there);
    let asked = large.counts();
    bench.run(&large, &["prompts.jsonl"]).expect_code(0);
    assert_eq!(large.counts(), asked, "everything is accounted for");
}

#[test]
fn a_letter_that_fails_again_is_a_new_one_and_the_run_ends() {
    let bench = Bench::new();
    refused(&bench);
    letters(&bench, &["retry", "--all"]).expect_code(0);
    let small = Cluster::start(&["--max-model-len", "2000"]);
    let summary = bench.run(&small, &["prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(
        (&summary["state"]["outcomes"]["dead_letter"], &summary["state"]["under_way"]),
        (&json!(1), &json!(0))
    );
    let now = listed(&bench, &[]);
    assert_eq!((now.len(), &now[0]["retries"]), (1, &json!(1)));
    assert_eq!(listed(&bench, &["--handled"]).len(), 2);

    letters(&bench, &["drop", "--all"]).expect_code(2).expect_error(&["--yes"]);
    letters(&bench, &["drop", "--all", "--yes"]).expect_code(0);
    assert_eq!(listed(&bench, &[]), Vec::<Value>::new());
    let summary = bench.run(&small, &["prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(summary["state"]["outcomes"]["dead_letter"], 1, "it stays ended");
}

/// The servers fail on most requests before they refuse one.
#[test]
fn a_letter_says_how_often_its_call_was_sent() {
    let bench = Bench::new();
    bench.write("prompts.jsonl", format!("{}\n", json!({"id": "long", "prompt": "word ".repeat(4000)})));
    let flaky = Cluster::start(&["--max-model-len", "2000", "--error-rate", "0.7", "--seed", "7"]);
    bench.run(&flaky, &["prompts.jsonl"]).expect_code(0);
    let sent: Vec<u64> = flaky.counts().by_id.values().map(|count| count.attempts).collect();
    let [sent] = sent[..] else { panic!("one call: {sent:?}") };
    assert!(sent > 1, "with this seed it fails at first");
    let letter = &listed(&bench, &[])[0];
    assert_eq!((&letter["kind"], &letter["attempts"]), (&json!("refused"), &json!(sent)));
}

#[test]
fn mistakes_have_their_exit_codes() {
    let bench = Bench::new();
    letters(&bench, &["list"]).expect_code(2).expect_error(&["out/.state is not there", "--out"]);
    letters(&bench, &["retry"]).expect_code(2).expect_error(&["--all"]);
    letters(&bench, &["show", "seven"]).expect_code(2).expect_error(&["PARTITION-OFFSET"]);
    bench.write("prompts.jsonl", prompts(0..1));
    let cluster = Cluster::start(&[]);
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    letters(&bench, &["show", "0-7"]).expect_code(1).expect_error(&["there is no dead letter 0-7"]);
    letters(&bench, &["retry", "0-7"]).expect_code(1).expect_error(&["there is no dead letter 0-7"]);
    let mut run = bench.start(&cluster, &["--follow", "-"]);
    run.wait_for_line("model servers answer");
    run.until("the run has the folder", || {
        let found = letters(&bench, &["list"]);
        (found.code == Some(4)).then_some(())
    });
    run.terminate();
    run.finish_soon().expect_code(130);
}
