//! What a log says at one moment.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    clock::now_ms,
    dataflow::STAGES,
    dead_letter::dead_letter_header,
    log::{Log, LogError, Partition, Record},
    pipeline::backlog::{self, Behind, Left},
    record::WorkerStatus,
    topic::{DEAD_LETTERS, HANDLED, WORKERS},
};

/// Letters that are read one by one to tell their kinds, at most.
const LETTERS_READ: u64 = 20_000;

/// What a log says at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When, for rates.
    pub at: Instant,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Every stage, in the order of the flow.
    pub stages: Vec<StageSample>,
    /// What each worker said last.
    pub workers: Vec<WorkerStatus>,
    /// Dead letters that wait for somebody.
    pub letters: Letters,
}

/// One stage, in all of its partitions.
#[derive(Clone, Debug)]
pub struct StageSample {
    /// Its name.
    pub name: &'static str,
    /// How far it is in each partition.
    pub behind: Vec<Behind>,
    /// What is left in each.
    pub left: Vec<Left>,
}

/// Dead letters that nobody has handled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    /// The ends of the two topics that it was read from.
    ends: Vec<(Partition, i64)>,
    /// How many.
    pub kept: u64,
    /// How many of each stage and kind of error; empty where there are too many to be read one by one, and then
    /// `kept` is a bound.
    pub by_kind: BTreeMap<(String, String), u64>,
}

impl Sample {
    /// Takes a sample. What has not changed since the one before is not read again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn take<L: Log>(log: &L, before: Option<&Self>) -> Result<Self, LogError> {
        let mut behind = Vec::new();
        for (stage, _) in STAGES {
            behind.push(backlog::behind(log, stage).await?);
        }
        let left = backlog::left(log, &behind.concat()).await?;
        let mut left = left.into_iter();
        let stages = STAGES.iter().zip(behind).map(|((name, _), behind)| {
            let left = left.by_ref().take(behind.len()).collect();
            StageSample { name, behind, left }
        });
        let stages = stages.collect();
        let workers = workers(log).await?;
        let letters = Letters::read(log, before.map(|before| &before.letters)).await?;
        Ok(Self { at: Instant::now(), at_ms: now_ms(), stages, workers, letters })
    }

    /// The end of every partition that a stage reads.
    fn ends(&self) -> BTreeMap<Partition, i64> {
        let behind = self.stages.iter().flat_map(|stage| &stage.behind);
        behind.map(|behind| (behind.partition, behind.end)).collect()
    }

    /// Whether every stage was seen with nothing left.
    fn is_idle(&self) -> bool {
        self.stages.iter().flat_map(|stage| &stage.left).all(|left| left.is_exact && left.records == 0)
    }

    /// Whether at some moment before this sample nothing was left in any stage.
    ///
    /// One look does not tell: stages are looked at one after the other, and a thread that goes round in the loop may
    /// have moved from behind the look to before it. But it would have been written to a topic that was looked at
    /// already; so where no topic has grown since a look that found nothing, nothing was left when that look ended.
    pub fn shows_that_nothing_is_left(&self, before: &Self) -> bool {
        before.is_idle() && self.is_idle() && before.ends() == self.ends()
    }
}

/// What each worker said last, by name.
async fn workers<L: Log>(log: &L) -> Result<Vec<WorkerStatus>, LogError> {
    let mut latest: BTreeMap<Bytes, Option<WorkerStatus>> = BTreeMap::new();
    let mut visit = |record: Record| {
        let status = record.value.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        latest.insert(record.key.unwrap_or_default(), status);
    };
    log.scan(WORKERS.name, &mut visit).await?;
    Ok(latest.into_values().flatten().collect())
}

impl Letters {
    async fn read<L: Log>(log: &L, before: Option<&Self>) -> Result<Self, LogError> {
        let mut ends = log.ends(DEAD_LETTERS).await?;
        let most: u64 = ends.iter().map(|(_, end)| u64::try_from(*end).unwrap_or(0)).sum();
        ends.extend(log.ends(HANDLED.name).await?);
        if let Some(before) = before.filter(|before| before.ends == ends) {
            return Ok(before.clone());
        }
        let mut handled: BTreeSet<Bytes> = BTreeSet::new();
        log.scan(HANDLED.name, &mut |record| handled.extend(record.key)).await?;
        if most > LETTERS_READ {
            return Ok(Self { ends, kept: most - handled.len() as u64, by_kind: BTreeMap::new() });
        }
        let mut by_kind = BTreeMap::new();
        let mut visit = |record: Record| {
            if !handled.contains(id_of(&record).as_bytes()) {
                let read = |name| dead_letter_header(&record, name).unwrap_or("unknown").to_owned();
                let of = (read("__connect.errors.stage"), read("avr.error.kind"));
                *by_kind.entry(of).or_default() += 1;
            }
        };
        log.scan(DEAD_LETTERS, &mut visit).await?;
        Ok(Self { ends, kept: by_kind.values().sum(), by_kind })
    }

    /// Whether they were counted; else there are at most so many.
    pub fn is_exact(&self) -> bool {
        self.kept == self.by_kind.values().sum::<u64>()
    }
}

/// The letter's id: its partition, a hyphen, its offset.
fn id_of(letter: &Record) -> String {
    format!("{}-{}", letter.partition.index, letter.offset)
}
