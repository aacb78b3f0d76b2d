//! What the log of a stopped run holds: how many steps of each thread are committed.

use std::collections::{BTreeMap, BTreeSet};

use avr::{
    broker::{
        Log, Record,
        embedded::{EmbeddedLog, Options, Retention, TopicSpec},
    },
    method::CallSite,
    record::ThreadId,
    topic::{CRITIQUED, DRAFTED, IMPROVED, Keep, PROMPTS, RECORDS, SCORED, TopicName, catalogue},
};

use serde_json::Value;

use super::Output;

/// The topics in which a thread stands between its steps.
pub(crate) const TOPICS: [TopicName; 6] =
    [PROMPTS.name, DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name, RECORDS.name];

/// The stages that call models in each round; before the first round comes the draft.
const ROUND: [&str; 3] = ["critique", "improve", "score"];

/// One step of a thread that makes calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    /// How the ids of the thread's calls begin.
    thread: String,
    stage: String,
    round: usize,
}

impl Step {
    /// The step that a call belongs to, by its id.
    pub(crate) fn of_call(id: &str) -> Self {
        let mut parts = id.split('-').map(str::to_owned);
        let (thread, stage) = (parts.next().expect("a thread"), parts.next().expect("a stage"));
        assert!(stage == "draft" || ROUND.contains(&stage.as_str()), "{id}");
        let round = parts.next().and_then(|round| round.parse().ok()).expect("a round");
        Self { thread, stage, round }
    }
}

/// How many steps are behind a thread that stands in a topic with so many rounds in it: the latest round is not complete
/// before its rewards.
fn steps_behind(topic: TopicName, rounds: usize) -> usize {
    let in_round = TOPICS[2..5].iter().position(|one| *one == topic).map(|nth| nth + 1);
    match in_round {
        Some(steps) => 1 + ROUND.len() * rounds.saturating_sub(1) + steps,
        None if topic == PROMPTS.name => 0,
        None => 1 + ROUND.len() * rounds,
    }
}

/// Every step with calls whose commit is visible, read from the log and the files themselves while no process has
/// them.
pub(crate) fn steps_committed(output: &Output) -> BTreeSet<Step> {
    let topics = catalogue().iter().map(|(name, info)| {
        let retention =
            if info.retention == Keep::Consumed { Retention::Consumed } else { Retention::Forever };
        TopicSpec { name: *name, partitions: 1, retention }
    });
    let topics: Vec<_> = topics.collect();
    let log = EmbeddedLog::open(&output.state(), &topics, Options::default()).expect("no process has it");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut reached = runtime.block_on(Reached::in_log(&log, |_| true));
    for outcome in output.outcomes_so_far() {
        let rounds = outcome["rounds"].as_u64().expect("a count") as usize;
        reached.note(outcome["thread"].as_str().expect("an id"), steps_behind(RECORDS.name, rounds));
    }
    reached.steps()
}

/// How many steps of each thread are committed, as far as it is known.
///
/// A thread stands in the topic behind its latest committed step until the commit of the next one; a thread with an
/// outcome has been through them all. Topics may still hold what was consumed, so the one that is furthest counts.
#[derive(Debug, Default)]
pub(crate) struct Reached(BTreeMap<String, usize>);

impl Reached {
    /// What those records of a log tell that `counts` names.
    pub(crate) async fn in_log<L: Log>(log: &L, counts: impl Fn(&Record) -> bool + Sync) -> Self {
        let mut reached = Self::default();
        for topic in TOPICS {
            let mut note = |record: Record| {
                if !counts(&record) {
                    return;
                }
                let value: Value = serde_json::from_slice(&record.value.expect("a payload")).expect("JSON");
                let key = String::from_utf8(record.key.expect("a key").to_vec()).expect("an id");
                reached.note(&key, steps_behind(topic, rounds_in(&value)));
            };
            log.scan(topic, &mut note).await.expect("readable");
        }
        reached
    }

    fn note(&mut self, thread: &str, steps: usize) {
        let furthest = self.0.entry(thread.to_owned()).or_default();
        *furthest = steps.max(*furthest);
    }

    /// The steps with calls that are committed.
    pub(crate) fn steps(&self) -> BTreeSet<Step> {
        self.0.iter().flat_map(|(thread, steps)| steps_of(thread, *steps)).collect()
    }
}

/// Rounds of a thread, or of a harvest's outcome.
fn rounds_in(payload: &Value) -> usize {
    match payload["rounds"].as_array() {
        Some(rounds) => rounds.len(),
        None => payload["outcome"]["rounds"].as_u64().expect("a count") as usize,
    }
}

/// How the ids of a thread's calls begin.
pub(crate) fn calls_of(thread: &str) -> String {
    let (recipe, input) = thread.split_once(':').expect("recipe and input");
    let thread = ThreadId::new(recipe, input);
    let site = CallSite { thread: &thread, stage: "draft", round: 0, index: 0, attempt: 0 };
    Step::of_call(&site.request_id()).thread
}

fn steps_of(thread: &str, steps: usize) -> impl Iterator<Item = Step> {
    let thread = calls_of(thread);
    (0..steps).map(move |nth| {
        let (round, stage) = match nth.checked_sub(1) {
            None => (0, "draft"),
            Some(nth) => (nth / ROUND.len(), ROUND[nth % ROUND.len()]),
        };
        Step { thread: thread.clone(), stage: stage.to_owned(), round }
    })
}
