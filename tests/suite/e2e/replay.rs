//! `avr replay`: the threads of a finished run, selected from again.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use crate::support::{Bench, Cluster, Finished, Output, Process};

const PROMPTS: usize = 40;

/// A bench whose folder `out` holds a finished run of stage1 in both formats, and its cluster.
fn finished_run() -> (Bench, Cluster) {
    let (bench, cluster) = (Bench::with_prompts(PROMPTS), Cluster::start(&[]));
    bench.run(&cluster, &["--set", "export.formats=llama-factory,trl", "prompts.jsonl"]).expect_code(0);
    (bench, cluster)
}

/// `avr replay` from `out`, in both formats, with these arguments.
fn replay(bench: &Bench, arguments: &[&str]) -> Finished {
    let start = ["replay", "--json", "--progress", "none", "--set", "export.formats=llama-factory,trl"];
    let mut command = bench.avr(&start);
    if !arguments.contains(&"--from") {
        command.args(["--from", "out"]);
    }
    Process::start(command.args(arguments)).finish()
}

fn output(bench: &Bench, folder: &str) -> Output {
    Output::of(bench.path(folder))
}

#[test]
fn the_same_recipe_gives_the_same_files_without_a_call() {
    let (bench, cluster) = finished_run();
    let asked = cluster.counts();
    let summary = replay(&bench, &["--out", "again"]).expect_code(0).summary();
    assert_eq!(output(&bench, "again").contents(), bench.output().contents());
    assert_eq!(cluster.counts(), asked);
    let source = &summary["ending"]["replayed"]["source"];
    assert_eq!(
        [&source["taken_in"], &source["outcomes"], &source["kept"]],
        [PROMPTS; 3].map(|n| json!(n)).each_ref()
    );
    let card = fs::read_to_string(bench.path("again/README.md")).expect("a card");
    assert!(
        card.contains("- Generators: `simulated-chat`\n")
            && card.contains("- Reward models: `simulated-reward`\n")
    );
}

/// The fields of every row of a file.
fn fields(rows: &[Value]) -> BTreeSet<String> {
    let names =
        |row: &Value| row.as_object().expect("an object").keys().cloned().collect::<Vec<_>>().join(" ");
    rows.iter().map(names).collect()
}

#[test]
fn other_thresholds_and_kinds_select_otherwise() {
    let (bench, _cluster) = finished_run();
    let wide = ["--out", "wide", "--set", "recipes.stage1.records=response_pair,kto,reward_pair"];
    let wide: Vec<&str> = wide
        .into_iter()
        .chain(["--set", "recipes.stage1.pairs=all", "--set", "recipes.stage1.max_pairs=2"])
        .collect();
    replay(&bench, &wide).expect_code(0);
    let wide = output(&bench, "wide");
    let expected = [
        ("records/kto.jsonl", "completion gain id kind label prompt provenance rewards"),
        ("llamafactory/avr_kto.jsonl", "id kind kto_tag messages"),
        ("trl/avr_kto.jsonl", "completion id kind label prompt"),
        ("llamafactory/avr_reward_pairs.jsonl", "chosen id kind margin messages rejected"),
        ("trl/avr_reward.jsonl", "chosen id kind margin rejected"),
    ];
    for (file, names) in expected {
        let rows = wide.rows(file);
        assert_eq!(fields(&rows).into_iter().collect::<Vec<_>>(), [names], "{file}: {} rows", rows.len());
    }
    for row in wide.rows("records/kto.jsonl") {
        assert_eq!(row["label"].as_bool(), row["gain"].as_f64().map(|gain| gain > 0.0), "{row}");
    }
    for row in wide.rows("trl/avr_reward.jsonl") {
        assert!(row["margin"].as_f64().is_some_and(|margin| margin > 0.0), "{row}");
    }
    let listed: Value = wide.value_in("llamafactory/dataset_info.json");
    assert_eq!(listed["avr_kto"]["columns"]["kto_tag"], "kto_tag");
    assert_eq!(listed["avr_reward_pairs"]["ranking"], true);
    let ids: BTreeSet<_> = wide.records().iter().map(|record| record["id"].to_string()).collect();
    assert_eq!(ids.len(), wide.records().len(), "every record has an id of its own");

    replay(&bench, &["--out", "strict", "--set", "recipes.stage1.min_gain=1.0"]).expect_code(0);
    let strict = output(&bench, "strict").records();
    let kept = bench.output().records().into_iter().filter(|record| record["gain"].as_f64() >= Some(1.0));
    assert_eq!(strict.len(), kept.count());
    assert!(!strict.is_empty());
}

