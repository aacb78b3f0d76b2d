//! Every recipe but the one that all other tests follow: over Kafka it makes what it makes over the embedded log.

use avr::record::Message;
use serde_json::json;

use super::{
    pipeline::{PATIENT, Pipeline, Setup},
    workers::{pair, stop},
};
use crate::support::{Cluster, Process};

const COUNT: usize = 24;
/// A recipe of long answers needs models that give them.
const MODELS: [&str; 1] = ["--long-answers"];

/// A recipe, and the kinds of lines that it must give.
struct Case {
    setup: Setup,
    kinds: &'static [&'static str],
}

const fn recipe(recipe: &'static str, sections: &'static str, kinds: &'static [&'static str]) -> Case {
    Case { setup: Setup { recipe, sections, ..PATIENT }, kinds }
}

const CASES: [Case; 5] = [
    recipe("stage2", "", &["records/sft"]),
    recipe("long-pairs", "", &["records/pairs"]),
    recipe("fusion", "", &["records/pairs"]),
    recipe("evaluation", "", &["model_outputs"]),
    recipe("evaluation", "[evaluation]\nrounds = 2\n", &["model_outputs"]),
];

/// All at once: most of the time is waiting for the cluster.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn every_recipe_makes_over_kafka_what_it_makes_over_the_embedded_log() {
    let models = Cluster::start(&MODELS);
    let begun: Vec<_> = CASES.into_iter().map(|case| begin(case, &models)).collect();
    for (Case { kinds, .. }, pipeline, workers) in begun {
        pipeline.wait();
        let summaries = workers.map(stop);
        assert!(summaries.iter().all(|summary| summary["stages"][0]["steps"] != 0), "{summaries:?}");
        let expected = pipeline.undisturbed(&MODELS);
        assert!(kinds.iter().all(|kind| expected.contains_key(*kind)), "{:?}", expected.keys());
        assert_eq!(expected["outcomes"].len(), COUNT);
        pipeline.assert_lines(&expected);
    }
    assert_eq!(models.asked_again(), []);
}

/// Prompts that come with an answer, for the recipes that begin with one.
fn prompts() -> String {
    let line = |n| {
        let turns =
            [Message::user(format!("How does {n} work?")), Message::assistant(format!("As {n} does."))];
        format!("{}\n", json!({"prompt_id": format!("p{n}"), "messages": turns}))
    };
    (0..COUNT).map(line).collect()
}

/// Two workers of every stage that the recipe has, at work.
fn begin(case: Case, models: &Cluster) -> (Case, Pipeline, [Process; 2]) {
    let pipeline = Pipeline::with(COUNT, &case.setup);
    pipeline.bench.write("prompts.jsonl", prompts());
    let workers = pair(&pipeline, models);
    (case, pipeline, workers)
}
