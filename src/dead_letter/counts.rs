//! How many dead letters wait for somebody, for those who look again and again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{DeadLetterHeaders, DeadLetterId};
use crate::{
    log::{Log, LogError, Partition, Record},
    topic::{DEAD_LETTERS, HANDLED},
};

/// Dead letters that are read one by one to tell their kinds, at most.
const MOST_READ: u64 = 20_000;

/// How many dead letters nobody has handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// The ends of the two topics that it was read from.
    ends: Vec<(Partition, i64)>,
    /// How many; where there are too many to be read one by one, about how many at most.
    pub waiting: u64,
    /// How many of each stage and kind of error; none where there are too many to be read one by one.
    pub by_kind: Option<BTreeMap<(String, String), u64>>,
}

impl DeadLetterCounts {
    /// Counts them. Where the log has not changed since `before`, nothing is read again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn read<L: Log>(log: &L, before: Option<&Self>) -> Result<Self, LogError> {
        let mut ends = log.ends(DEAD_LETTERS).await?;
        let most: u64 = ends.iter().map(|(_, end)| u64::try_from(*end).unwrap_or(0)).sum();
        ends.extend(log.ends(HANDLED.name).await?);
        if let Some(before) = before.filter(|before| before.ends == ends) {
            return Ok(before.clone());
        }
        let mut handled: BTreeSet<Bytes> = BTreeSet::new();
        log.scan(HANDLED.name, &mut |record| handled.extend(record.key)).await?;
        if most > MOST_READ {
            // Entries of a topic that was deleted and made anew may be more than its dead letters.
            let waiting = most.saturating_sub(handled.len() as u64);
            return Ok(Self { ends, waiting, by_kind: None });
        }
        let mut by_kind: BTreeMap<_, u64> = BTreeMap::new();
        let mut visit = |record: Record| {
            if !handled.contains(DeadLetterId::of(&record).to_string().as_bytes()) {
                let DeadLetterHeaders { stage, kind, .. } = DeadLetterHeaders::of(&record);
                *by_kind.entry((stage, kind)).or_default() += 1;
            }
        };
        log.scan(DEAD_LETTERS, &mut visit).await?;
        Ok(Self { ends, waiting: by_kind.values().sum(), by_kind: Some(by_kind) })
    }
}