#[test]
fn a_replay_begins_afresh_in_its_own_folder_and_in_no_other() {
    let (bench, _cluster) = finished_run();
    replay(&bench, &["--out", "again"]).expect_code(0);
    let before = output(&bench, "again").contents();
    fs::write(bench.path("again/outcomes.jsonl"), "torn").expect("written");
    replay(&bench, &["--out", "again"]).expect_code(0);
    assert_eq!(output(&bench, "again").contents(), before);
    let other = replay(&bench, &["--out", "again", "--set", "recipes.stage1.min_gain=1.0"]).expect_code(2);
    other.expect_error(&["a replay with other settings is there", "min_gain: 0.0 before, 1.0 now"]);
    assert_eq!(output(&bench, "again").contents(), before);
    replay(&bench, &["--out", "out"]).expect_code(2).expect_error(&["the folder of the source"]);
    replay(&bench, &["--from", "again", "--out", "third"])
        .expect_code(2)
        .expect_error(&["no state of a run is there"]);
}

#[test]
fn only_what_selects_may_differ() {
    let (bench, cluster) = finished_run();
    let changed =
        ["--out", "again", "--set", "recipes.stage1.top_p=0.9", "--set", "recipes.stage1.min_gain=1.0"];
    let refused = replay(&bench, &changed).expect_code(2);
    refused.expect_error(&["top_p: 0.8 before, 0.9 now", "records"]);
    assert!(!refused.stderr.contains("min_gain: "), "{}", refused.stderr);
    bench.write("avr.toml", "[recipes.strict]\nbase = \"stage1\"\nmin_margin = 0.5\n");
    replay(&bench, &["--out", "strict", "--recipe", "strict"]).expect_code(0);
    for record in output(&bench, "strict").records() {
        assert!(record["provenance"].as_str().is_some_and(|text| text.contains("\"name\":\"strict\"")));
    }
    let base = replay(&bench, &["--out", "other", "--recipe", "stage2"]).expect_code(2);
    base.expect_error(&["base: \"stage1\" before, \"stage2\" now"]);
    bench.write("more.jsonl", crate::support::prompts(PROMPTS..PROMPTS * 3));
    let slow = Cluster::slow();
    let mut running = bench.start(&slow, &["--set", "export.formats=llama-factory,trl", "more.jsonl"]);
    running.until("the run is at work", || (slow.answered() >= 5).then_some(()));
    replay(&bench, &["--out", "again"]).expect_code(4);
    running.finish().expect_code(0);
    drop(cluster);
}

#[test]
fn threads_that_were_never_finished_are_told() {
    let (bench, cluster) = (Bench::with_prompts(10), Cluster::start(&["--max-model-len", "2000"]));
    let long = json!({"id": "long", "prompt": "What? ".repeat(2000)});
    bench.write("long.jsonl", format!("{long}\n"));
    bench.run(&cluster, &["prompts.jsonl", "long.jsonl"]).expect_code(0);
    let summary = replay(&bench, &["--out", "again"]).expect_code(0).summary();
    let source = &summary["ending"]["replayed"]["source"];
    assert_eq!(
        source,
        &json!({
            "name": "out", "taken_in": 11, "outcomes": 11, "kept": 10, "unreadable": 0, "of_other_recipes": 0, "again": 0,
        })
    );
    let command = ["replay", "--progress", "none", "--from", "out", "--out", "again"];
    let finished = Process::start(&mut bench.avr(&command)).finish();
    assert_eq!(finished.code, Some(2), "other formats: {}", finished.stderr);
}
