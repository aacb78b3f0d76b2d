//! The topics, each with its payload's type, so that reading the wrong one does not compile.
//!
//! What else there is to know of them stands in `topics/`, one file each; see [`catalogue()`].

mod catalogue;
mod schema;

use std::{fmt, marker::PhantomData};

pub use catalogue::{KafkaTopic, PartitionCount, RECORD_BYTES, Retention, TopicInfo, catalogue};
pub use schema::schema;

use crate::record::{HandledLetter, IndexEntry, Reject, SelectionResult, Thread, WorkerStatus};

/// A topic's name inside the project. A log may write it differently (a prefix, for instance).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(pub &'static str);

impl TopicName {
    /// The largest record that any topic takes: a dead letter, see [`Self::size_limit`].
    pub fn largest_limit(max_record_bytes: usize) -> usize {
        DEAD_LETTERS.size_limit(max_record_bytes)
    }

    /// The largest record that the topic takes, in bytes of key, value and headers, where the largest record of other
    /// topics is of `max_record_bytes`: a dead letter is such a record and headers of its own.
    pub fn size_limit(self, max_record_bytes: usize) -> usize {
        if self == DEAD_LETTERS { max_record_bytes + LETTER_ROOM } else { max_record_bytes }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What a dead letter may hold above the limit of other records, in bytes: the headers that say what happened.
const LETTER_ROOM: usize = 1 << 20;

/// A topic whose values are `P`, encoded as JSON.
pub struct Topic<P> {
    /// The topic's name.
    pub name: TopicName,
    payload: PhantomData<fn() -> P>,
}

impl<P> Topic<P> {
    const fn new(name: &'static str) -> Self {
        Self { name: TopicName(name), payload: PhantomData }
    }
}

/// The table of topics: for each its constant and its file in `topics/`.
macro_rules! topics {
    ($($(#[$doc:meta])* $topic:ident $(: $payload:ident)? = $name:literal;)*) => {
        $(topics!(@constant $(#[$doc])* $topic $($payload)? = $name);)*

        /// Every topic, in the order of the dataflow: its name, its payload's type, and what its file says.
        const FILES: &[(TopicName, &str, &str)] = &[$((
            TopicName($name),
            topics!(@payload $($payload)?),
            include_str!(concat!("../../topics/", $name, ".toml")),
        ),)*];
    };
    (@constant $(#[$doc:meta])* $topic:ident $payload:ident = $name:literal) => {
        $(#[$doc])*
        pub const $topic: Topic<$payload> = Topic::new($name);
    };
    (@constant $(#[$doc:meta])* $topic:ident = $name:literal) => {
        $(#[$doc])*
        pub const $topic: TopicName = TopicName($name);
    };
    (@payload $payload:ident) => { stringify!($payload) };
    (@payload) => { "bytes" };
}

topics! {
    /// Threads as they were taken in.
    PROMPTS: Thread = "prompts";
    /// Threads with an answer.
    DRAFTED: Thread = "drafted";
    /// Threads with the critiques of a round.
    CRITIQUED: Thread = "critiqued";
    /// Threads with the improvements of a round.
    IMPROVED: Thread = "improved";
    /// Threads with the rewards of a round.
    SCORED: Thread = "scored";
    /// What selection made of each thread.
    RECORDS: SelectionResult = "records";
    /// Records that a stage could not handle, as they came. Their payload is whatever it was.
    DEAD_LETTERS = "dead-letters";
    /// Lines of input that could not be used.
    REJECTS: Reject = "rejects";
    /// What was taken in: one entry for each thread and each rejected line, by id.
    INDEX: IndexEntry = "index";
    /// What was done with dead letters, by letter id.
    HANDLED: HandledLetter = "handled";
    /// How each worker is, by name.
    WORKERS: WorkerStatus = "workers";
}
