//! Every recipe from a file of prompts to files of records, over simulated models: what the dataflow gives must be
//! what the same texts give when one thread after the other is worked through by hand.

mod player;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Once,
};

use avr::{
    command::run::{self, RunOptions},
    config::{self, Settings},
    method::select_records,
    model::{ChatModel, RewardModel, StopSignal},
    observe::Metrics,
    record::{
        Extra, Message, ModelOutput, Origin, Outcome, RecordKind, SelectionResult, Thread, ThreadId,
        TrainingRecord,
    },
    simulate::{Cluster, Options},
    terminal::Screen,
};
use player::Player;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROMPTS: usize = 24;

/// A cluster, an output folder and a file of prompts.
struct Bench {
    folder: TempDir,
    cluster: Cluster,
    samples_per_request: u32,
}

impl Bench {
    async fn start() -> Self {
        Self::with_most_choices(1024).await
    }

    /// A bench whose servers give this many choices to one request at most.
    async fn with_most_choices(most_choices: u16) -> Self {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| {
            rustls::crypto::ring::default_provider().install_default().expect("nobody else installs one");
        });
        let mut options = Options::default();
        options.text.mean_tokens = 40.0;
        options.text.malformed_rating_rate = 0.2;
        options.most_choices = most_choices;
        let cluster = Cluster::start(options).await.expect("free ports");
        let bench = Self { folder: TempDir::new().expect("a folder"), cluster, samples_per_request: 1 };
        let lines: String = (0..PROMPTS).map(|number| line(number) + "\n").collect();
        fs::write(bench.prompts(), lines).expect("writable");
        bench
    }

    fn prompts(&self) -> PathBuf {
        self.folder.path().join("prompts.jsonl")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// The settings of a run with this text in its configuration.
    fn settings(&self, recipe: &str) -> Settings {
        let file = self.folder.path().join("avr.toml");
        let model = |role: &str, name: &str, urls: &[String]| {
            format!("[models.{role}]\nmodel = {name:?}\nurls = {urls:?}\n")
        };
        let (chat, reward) = (self.cluster.generator_urls(), self.cluster.reward_urls());
        let toml = [
            format!("out = {:?}\n{recipe}\n", self.out().display().to_string()),
            "[observe]\nlisten = \"127.0.0.1:0\"\nprogress = \"none\"\n[log]\ndurability = \"interval\"\n"
                .to_owned(),
            model("generator", "simulated-chat", chat),
            model("long", "simulated-chat-long", chat),
            format!("samples_per_request = {}\n", self.samples_per_request),
            model("reward", "simulated-reward", reward),
        ];
        fs::write(&file, toml.concat()).expect("writable");
        config::load(Some(&file), vec![]).unwrap_or_else(|error| panic!("{error}")).0
    }

    async fn run(&self, settings: Settings) {
        let files = vec![self.prompts().display().to_string()];
        let options = RunOptions { files, ..RunOptions::default() };
        run::run(settings, options, &Screen::stderr()).await.expect("the run ends");
    }

    /// What the recipe gives when it is played by hand.
    async fn by_hand(&self, settings: &Settings) -> Vec<SelectionResult> {
        let (stop, metrics) = (StopSignal::new(), Metrics::new());
        let chat = ChatModel::new(settings.generator.clone(), stop.clone(), &metrics).expect("a model");
        let long = ChatModel::new(settings.long.clone(), stop.clone(), &metrics).expect("a model");
        let reward = RewardModel::new(settings.reward.clone(), settings.reward_kind, stop, &metrics);
        let reward = reward.expect("a model");
        let (recipe, templates) = (&settings.recipe, &settings.templates);
        let player = Player { recipe, templates, chat: &chat, long: &long, reward: &reward };
        let mut results = Vec::new();
        for number in 0..PROMPTS {
            let finished = player.play(self.thread(settings, number)).await;
            results.push(select_records(&finished, recipe, templates));
        }
        results
    }

    fn thread(&self, settings: &Settings, number: usize) -> Thread {
        let thread = json!({
            "version": 1, "id": ThreadId::new(&settings.recipe.name, &format!("p{number}")),
            "recipe": settings.recipe.reference(&settings.templates),
            "origin": Origin { source: self.prompts().display().to_string(), line: number as u64 + 1, extra: Extra::new() },
            "prompt": [Message::user(question(number))], "given_answer": given(number),
            "answer": null, "rounds": [],
        });
        serde_json::from_value(thread).expect("a thread as it was written before there were long answers")
    }
}

