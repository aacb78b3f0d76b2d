//! Every recipe from a file of prompts to files of records, over simulated models: what the dataflow gives must be
//! what the same texts give when one thread after the other is worked through by hand.

mod recipes {
    pub(crate) mod player;
}

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Once,
};

use avr::{
    config::{self, Settings},
    method::harvest,
    model::{ChatModel, RewardModel, Stop},
    observe::{Metrics, Screen},
    record::{Harvest, Message, ModelOutput, Origin, Outcome, Thread, ThreadId, TrainingRecord},
    run::{self, RunOptions},
    simulate::{Cluster, Options},
};
use recipes::player::Player;
use serde::de::DeserializeOwned;
use serde_json::json;
use tempfile::TempDir;

const PROMPTS: usize = 24;

/// A cluster, an output folder and a file of prompts.
struct Bench {
    folder: TempDir,
    cluster: Cluster,
}

impl Bench {
    async fn start() -> Self {
        static CRYPTOGRAPHY: Once = Once::new();
        CRYPTOGRAPHY.call_once(|| {
            rustls::crypto::ring::default_provider().install_default().expect("nobody else installs one");
        });
        let mut options = Options::default();
        options.text.mean_tokens = 40.0;
        options.text.malformed_rating_rate = 0.2;
        let cluster = Cluster::start(options).await.expect("free ports");
        let bench = Self { folder: TempDir::new().expect("a folder"), cluster };
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
    async fn by_hand(&self, settings: &Settings) -> Vec<Harvest> {
        let (stop, metrics) = (Stop::new(), Metrics::new());
        let chat = ChatModel::new(settings.generator.clone(), stop.clone(), &metrics).expect("a model");
        let long = ChatModel::new(settings.long.clone(), stop.clone(), &metrics).expect("a model");
        let reward = RewardModel::new(settings.reward.clone(), settings.reward_kind, stop, &metrics);
        let reward = reward.expect("a model");
        let (recipe, templates) = (&settings.recipe, &settings.templates);
        let player = Player { recipe, templates, chat: &chat, long: &long, reward: &reward };
        let mut harvests = Vec::new();
        for number in 0..PROMPTS {
            let finished = player.play(self.thread(settings, number)).await;
            harvests.push(harvest(&finished, recipe, templates));
        }
        harvests
    }

    fn thread(&self, settings: &Settings, number: usize) -> Thread {
        let thread = json!({
            "version": 1, "id": ThreadId::new(&settings.recipe.name, &format!("p{number}")),
            "recipe": settings.recipe.reference(&settings.templates),
            "origin": Origin { source: self.prompts().display().to_string(), line: number as u64 + 1 },
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
        let records = ["records/sft.jsonl", "records/pairs.jsonl"].map(|path| lines(out, path)).concat();
        let outputs = fs::read(out.join("model_outputs.json")).unwrap_or_else(|_| b"[]".to_vec());
        let outputs = serde_json::from_slice(&outputs).expect("an array");
        Self::of(lines(out, "outcomes.jsonl"), records, outputs)
    }

    fn by_hand(harvests: Vec<Harvest>) -> Self {
        let outcomes = harvests.iter().map(|harvest| harvest.outcome.clone()).collect();
        let records = harvests.iter().flat_map(|harvest| harvest.records.clone()).collect();
        Self::of(outcomes, records, harvests.into_iter().filter_map(|harvest| harvest.output).collect())
    }

    fn of(outcomes: Vec<Outcome>, records: Vec<TrainingRecord>, outputs: Vec<ModelOutput>) -> Self {
        Self {
            outcomes: outcomes.into_iter().map(|one| (one.thread.to_string(), one)).collect(),
            records: records.into_iter().map(|one| (one.id.clone(), one)).collect(),
            outputs,
        }
    }
}

/// Runs a recipe both ways and gives what came of it.
async fn check(recipe: &str) -> Found {
    let bench = Bench::start().await;
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
    let recipe = "recipe = \"lean\"\n[recipes.lean]\nbase = \"stage2\"\nlosing_texts_bytes = 0\nrounds = 3\nanswer = \"draft\"";
    let found = check(recipe).await;
    assert!(!found.records.is_empty());
}

#[tokio::test]
async fn long_pairs_have_a_better_and_a_worse_side() {
    let found = check("recipe = \"long-pairs\"").await;
    assert!(!found.records.is_empty());
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
