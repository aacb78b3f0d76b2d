//! What a shard is called, and the checkpoint that names it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::super::ExportError;
use crate::log::Partition;

/// Version of the checkpoint's own shape.
const VERSION: u32 = 1;

/// One batch of one partition, by a name that no other attempt has: `TOPIC-PARTITION-FIRST-LAST-ATTEMPT`, so that
/// names of one partition sort as its records do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShardName {
    topic: String,
    partition: i32,
    first: i64,
    last: i64,
    attempt: u64,
}

impl ShardName {
    /// The name of an attempt to write the records from `first` to `last`.
    pub(super) fn new(partition: Partition, (first, last): (i64, i64), attempt: u64) -> Self {
        Self { topic: partition.topic.0.to_owned(), partition: partition.index, first, last, attempt }
    }

    /// Whether it is a shard of this partition.
    pub(super) fn is_of(&self, partition: Partition) -> bool {
        (self.topic.as_str(), self.partition) == (partition.topic.0, partition.index)
    }

    /// Whether both are of one partition, and this one's records come earlier.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.is_beside(other) && self.last < other.first
    }

    /// Whether the other is another shard of the same partition, and its records end where this one's do or before.
    pub(super) fn reaches(&self, other: &Self) -> bool {
        self.is_beside(other) && other.last <= self.last && self != other
    }

    fn is_beside(&self, other: &Self) -> bool {
        (&self.topic, self.partition) == (&other.topic, other.partition)
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, first, last, attempt } = self;
        write!(f, "{topic}-{partition}-{first:019}-{last:019}-{attempt:016x}")
    }
}

/// A text that does not name a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAShard;

impl FromStr for ShardName {
    type Err = NotAShard;

    fn from_str(text: &str) -> Result<Self, NotAShard> {
        let mut parts = text.rsplitn(5, '-');
        let mut part = || parts.next().ok_or(NotAShard);
        let attempt = u64::from_str_radix(part()?, 16).map_err(|_| NotAShard)?;
        let last = part()?.parse().map_err(|_| NotAShard)?;
        let first = part()?.parse().map_err(|_| NotAShard)?;
        let partition = part()?.parse().map_err(|_| NotAShard)?;
        let name = Self { topic: part()?.to_owned(), partition, first, last, attempt };
        if name.to_string() == text { Ok(name) } else { Err(NotAShard) }
    }
}

/// What is committed with the progress of a partition: its latest shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardCheckpoint {
    version: u32,
    shard: String,
    /// The tables that it has rows of, as the folders in which its files come to lie.
    pub(super) tables: Vec<String>,
}

impl ShardCheckpoint {
    pub(super) fn new(shard: &ShardName, tables: Vec<String>) -> Self {
        Self { version: VERSION, shard: shard.to_string(), tables }
    }

    /// The checkpoint as compact JSON.
    pub(super) fn encode(&self) -> String {
        serde_json::to_string(self).expect("a checkpoint has only string keys")
    }

    /// # Errors
    /// The text is not such a checkpoint, or one of another version.
    pub(super) fn decode(text: &str) -> Result<(Self, ShardName), ExportError> {
        let checkpoint: Self =
            serde_json::from_str(text).map_err(|e| ExportError::Checkpoint(e.to_string()))?;
        if checkpoint.version != VERSION {
            let error = format!("it has version {}, this avr writes {VERSION}", checkpoint.version);
            return Err(ExportError::Checkpoint(error));
        }
        let name = checkpoint
            .shard
            .parse()
            .map_err(|_| ExportError::Checkpoint(format!("{} is no shard", checkpoint.shard)))?;
        Ok((checkpoint, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{DEAD_LETTERS, RECORDS};

    #[test]
    fn names_come_back_and_sort_by_offset() {
        let partition = Partition { topic: DEAD_LETTERS, index: 11 };
        let name = ShardName::new(partition, (9, 10), 0xabc);
        let text = name.to_string();
        assert_eq!(text, "dead-letters-11-0000000000000000009-0000000000000000010-0000000000000abc");
        assert_eq!(text.parse(), Ok(name.clone()));
        assert!(name.is_of(partition) && !name.is_of(Partition { index: 1, ..partition }));
        let next = ShardName::new(partition, (11, 200), 1);
        assert!(name.is_before(&next) && !next.is_before(&name) && text < next.to_string());
        assert!(next.reaches(&name) && !name.reaches(&next) && !name.reaches(&name));
        assert!(!name.is_before(&ShardName::new(Partition { topic: RECORDS.name, index: 11 }, (11, 12), 1)));
        for other in ["finished", "pipeline", "a-1-2-3-4", ""] {
            assert_eq!(other.parse::<ShardName>(), Err(NotAShard));
        }
    }

    #[test]
    fn other_checkpoints_are_refused() {
        let name = ShardName::new(Partition { topic: RECORDS.name, index: 0 }, (0, 1), 7);
        let checkpoint = ShardCheckpoint::new(&name, vec!["records/sft".into()]);
        assert_eq!(ShardCheckpoint::decode(&checkpoint.encode()).unwrap(), (checkpoint.clone(), name));
        let newer = checkpoint.encode().replace("\"version\":1", "\"version\":2");
        let wrong = checkpoint.encode().replace("records-0", "../records-0-");
        for text in ["", "{}", newer.as_str(), wrong.as_str(), r#"{"version":1,"files":{},"totals":{}}"#] {
            assert!(matches!(ShardCheckpoint::decode(text), Err(ExportError::Checkpoint(_))), "{text}");
        }
    }
}