fn question(number: usize) -> String {
    format!("How does thing number {number} work?")
}

fn given(number: usize) -> String {
    format!("Thing number {number} works by itself.")
}

fn line(number: usize) -> String {
    let turns = [Message::user(question(number)), Message::assistant(given(number))];
    json!({"prompt_id": format!("p{number}"), "messages": turns}).to_string()
}

fn lines<T: DeserializeOwned>(out: &Path, path: &str) -> Vec<T> {
    let text = fs::read_to_string(out.join(path)).expect(path);
    text.lines().map(|line| serde_json::from_str(line).expect("a line")).collect()
}

/// Everything that a run's files hold, by the id of what it is.
#[derive(Debug, PartialEq)]
struct Found {
    outcomes: BTreeMap<String, Outcome>,
    records: BTreeMap<String, TrainingRecord>,
    outputs: Vec<ModelOutput>,
}

impl Found {
    fn in_files(out: &Path) -> Self {
        let mut records = ["records/sft.jsonl", "records/pairs.jsonl"].map(|path| lines(out, path)).concat();
        records.extend(lines(out, "records/kto.jsonl").into_iter().map(as_record));
        let outputs = fs::read(out.join("model_outputs.json")).unwrap_or_else(|_| b"[]".to_vec());
        let outputs = serde_json::from_slice(&outputs).expect("an array");
        Self::of(lines(out, "outcomes.jsonl"), records, outputs)
    }

    fn by_hand(results: Vec<SelectionResult>) -> Self {
        let outcomes = results.iter().map(|result| result.outcome.clone()).collect();
        let records = results.iter().flat_map(|result| result.records.clone()).collect();
        Self::of(outcomes, records, results.into_iter().filter_map(|result| result.output).collect())
    }

    fn of(outcomes: Vec<Outcome>, records: Vec<TrainingRecord>, outputs: Vec<ModelOutput>) -> Self {
        Self {
            outcomes: outcomes.into_iter().map(|one| (one.thread.to_string(), one)).collect(),
            records: records.into_iter().map(|one| (one.id.clone(), one)).collect(),
            outputs,
        }
    }
}

/// A labelled answer as selection made it, from its canonical line.
fn as_record(mut line: Value) -> TrainingRecord {
    let completion = line["rewards"]["completion"].take();
    line["rewards"] = json!({"answer": line["rewards"]["answer"], "chosen": completion, "rejected": null});
    (line["chosen"], line["rejected"]) = (line["completion"].take(), json!([]));
    serde_json::from_value(line).expect("a record")
}

/// Runs a recipe both ways and gives what came of it.
async fn check(recipe: &str) -> Found {
    check_on(&Bench::start().await, recipe).await
}

async fn check_on(bench: &Bench, recipe: &str) -> Found {
    bench.run(bench.settings(recipe)).await;
    let found = Found::in_files(&bench.out());
    let expected = Found::by_hand(bench.by_hand(&bench.settings(recipe)).await);
    assert_eq!(found.outcomes.len(), PROMPTS);
    assert_eq!(found, expected, "{recipe}");
    found
}

#[tokio::test]
async fn stage1_gives_what_the_rules_give() {
    let found = check("recipe = \"stage1\"").await;
    assert!(found.records.len() > PROMPTS);
}

