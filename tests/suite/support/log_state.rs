//! What the log of a stopped run holds: how many steps of each thread are committed.

use std::collections::HashMap;

use avr::{
    log::{
        Log, Record,
        embedded::{EmbeddedLog, Options, TopicSpec},
    },
    method::CallSite,
    record::ThreadId,
    topic::{CRITIQUED, DRAFTED, IMPROVED, PROMPTS, RECORDS, SCORED, TopicName, catalogue},
};

use serde_json::Value;

use super::Output;

/// The topics in which a thread stands between its steps.
pub(crate) const TOPICS: [TopicName; 6] =
    [PROMPTS.name, DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name, RECORDS.name];

/// The stages that call models in each round; before the first round comes the draft.
const ROUND: [&str; 3] = ["critique", "improve", "score"];

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

/// What the log and the files of a folder tell while no process has them.
pub(crate) fn reached(output: &Output) -> Reached {
    let topics = catalogue().iter().map(|(name, info)| TopicSpec {
        name: *name,
        partitions: 1,
        retention: info.retention,
    });
    let topics: Vec<_> = topics.collect();
    let log = EmbeddedLog::open(&output.state(), &topics, Options::default()).expect("no process has it");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut reached = runtime.block_on(Reached::in_log(&log, |_| true));
    for outcome in output.outcomes_so_far() {
        let rounds = outcome["rounds"].as_u64().expect("a count") as usize;
        let thread = outcome["thread"].as_str().expect("an id");
        reached.note(&calls_of(thread), steps_behind(RECORDS.name, rounds));
    }
    reached
}

/// How many steps of each thread are committed, as far as it is known, by how the ids of the thread's calls begin.
///
/// A thread stands in the topic behind its latest committed step until the commit of the next one; a thread with an
/// outcome has been through them all. Topics may still hold what was consumed, so the one that is furthest counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(HashMap<String, usize>);

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
                reached.note(&calls_of(&key), steps_behind(topic, rounds_in(&value)));
            };
            log.scan(topic, &mut note).await.expect("readable");
        }
        reached
    }

    /// So many steps of the thread whose calls begin so are committed, at least.
    pub(crate) fn note(&mut self, calls: &str, steps: usize) {
        match self.0.get_mut(calls) {
            Some(furthest) => *furthest = steps.max(*furthest),
            None => _ = self.0.insert(calls.to_owned(), steps),
        }
    }

    /// Whether the step of a call, by the call's id, is committed.
    pub(crate) fn has_step_of(&self, call: &str) -> bool {
        let mut parts = call.split('-');
        let (thread, stage) = (parts.next().expect("a thread"), parts.next().expect("a stage"));
        let round: usize = parts.next().and_then(|round| round.parse().ok()).expect("a round");
        let in_round = ROUND.iter().position(|calling| *calling == stage);
        assert!(stage == "draft" || in_round.is_some(), "{call}");
        let before = in_round.map_or(0, |nth| 1 + ROUND.len() * round + nth);
        self.0.get(thread).is_some_and(|reached| *reached > before)
    }
}

impl FromIterator<(String, usize)> for Reached {
    fn from_iter<I: IntoIterator<Item = (String, usize)>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// How the ids of a thread's calls begin.
pub(crate) fn calls_of(thread: &str) -> String {
    let (recipe, input) = thread.split_once(':').expect("recipe and input");
    let thread = ThreadId::new(recipe, input);
    let site = CallSite { thread: &thread, stage: "draft", round: 0, index: 0, earlier_tries: 0 };
    site.request_id().split('-').next().expect("a thread").to_owned()
}

/// Rounds of a thread, or of a selection result's outcome.
fn rounds_in(payload: &Value) -> usize {
    match payload["rounds"].as_array() {
        Some(rounds) => rounds.len(),
        None => payload["outcome"]["rounds"].as_u64().expect("a count") as usize,
    }
}
