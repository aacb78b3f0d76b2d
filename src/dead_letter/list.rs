//! Which dead letters there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::Serialize;

use super::DeadLetterHeaders;
use crate::{
    log::{Log, LogError, Record},
    record::{HandledAction, HandledLetter},
    topic::{DEAD_LETTERS, HANDLED, TopicName, catalogue},
};

/// Names a dead letter: its partition of the topic, a hyphen, its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId {
    partition: i32,
    offset: i64,
}

impl DeadLetterId {
    /// The id of this record of the dead letters.
    pub fn of(record: &Record) -> Self {
        Self { partition: record.partition.index, offset: record.offset }
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for DeadLetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(partition, offset)| {
            let id = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            (id.to_string() == text).then_some(id)
        });
        parsed.ok_or_else(|| "an id is PARTITION-OFFSET, as `avr dead-letters list` shows it".to_owned())
    }
}

impl Serialize for DeadLetterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is known of a dead letter without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// Its id.
    pub id: DeadLetterId,
    /// When it was written, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What its headers say.
    #[serde(flatten)]
    pub headers: DeadLetterHeaders,
    /// The thread, by the record's key.
    pub thread: String,
    /// The topic, the partition and the offset that it came from, as its headers say.
    pub origin: String,
    /// The size of the payload, in bytes.
    pub bytes: usize,
    /// What was done with it, if anything was.
    pub handled: Option<HandledLetter>,
}

impl DeadLetter {
    /// What this record of the dead letters says.
    pub fn of(record: &Record) -> Self {
        let headers = DeadLetterHeaders::of(record);
        Self {
            id: DeadLetterId::of(record),
            at_ms: record.timestamp_ms,
            thread: String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned(),
            origin: headers.origin(),
            headers,
            bytes: record.value.as_ref().map_or(0, |value| value.len()),
            handled: None,
        }
    }

    /// Where the record came from. Only a topic that a stage reads takes it back: a header is no command.
    ///
    /// # Errors
    /// The header names no such topic.
    pub fn returns_to(&self) -> Result<TopicName, NotRetryable> {
        let topic = &self.headers.topic;
        let known =
            catalogue().iter().filter(|(name, info)| *name != DEAD_LETTERS && info.groups().count() > 0);
        let mut known = known.map(|(name, _)| *name);
        known.find(|name| name.0 == topic).ok_or_else(|| NotRetryable { topic: topic.clone() })
    }
}

/// A dead letter whose record cannot be sent back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it says that it came from {topic:?}, which is no topic that a stage of avr reads; it can only be dropped"
)]
pub struct NotRetryable {
    topic: String,
}

/// Which dead letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterFilter {
    /// These.
    Ids(BTreeSet<DeadLetterId>),
    /// Those that match all that is given; all of them where nothing is.
    Matching {
        /// The stage that could not handle the record.
        stage: Option<String>,
        /// The kind of the error.
        kind: Option<String>,
    },
}

impl DeadLetterFilter {
    /// Every dead letter.
    pub const ALL: Self = Self::Matching { stage: None, kind: None };

    /// Whether this dead letter is meant.
    pub fn matches(&self, dead_letter: &DeadLetter) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        let DeadLetterHeaders { stage: its_stage, kind: its_kind, .. } = &dead_letter.headers;
        match self {
            Self::Ids(ids) => ids.contains(&dead_letter.id),
            Self::Matching { stage, kind } => fits(stage, its_stage) && fits(kind, its_kind),
        }
    }
}

/// How many dead letters there are of each stage and kind.
pub fn totals(dead_letters: &[DeadLetter]) -> BTreeMap<(&str, &str), usize> {
    let mut totals = BTreeMap::new();
    for DeadLetter { headers, .. } in dead_letters {
        *totals.entry((headers.stage.as_str(), headers.kind.as_str())).or_default() += 1;
    }
    totals
}

/// All dead letters, without their payloads, in the order of their ids, each with what was done with it.
///
/// # Errors
/// The log cannot be read.
pub async fn list<L: Log>(log: &L) -> Result<Vec<DeadLetter>, LogError> {
    let mut dead_letters = Vec::new();
    log.scan(DEAD_LETTERS, &mut |record| dead_letters.push(DeadLetter::of(&record))).await?;
    let mut handled = read_handled(log).await?;
    for dead_letter in &mut dead_letters {
        dead_letter.handled = handled.remove(&dead_letter.id);
    }
    dead_letters.sort_by_key(|dead_letter| dead_letter.id);
    Ok(dead_letters)
}

/// One dead letter and its record, payload and headers included; none where there is no such dead letter.
///
/// # Errors
/// The log cannot be read.
pub async fn show<L: Log>(log: &L, id: DeadLetterId) -> Result<Option<(DeadLetter, Record)>, LogError> {
    let mut found = None;
    let mut visit = |record: Record| {
        if DeadLetterId::of(&record) == id {
            found = Some(record);
        }
    };
    log.scan(DEAD_LETTERS, &mut visit).await?;
    let Some(record) = found else { return Ok(None) };
    let handled = read_handled(log).await?.remove(&id);
    Ok(Some((DeadLetter { handled, ..DeadLetter::of(&record) }, record)))
}

/// What was done with dead letters, as far as it can be read.
pub(super) async fn read_handled<L: Log>(log: &L) -> Result<BTreeMap<DeadLetterId, HandledLetter>, LogError> {
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
        let id = DeadLetterId { partition: 3, offset: 1704 };
        assert_eq!((id.to_string().as_str(), "3-1704".parse()), ("3-1704", Ok(id)));
        for text in ["", "3", "3-", "-1-2", "3-1704 ", "03-1704", "3-+4", "a-b"] {
            assert!(text.parse::<DeadLetterId>().is_err(), "{text:?}");
        }
    }
}
