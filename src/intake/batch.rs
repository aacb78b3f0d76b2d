//! What one commit of the intake holds.

use std::collections::HashSet;

use bytes::Bytes;

use crate::{
    log::Output,
    record::{IndexEntry, Reject, Thread},
    topic::{INDEX, PROMPTS, REJECTS, TopicName},
};

/// What one commit of the intake holds.
#[derive(Default)]
pub(super) struct Batch {
    outputs: Vec<Output>,
    /// Whether the item being sorted comes for the first time: a file that grew is read again from its beginning.
    pub(super) is_new: bool,
    pub(super) new: u64,
    pub(super) known: u64,
    pub(super) reasons: Vec<String>,
    before: AttemptedKeys,
}

/// The keys of index entries that a commit of unknown outcome was to write: those that are there are this process's.
#[derive(Default)]
pub(super) struct AttemptedKeys(HashSet<Bytes>);

impl Batch {
    /// An empty batch, after an attempt at the same items.
    pub(super) fn after(before: AttemptedKeys) -> Self {
        Self { before, ..Self::default() }
    }

    /// What is to be written; the counts stay.
    pub(super) fn take_outputs(&mut self) -> Vec<Output> {
        let keys = self.outputs.iter().filter(|output| output.topic == INDEX.name);
        self.before.0.extend(keys.filter_map(|output| output.key.clone()));
        std::mem::take(&mut self.outputs)
    }

    /// What it tried to write, this time and before.
    pub(super) fn into_attempted(self) -> AttemptedKeys {
        self.before
    }

    /// A thread that the index has.
    pub(super) fn count_known(&mut self, id: &str) {
        match self.before.0.contains(id.as_bytes()) {
            true => self.new += 1,
            false => self.known += u64::from(self.is_new),
        }
    }

    /// A reject that the index has.
    pub(super) fn count_known_reject(&mut self, id: &str, reason: &str) {
        if self.before.0.contains(id.as_bytes()) {
            self.reasons.push(reason.to_owned());
        }
    }

    /// Adds a new thread; says why not if the log could not take it.
    pub(super) fn add_thread(
        &mut self,
        thread: &Thread,
        content: String,
        limit: usize,
    ) -> Result<(), String> {
        let key = Bytes::from(thread.id.as_str().to_owned());
        let prompt = output(PROMPTS.name, key.clone(), thread);
        if prompt.size() > limit {
            let size = prompt.size();
            return Err(format!(
                "a thread of {size} bytes; with room for the headers of a dead letter the log takes {limit} (log.max_record_bytes)"
            ));
        }
        let entry = IndexEntry::Thread { content, origin: thread.origin.clone() };
        self.outputs.push(prompt);
        self.outputs.push(output(INDEX.name, key, &entry));
        self.new += 1;
        Ok(())
    }

    pub(super) fn add_reject(&mut self, id: String, reject: &Reject) {
        self.reasons.push(reject.reason.clone());
        self.outputs.push(output(REJECTS.name, Bytes::from(id.clone()), reject));
        self.outputs.push(index_output(id, &IndexEntry::Reject));
    }
}

/// An entry of the index, as it is written.
pub(crate) fn index_output(key: String, entry: &IndexEntry) -> Output {
    output(INDEX.name, Bytes::from(key), entry)
}

fn output<T: serde::Serialize>(topic: TopicName, key: Bytes, payload: &T) -> Output {
    let value = serde_json::to_vec(payload).expect("texts, numbers and maps with text keys are always JSON");
    Output { topic, key: Some(key), value: Some(Bytes::from(value)), headers: vec![] }
}
