//! What a log says at one moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    clock::now_ms,
    dataflow::stage_names,
    dead_letter::DeadLetterCounts,
    log::{Log, LogError, Partition, Record},
    pipeline::backlog::{self, Behind, Left},
    record::WorkerStatus,
    topic::WORKERS,
};

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
    pub dead_letters: DeadLetterCounts,
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

impl Sample {
    /// Takes a sample. What has not changed since the one before is not read again.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn take<L: Log>(log: &L, before: Option<&Self>) -> Result<Self, LogError> {
        let mut behind = Vec::new();
        for stage in stage_names() {
            behind.push(backlog::behind(log, stage).await?);
        }
        let left = backlog::left(log, &behind.concat()).await?;
        let mut left = left.into_iter();
        let stages = stage_names().zip(behind).map(|(name, behind)| {
            let left = left.by_ref().take(behind.len()).collect();
            StageSample { name, behind, left }
        });
        let stages = stages.collect();
        let workers = workers(log).await?;
        let dead_letters = DeadLetterCounts::read(log, before.map(|before| &before.dead_letters)).await?;
        Ok(Self { at: Instant::now(), at_ms: now_ms(), stages, workers, dead_letters })
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