#[tokio::test]
async fn stage2_goes_round_until_nothing_gains() {
    let found = check("recipe = \"stage2\"").await;
    let rounds: Vec<u32> = found.outcomes.values().map(|outcome| outcome.rounds).collect();
    assert!(rounds.contains(&1) && rounds.iter().any(|rounds| *rounds > 2), "{rounds:?}");
    assert!(found.records.values().all(|record| record.kind.as_str() == "long_sft"));
}

#[tokio::test]
async fn texts_that_lost_may_be_dropped() {
    let recipe = "recipe = \"lean\"\n[recipes.lean]\nbase = \"stage2\"\nprune_above_bytes = 0\nrounds = 3\nanswer = \"draft\"";
    let found = check(recipe).await;
    assert!(!found.records.is_empty());
}

#[tokio::test]
async fn long_pairs_have_a_better_and_a_worse_side() {
    let found = check("recipe = \"long-pairs\"").await;
    assert!(!found.records.is_empty());
}

/// Servers that know `n`, one that gives fewer choices than are asked for, and one that passes over `n`.
#[tokio::test]
async fn long_answers_may_be_asked_for_together() {
    for (samples_per_request, most_choices) in [(5, 1024), (3, 1024), (5, 2), (2, 1)] {
        let bench = Bench { samples_per_request, ..Bench::with_most_choices(most_choices).await };
        let found = check_on(&bench, "recipe = \"long-pairs\"").await;
        assert!(!found.records.is_empty());
        let given = samples_per_request.min(u32::from(most_choices));
        let from_choices =
            found.records.values().filter(|record| record.provenance.contains("\"choice\":")).count();
        assert_eq!(
            from_choices > 0,
            given > 1,
            "{samples_per_request} asked for, {most_choices} given at most"
        );
    }
}

#[tokio::test]
async fn fusion_pairs_the_fused_answer_with_the_worse_draft() {
    let found = check("recipe = \"fusion\"").await;
    let reasons: Vec<&str> = found.outcomes.values().map(|outcome| outcome.reason.as_str()).collect();
    for reason in ["selected", "verdicts_disagree", "no_gain"] {
        assert!(reasons.contains(&reason), "{reason}: {reasons:?}");
    }
}

#[tokio::test]
async fn the_first_of_two_drafts_may_be_the_prompts_own_answer() {
    let found =
        check("recipe = \"own\"\n[recipes.own]\nbase = \"fusion\"\nanswer = \"given\"\npairs = \"all\"")
            .await;
    let is_given = |message: &Message| message.content.starts_with("Thing number");
    assert!(found.records.values().any(|record| record.rejected.iter().any(is_given)));
}

#[tokio::test]
async fn selection_beyond_the_paper_gives_every_kind_it_is_asked_for() {
    let recipe = "recipe = \"wide\"\n[recipes.wide]\nbase = \"stage1\"\npairs = \"all\"\nmax_pairs = 3\n\
                  records = [\"response_pair\", \"critique_pair\", \"improvement_pair\", \"kto\", \"reward_pair\"]";
    let found = check(recipe).await;
    let count = |kind: RecordKind| found.records.values().filter(|record| record.kind == kind).count();
    assert!(RecordKind::all().filter(|kind| count(*kind) > 0).count() == 5, "{:?}", found.records.keys());
    let labels: Vec<_> = found.records.values().filter_map(|record| record.label).collect();
    assert!(labels.contains(&true) && labels.contains(&false));
}

#[tokio::test]
async fn evaluation_answers_every_instruction_that_has_a_final_answer() {
    let found = check("recipe = \"evaluation\"").await;
    assert!(found.outputs.len() > PROMPTS / 2);
}

#[tokio::test]
async fn evaluation_refines_a_plain_answer_without_a_reward() {
    let found = check("recipe = \"evaluation\"\n[evaluation]\nrounds = 2").await;
    assert_eq!(found.outputs.len(), PROMPTS);
}
