//! What a recipe makes: shapes, temperatures, provenance, and a summary that says what is in the files.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Bench, Cluster, Output, Process};

/// What stands in a record's provenance.
fn provenance(record: &Value) -> Value {
    serde_json::from_str(record["provenance"].as_str().expect("a text")).expect("JSON in a text")
}

/// The calls that threads made, by what stands between the thread and the attempt in their ids: `critique-0-1`.
fn places_asked(cluster: &Cluster) -> BTreeSet<String> {
    let counts = cluster.counts();
    let place = |id: &String| {
        let (_, place) = id.split_once('-').expect("a thread");
        place.rsplit_once('-').expect("an attempt").0.to_owned()
    };
    counts.by_id.keys().map(place).collect()
}

#[test]
fn records_say_where_they_come_from() {
    let (bench, cluster) = (Bench::with_prompts(40), Cluster::start(&["--cut-off-rate", "0.15"]));
    let summary = bench.run(&cluster, &["prompts.jsonl"]).expect_code(0).summary();
    let records = bench.output().records();
    assert!(!records.is_empty());
    let mut seeds = BTreeMap::new();
    for record in &records {
        let provenance = provenance(record);
        let thread = provenance["thread"].as_str().expect("an id");
        assert_eq!(record["id"], format!("{thread}/{}", record["kind"].as_str().expect("a kind")));
        assert_eq!(provenance["recipe"]["name"], "stage1");
        assert_eq!(provenance["recipe"]["hash"].as_str().map(str::len), Some(32));
        assert!(
            provenance["templates"]
                .as_object()
                .is_some_and(|hashes| hashes.contains_key("multi_turn_critique"))
        );
        let calls = provenance["calls"].as_array().expect("a list");
        assert!(!calls.is_empty());
        for call in calls {
            assert_eq!((&call["model"], &call["temperature"]), (&json!("simulated-chat"), &json!(0.7)));
            let place = [
                thread.to_owned(),
                call["step"].to_string(),
                call["critique"].to_string(),
                call["improvement"].to_string(),
            ];
            seeds.insert(place, call["seed"].as_u64().expect("a number"));
        }
        let is_cut_off = calls.iter().any(|call| call["finish_reason"] == "length");
        assert_eq!(provenance["cut_off"], is_cut_off);
    }
    let different: BTreeSet<_> = seeds.values().collect();
    assert_eq!(different.len(), seeds.len(), "every call has a seed of its own");
    assert!(records.iter().any(|record| provenance(record)["cut_off"] == true));
    let in_outcomes: u64 =
        bench.output().outcomes().iter().filter_map(|outcome| outcome["cut_off"].as_u64()).sum();
    let seen = summary["process"]["models"][0]["cut_off"].as_u64().expect("a count");
    assert!(0 < in_outcomes && in_outcomes <= seen, "{in_outcomes} of {seen} answers that were cut off");
}

/// Sums and counts of the files against the summary.
#[test]
fn the_summary_says_what_is_in_the_files() {
    let (bench, cluster) = (Bench::with_prompts(60), Cluster::start(&["--redundant-rate", "0.1"]));
    bench.write("bad.jsonl", "{}\n[1]\n{\"prompt\": \"\"}\n");
    let summary = bench.run(&cluster, &["prompts.jsonl", "bad.jsonl"]).expect_code(0).summary();
    let (state, output) = (&summary["state"], bench.output());
    let outcomes = output.outcomes();
    assert_eq!(json!(Output::count(&outcomes, "reason")), state["outcomes"]);
    assert_eq!(json!(Output::count(&output.records(), "kind")), state["records"]);
    assert_eq!(json!(Output::count(&output.rejects(), "reason")), state["rejects"]);
    let gains: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome["gain"].as_f64()).collect();
    let above = || gains.iter().copied().filter(|gain| *gain > 0.0);
    assert_eq!(state["gains"]["compared"], gains.len());
    assert_eq!(state["gains"]["gained"], above().count());
    assert_eq!(state["gains"]["max"].as_f64(), above().reduce(f64::max));
    assert_eq!(state["gains"]["sum"].as_f64(), Some(above().sum()), "summed in the order of the file");
    let promised: u64 =
        outcomes.iter().map(|outcome| outcome["records"].as_array().map_or(0, Vec::len) as u64).sum();
    assert_eq!(promised, output.records().len() as u64, "every outcome gives what it says");
    assert_eq!(summary["process"]["ended"], 60);
    let asked: u64 = (0..2).filter_map(|at| summary["process"]["models"][at]["calls"].as_u64()).sum();
    assert_eq!(asked, cluster.counts().requests);
    let rows =
        output.rows("llamafactory/avr_sft.jsonl").len() + output.rows("llamafactory/avr_pairs.jsonl").len();
    assert_eq!(rows, output.records().len());
}

#[test]
fn three_temperatures_make_three_critiques_and_nine_improvements() {
    let (bench, cluster) = (Bench::with_prompts(20), Cluster::start(&["--malformed-rating-rate", "0"]));
    let temperatures = ["--set", "recipes.stage1.temperatures=0.3, 0.7, 1.1", "prompts.jsonl"];
    bench.run(&cluster, &temperatures).expect_code(0);
    let expected = [("draft", 1), ("critique", 3), ("improve", 9), ("score", 10)];
    let expected =
        expected.iter().flat_map(|(stage, count)| (0..*count).map(move |at| format!("{stage}-0-{at}")));
    assert_eq!(places_asked(&cluster), expected.collect());
    assert_eq!(cluster.counts().requests, 20 * 23);
    for record in bench.output().records() {
        for call in provenance(&record)["calls"].as_array().expect("a list") {
            let index = call["improvement"].as_u64().or(call["critique"].as_u64());
            let expected = index.map_or(0.7, |index| [0.3, 0.7, 1.1][index as usize]);
            assert_eq!(call["temperature"], expected, "{call}");
        }
    }
}

