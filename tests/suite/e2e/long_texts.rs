//! Threads with the longest answers that models give.

use serde_json::Value;

use crate::support::{Bench, Cluster};

const PROMPTS: usize = 2;

/// Answers, critiques and improvements of 32k tokens, and improvements that gain in every round.
fn cluster() -> Cluster {
    Cluster::start(&[
        "--mean-tokens",
        "32000",
        "--spread",
        "0",
        "--max-model-len",
        "1000000",
        "--reward-spread",
        "0.01",
        "--improvement-gain",
        "5",
        "--empty-rate",
        "0",
        "--cut-off-rate",
        "0",
        "--malformed-rating-rate",
        "0",
    ])
}

/// What stage2 comes to with these settings.
fn outcomes(settings: &[&str]) -> Vec<Value> {
    let (bench, cluster) = (Bench::with_prompts(PROMPTS), cluster());
    let stage2 = ["--recipe", "stage2", "--set", "recipes.stage2.answer=draft", "prompts.jsonl"];
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = stage2.into_iter().chain(set).collect();
    bench.run(&cluster, &arguments).expect_code(0);
    bench.output().outcomes()
}

/// Five rounds of six texts hold four megabytes: a log that takes three shows what dropping is for.
const SMALL_LOG: [&str; 2] = ["log.max_record_bytes=3145728", "intake.max_line_bytes=3145728"];

#[test]
fn five_rounds_of_the_longest_answers_pass() {
    for settings in [&[][..], &SMALL_LOG] {
        let outcomes = outcomes(settings);
        assert_eq!(outcomes.len(), PROMPTS);
        for outcome in outcomes {
            assert_eq!((&outcome["rounds"], &outcome["error"]), (&5.into(), &Value::Null), "{outcome}");
        }
    }
}

#[test]
fn a_thread_that_outgrows_the_log_is_a_dead_letter() {
    let [record, line] = SMALL_LOG;
    let outcomes = outcomes(&[record, line, "recipes.stage2.prune_above_bytes=1073741824"]);
    assert_eq!(outcomes.len(), PROMPTS);
    for outcome in outcomes {
        assert_eq!(outcome["reason"], "dead_letter", "{outcome}");
        assert!(outcome["rounds"].as_u64().is_some_and(|rounds| (3..5).contains(&rounds)), "{outcome}");
        assert!(outcome["error"].as_str().is_some_and(|error| error.contains("too_large")), "{outcome}");
    }
}
