//! The exporter where several processes share a log: shards, each with a checkpoint of its own.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use super::{
    Written,
    entries::{Entries, outcome_of},
};
use crate::{
    dead_letter::DeadLetterCause,
    engine::{Appended, Sink, SinkError},
    export::{ShardBatch, ShardOptions, Shards},
    log::{Partition, Record},
    observe::{Metrics, OutcomeMetrics},
    record::Outcome,
};

/// The shards of the output folder, as the engine's sink.
pub struct ShardSink {
    options: ShardOptions,
    shards: Option<Shards>,
    metrics: OutcomeMetrics,
    /// Outcomes that were appended and not committed.
    pending: Vec<Outcome>,
    written: watch::Sender<Written>,
}

impl ShardSink {
    /// A sink that opens its folder when the first partition is assigned, and the totals of what it committed.
    pub fn new(options: ShardOptions, metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (written, watched) = watch::channel(Written::default());
        let metrics = OutcomeMetrics::new(metrics);
        (Self { options, shards: None, metrics, pending: Vec::new(), written }, watched)
    }

    fn shards(&mut self) -> Result<&mut Shards, SinkError> {
        if self.shards.is_none() {
            self.shards = Some(Shards::open(self.options.clone())?);
        }
        self.shards.as_mut().ok_or_else(|| "the output folder is not open".into())
    }
}

impl Sink for ShardSink {
    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        Ok(self.shards()?.restore(partition, Some(checkpoint).filter(|checkpoint| !checkpoint.is_empty()))?)
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let (batches, refused) = batches(records);
        let checkpoints = self.shards()?.append(&batches)?;
        let partitions = batches.iter().map(|batch| batch.partition);
        let checkpoints = partitions
            .zip(checkpoints)
            .filter_map(|(partition, checkpoint)| Some((partition, checkpoint?)))
            .collect();
        let entries = batches.into_iter().flat_map(|batch| batch.entries);
        self.pending = entries.filter_map(outcome_of).collect();
        Ok(Appended { checkpoints, refused })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        self.shards()?.committed()?;
        self.pending.drain(..).for_each(|outcome| self.metrics.ended(&outcome));
        let totals = self.shards()?.totals().clone();
        self.written.send_modify(|written| written.totals = totals);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        self.pending.clear();
        self.shards()?.rollback();
        Ok(())
    }
}

/// The records by partition, and those that cannot be written by their place.
fn batches(records: &[Arc<Record>]) -> (Vec<ShardBatch<'_>>, Vec<(usize, DeadLetterCause)>) {
    let mut by_partition: BTreeMap<Partition, ((i64, i64), Entries<'_>)> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        let start = || ((record.offset, record.offset), Entries::default());
        let (offsets, entries) = by_partition.entry(record.partition).or_insert_with(start);
        offsets.1 = record.offset;
        entries.add(place, record);
    }
    let mut refused = Vec::new();
    let batches = by_partition.into_iter().map(|(partition, (offsets, read))| {
        refused.extend(read.refused);
        ShardBatch { partition, offsets, entries: read.entries }
    });
    (batches.collect(), refused)
}