/// Input in the shape of the paper's prompts: `chosen` ends with the answer to refine.
fn ultrafeedback(count: usize) -> String {
    let line = |n: usize| {
        let prompt = format!("What follows {n}?");
        let turn = |answer: &str| json!([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]);
        json!({
            "prompt_id": format!("u{n}"), "prompt": prompt, "all_generated_responses": ["a", "b"],
            "all_rm_scores": [0.2, 0.1], "chosen": turn(&format!("It is {}.", n + 1)), "rejected": turn("Nothing."),
        })
    };
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}

#[test]
fn the_single_turn_shape_refines_the_answer_that_came_with_the_prompt() {
    let (bench, cluster) = (Bench::new(), Cluster::start(&[]));
    bench.write("ultra.jsonl", ultrafeedback(20));
    bench.write("bare.jsonl", r#"{"prompt": "And where no answer came?"}"#);
    let shape = ["--set", "recipes.stage1.shape=single-turn", "ultra.jsonl", "bare.jsonl"];
    bench.run(&cluster, &shape).expect_code(0);
    assert_eq!(bench.output().threads().len(), 20);
    assert_eq!(
        Output::count(&bench.output().rejects(), "reason"),
        BTreeMap::from([("no_answer".to_owned(), 1)])
    );
    assert!(places_asked(&cluster).iter().all(|place| !place.starts_with("draft")), "nothing is drafted");
    let records = bench.output().records();
    let pairs = records.iter().filter(|record| record["kind"] == "response_pair");
    let mut count = 0;
    for pair in pairs {
        let answer = pair["rejected"][0]["content"].as_str().expect("a text");
        assert!(answer.starts_with("It is "), "{answer}");
        count += 1;
    }
    assert!(count > 0, "some improvement gained");
}

#[test]
fn a_changed_recipe_is_refused_on_the_same_state_and_the_difference_named() {
    let (bench, cluster) = (Bench::with_prompts(4), Cluster::start(&[]));
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    let asked = cluster.counts();
    let changed =
        ["--set", "recipes.stage1.top_p=0.9", "--set", "recipes.stage1.critique_tries=2", "prompts.jsonl"];
    let finished = bench.run(&cluster, &changed).expect_code(2);
    finished.expect_error(&[
        "recipe stage1",
        "top_p: 0.8 before, 0.9 now",
        "critique_tries: 5 before, 2 now",
        "--out",
    ]);
    assert_eq!(cluster.counts(), asked);
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    assert_eq!(bench.output().threads().len(), 4);
}

/// A data set says whose texts it holds, whichever process wrote them.
#[test]
fn the_card_names_the_models_of_all_runs() {
    let (bench, cluster) = (Bench::with_prompts(6), Cluster::start(&[]));
    bench.run(&cluster, &["prompts.jsonl"]).expect_code(0);
    bench.write("more.jsonl", crate::support::prompts(6..20));
    let other = Cluster::start(&[
        "--generator-model",
        "simulated-other-chat",
        "--reward-model",
        "simulated-other-reward",
    ]);
    let names = [
        "--set",
        "models.generator.model=simulated-other-chat",
        "--set",
        "models.reward.model=simulated-other-reward",
        "more.jsonl",
    ];
    bench.run(&other, &names).expect_code(0);
    bench.run(&cluster, &["more.jsonl"]).expect_code(0);
    let card = std::fs::read_to_string(bench.path("out/README.md")).expect("a card");
    let both = |one: &str, other: &str| {
        let line =
            card.lines().find(|line| line.contains(&format!("`{one}` (records of "))).unwrap_or_default();
        assert!(line.contains(&format!("`{other}` (records of ")), "{card}");
    };
    both("simulated-chat", "simulated-other-chat");
    both("simulated-reward", "simulated-other-reward");
}

/// Lengths, and how many answers there are, on the page and as JSON.
#[test]
fn an_evaluation_reports_lengths_and_final_answers() {
    let (bench, cluster) = (Bench::with_prompts(30), Cluster::start(&["--malformed-rating-rate", "0.8"]));
    let arguments = ["--recipe", "evaluation", "--set", "models.generator.model=simulated-chat-long"];
    let arguments: Vec<&str> = arguments.into_iter().chain(["prompts.jsonl"]).collect();
    let summary = bench.run(&cluster, &arguments).expect_code(0).summary();
    let state = &summary["state"];
    let outputs = bench.output().value_in("model_outputs.json");
    let outputs = outputs.as_array().expect("an array");
    let chars: usize =
        outputs.iter().map(|one| one["output"].as_str().map_or(0, |text| text.chars().count())).sum();
    assert_eq!(
        (&state["outputs"]["count"], &state["outputs"]["chars"]),
        (&json!(outputs.len()), &json!(chars))
    );
    let without = state["outcomes"]["no_final_answer"].as_u64().unwrap_or(0);
    assert_eq!(outputs.len() as u64 + without, 30);
    assert!(without > 0, "most answers have no final answer, and five tries are made");
    let mut command = bench.avr(&["run", "--progress", "none", "--set", "observe.listen=127.0.0.1:0"]);
    let again = Process::start(command.args(cluster.arguments()).args(&arguments)).finish().expect_code(0);
    for line in
        ["answers", "characters an answer, on average", "instructions without a final answer, left out"]
    {
        assert!(
            again.stdout.lines().any(|shown| shown.trim_end().ends_with(line)),
            "{line}:\n{}",
            again.stdout
        );
    }
}
