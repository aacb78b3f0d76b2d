//! What the log of a stopped run holds: how many steps of each thread are committed.

use std::collections::BTreeMap;

use avr::{
    broker::{
        Log, Record,
        embedded::{EmbeddedLog, Options, Retention, TopicSpec},
    },
    method::CallSite,
    record::ThreadId,
    topic::{CRITIQUED, DRAFTED, IMPROVED, PROMPTS, RECORDS, SCORED, TopicName},
};

use super::Output;

/// The topics in the order in which a thread passes them. Standing in the nth means: n steps are committed.
const WAY: [TopicName; 6] =
    [PROMPTS.name, DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name, RECORDS.name];

/// The stages that call models, in the order of [`WAY`].
const CALLING: [&str; 4] = ["draft", "critique", "improve", "score"];

/// One step of a thread that makes calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    /// How the ids of the thread's calls begin.
    thread: String,
    stage: String,
}

impl Step {
    /// The step that a call belongs to, by its id.
    pub(crate) fn of_call(id: &str) -> Self {
        let mut parts = id.split('-').map(str::to_owned);
        let (thread, stage) = (parts.next().expect("a thread"), parts.next().expect("a stage"));
        assert!(CALLING.contains(&stage.as_str()), "{id}");
        Self { thread, stage }
    }
}

/// Every step with calls whose commit is visible, read from the log and the files themselves while no process has
/// them.
///
/// A thread stands in the topic behind its latest committed step until the commit of the next one; a thread with an
/// outcome has been through them all. Topics may still hold what was consumed, so the last one counts.
pub(crate) fn steps_committed(output: &Output) -> Vec<Step> {
    let topics = WAY.map(|name| TopicSpec { name, partitions: 1, retention: Retention::Consumed });
    let log = EmbeddedLog::open(&output.state(), &topics, Options::default()).expect("no process has it");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut reached = BTreeMap::new();
    for (steps, topic) in WAY.into_iter().enumerate() {
        let mut note = |record: Record| {
            let key = String::from_utf8(record.key.expect("a key").to_vec()).expect("an id");
            reached.insert(key, steps);
        };
        runtime.block_on(log.scan(topic, &mut note)).expect("readable");
    }
    reached.extend(output.threads_so_far().into_iter().map(|thread| (thread, WAY.len())));
    reached.iter().flat_map(|(thread, steps)| steps_of(thread, *steps)).collect()
}

fn steps_of(thread: &str, steps: usize) -> impl Iterator<Item = Step> {
    let (recipe, input) = thread.split_once(':').expect("recipe and input");
    let thread = ThreadId::new(recipe, input);
    let site = CallSite { thread: &thread, stage: "draft", round: 0, index: 0, attempt: 0 };
    let thread = Step::of_call(&site.request_id()).thread;
    CALLING.iter().take(steps).map(move |stage| Step { thread: thread.clone(), stage: (*stage).to_owned() })
}
