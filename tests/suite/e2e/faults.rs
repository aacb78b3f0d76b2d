//! What goes wrong on the models' side: nothing is lost, and what cannot be done is an outcome.

use serde_json::json;

use crate::support::{Bench, Cluster, prompts};

const FAULTS: [&str; 14] = [
    "--error-rate",
    "0.04",
    "--too-many-rate",
    "0.01",
    "--retry-after-s",
    "1",
    "--cut-rate",
    "0.03", //
    "--cut-in-body-rate",
    "0.02",
    "--malformed-json-rate",
    "0.02",
    "--hang-rate",
    "0.01",
];

/// Faults of the way are repeated with the same id and seed, so nothing that is written differs for them.
#[test]
fn faults_of_the_cluster_change_nothing_in_the_files() {
    let ratings = ["--malformed-rating-rate", "0.3"];
    let undisturbed = Bench::with_prompts(40);
    undisturbed.run(&Cluster::start(&ratings), &["prompts.jsonl"]).expect_code(0);
    let (bench, cluster) = (Bench::with_prompts(40), Cluster::start(&[&ratings[..], &FAULTS[..]].concat()));
    let short = ["--set", "models.generator.timeout_s=0.5", "--set", "models.reward.timeout_s=0.5"];
    let finished = bench.run(&cluster, &[&short[..], &["prompts.jsonl"]].concat()).expect_code(0);
    assert_eq!(bench.output().contents(), undisturbed.output().contents());
    let faults = cluster.stats()["faults"].clone();
    for fault in ["error", "too_many", "cut", "cut_in_body", "malformed_json", "hang"] {
        assert!(faults[fault].as_u64() > Some(0), "{fault} occurred: {faults}");
    }
    let models = finished.summary()["process"]["models"].clone();
    assert!(models[0]["retries"].as_u64() > Some(0), "{models}");
    assert!(models[0]["tries_used"].as_u64() > Some(0), "critiques without a rating use tries up: {models}");
}

#[test]
fn a_prompt_that_the_server_refuses_is_a_dead_letter_and_the_run_ends_well() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&["--max-model-len", "2000"]));
    let long = json!({"id": "long", "prompt": "word ".repeat(4000)});
    bench.write("prompts.jsonl", format!("{}{long}\n{}", prompts(0..3), prompts(3..6)));
    let summary = bench.run(&cluster, &["prompts.jsonl"]).expect_code(0).summary();
    assert_eq!(summary["state"]["outcomes"]["dead_letter"], 1);
    assert_eq!(summary["state"]["under_way"], 0);
    assert_eq!(bench.output().threads().len(), 7);
    let outcomes = bench.output().outcomes();
    let dead = outcomes.iter().find(|outcome| outcome["reason"] == "dead_letter").expect("one");
    assert_eq!((&dead["thread"], &dead["records"]), (&json!("stage1:long"), &json!([])));
    assert_eq!(dead["origin"], json!({"source": "prompts.jsonl", "line": 4}));
    let error = dead["error"].as_str().expect("a text");
    for part in ["draft", "refused", "400", "maximum"] {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
    let asked = cluster.counts();
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    assert_eq!((bench.output().threads().len(), cluster.counts()), (7, asked));
}
