//! One letter, and the list of all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::Serialize;

use super::{RETRIES, dead_letter_header};
use crate::{
    log::{Log, LogError, Record},
    record::{HandledAction, HandledLetter},
    topic::{DEAD_LETTERS, HANDLED, TopicName, catalogue},
};

/// Names a letter: its partition among the dead letters, a hyphen, its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId {
    partition: i32,
    offset: i64,
}

impl LetterId {
    /// The id of the letter that this record of the dead letters is.
    pub fn of(record: &Record) -> Self {
        Self { partition: record.partition.index, offset: record.offset }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(partition, offset)| {
            let id = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (id.to_string() == text).then_some(id)
        });
        parsed.ok_or_else(|| "an id is PARTITION-OFFSET, as `avr dead-letters list` shows it".to_owned())
    }
}

impl Serialize for LetterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of a letter without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// When it was written, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// When the record failed first, in milliseconds since the Unix epoch.
    pub first_failed_at_ms: Option<i64>,
    /// The stage that could not handle the record.
    pub stage: String,
    /// What kind of error it was.
    pub kind: String,
    /// The thread, by the record's key.
    pub thread: String,
    /// What happened, in words.
    pub message: String,
    /// How often what failed was tried before it was given up: for a call of a model the requests sent.
    pub attempts: u32,
    /// How often the record had been sent back before.
    pub retries: u32,
    /// The topic, the partition and the offset that it came from, as the letter says.
    pub origin: String,
    /// The size of the payload, in bytes.
    pub bytes: usize,
    /// What was done with it, if anything was.
    pub handled: Option<HandledLetter>,
    #[serde(skip)]
    topic: String,
}

impl Letter {
    /// What the headers of this record of the dead letters say.
    pub fn of(record: &Record) -> Self {
        let connect = |name: &str| text(record, &format!("__connect.errors.{name}"));
        let number = |name| dead_letter_header(record, name).and_then(|text| text.parse::<i64>().ok());
        let count = |name| number(name).and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let topic = connect("topic");
        Self {
            id: LetterId::of(record),
            at_ms: record.timestamp_ms,
            first_failed_at_ms: number("avr.first_failed_at"),
            stage: connect("stage"),
            kind: text(record, "avr.error.kind"),
            thread: String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned(),
            message: connect("exception.message"),
            attempts: count("avr.attempts"),
            retries: count(RETRIES),
            origin: format!("{topic}/{}, offset {}", connect("partition"), connect("offset")),
            bytes: record.value.as_ref().map_or(0, |value| value.len()),
            handled: None,
            topic,
        }
    }

    /// Where the record came from. Only a topic that a stage reads takes it back: a header is no command.
    ///
    /// # Errors
    /// The header names no such topic.
    pub fn returns_to(&self) -> Result<TopicName, Unreturnable> {
        let known =
            catalogue().iter().filter(|(name, info)| *name != DEAD_LETTERS && info.groups().count() > 0);
        let mut known = known.map(|(name, _)| *name);
        known.find(|name| name.0 == self.topic).ok_or_else(|| Unreturnable { topic: self.topic.clone() })
    }
}

fn text(record: &Record, name: &str) -> String {
    dead_letter_header(record, name).unwrap_or("unknown").to_owned()
}

/// A letter whose record cannot be sent back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it says that it came from {topic:?}, which is no topic that a stage of avr reads; it can only be dropped"
)]
pub struct Unreturnable {
    topic: String,
}

/// Which letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These.
    Ids(BTreeSet<LetterId>),
    /// Those that fit all that is given; all of them where nothing is.
    Fitting {
        /// The stage that could not handle the record.
        stage: Option<String>,
        /// The kind of the error.
        kind: Option<String>,
    },
}

impl Selection {
    /// Every letter.
    pub const ALL: Self = Self::Fitting { stage: None, kind: None };

    /// Whether this letter is meant.
    pub fn takes(&self, letter: &Letter) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        match self {
            Self::Ids(ids) => ids.contains(&letter.id),
            Self::Fitting { stage, kind } => fits(stage, &letter.stage) && fits(kind, &letter.kind),
        }
    }
}

/// All letters, without their payloads, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Letters {
    /// Each of them.
    pub letters: Vec<Letter>,
}

impl Letters {
    /// How many there are of each stage and kind.
    pub fn totals(&self) -> BTreeMap<(&str, &str), usize> {
        let mut totals = BTreeMap::new();
        for letter in &self.letters {
            *totals.entry((letter.stage.as_str(), letter.kind.as_str())).or_default() += 1;
        }
        totals
    }
}

/// Reads all letters, and what was done with each.
///
/// # Errors
/// The log cannot be read.
pub async fn read_letters<L: Log>(log: &L) -> Result<Letters, LogError> {
    let mut letters = Vec::new();
    log.scan(DEAD_LETTERS, &mut |record| letters.push(Letter::of(&record))).await?;
    let mut handled = read_handled(log).await?;
    letters.iter_mut().for_each(|letter| letter.handled = handled.remove(&letter.id));
    letters.sort_by_key(|letter| letter.id);
    Ok(Letters { letters })
}

/// The record of one letter as it lies among the dead letters, payload and headers included; none where there is no
/// such letter.
///
/// # Errors
/// The log cannot be read.
pub async fn read_letter<L: Log>(log: &L, id: LetterId) -> Result<Option<Record>, LogError> {
    let mut found = None;
    let mut visit = |record: Record| {
        if LetterId::of(&record) == id {
            found = Some(record);
        }
    };
    log.scan(DEAD_LETTERS, &mut visit).await?;
    Ok(found)
}

/// What was done with letters, as far as it can be read.
pub(super) async fn read_handled<L: Log>(log: &L) -> Result<BTreeMap<LetterId, HandledLetter>, LogError> {
    let mut handled = BTreeMap::new();
    let mut visit = |record: Record| {
        let entry =
            record.value.as_deref().and_then(|value| serde_json::from_slice::<HandledLetter>(value).ok());
        let id = entry.as_ref().and_then(|entry| entry.letter.parse().ok());
        if let (Some(id), Some(entry)) = (id, entry) {
            handled.insert(id, entry);
        }
    };
    log.scan(HANDLED.name, &mut visit).await?;
    Ok(handled)
}

/// How many records were ever sent back.
///
/// # Errors
/// The log cannot be read.
pub async fn count_sent_back<L: Log>(log: &L) -> Result<u64, LogError> {
    let handled = read_handled(log).await?;
    let sent_back = handled.values().filter(|entry| entry.action == HandledAction::Retried);
    Ok(sent_back.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_nothing_else_is_one() {
        let id = LetterId { partition: 3, offset: 1704 };
        assert_eq!((id.to_string().as_str(), "3-1704".parse()), ("3-1704", Ok(id)));
        for text in ["", "3", "3-", "-1-2", "3-1704 ", "03-1704", "3-+4", "a-b"] {
            assert!(text.parse::<LetterId>().is_err(), "{text:?}");
        }
    }
}
