//! Export as the engine's sink: selection results, dead letters and rejects become lines of files, as part of the commit
//! that marks them done.
//!
//! [`ExportSink`] writes one set of files, for a log that one process has alone; [`ShardSink`] writes shards, for a
//! log that several share.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use super::{
    ExportOptions, Files, ShardBatch, ShardOptions, Shards, Totals,
    decode::{Entries, outcome_of},
};
use crate::{
    dead_letter::DeadLetterCause,
    engine::{Appended, Sink, SinkError},
    log::{Partition, Record},
    observe::{Metrics, OutcomeMetrics},
    record::Outcome,
};

/// What the files hold, as of the latest commit.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Of the files: over all processes. Of shards: what this process wrote.
    pub totals: Totals,
    /// Threads that had ended when this process began.
    pub ended_before: u64,
}

/// Says what was written, once it is committed.
struct Announcer {
    metrics: OutcomeMetrics,
    /// Outcomes that were appended and not committed.
    pending: Vec<Outcome>,
    written: watch::Sender<Written>,
}

impl Announcer {
    fn new(metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (written, watched) = watch::channel(Written::default());
        (Self { metrics: OutcomeMetrics::new(metrics), pending: Vec::new(), written }, watched)
    }

    fn committed(&mut self, totals: &Totals) {
        self.pending.drain(..).for_each(|outcome| self.metrics.ended(&outcome));
        self.written.send_modify(|written| written.totals.clone_from(totals));
    }
}

/// The files of the output folder.
pub struct ExportSink {
    options: ExportOptions,
    /// The open files, and the partition that carries their checkpoint.
    open: Option<(Files, Partition)>,
    announcer: Announcer,
}

impl ExportSink {
    /// A sink that opens its files when the engine knows where they were, and the totals of what is committed.
    pub fn new(options: ExportOptions, metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (announcer, watched) = Announcer::new(metrics);
        (Self { options, open: None, announcer }, watched)
    }

    fn open(&mut self) -> Result<&mut (Files, Partition), SinkError> {
        self.open.as_mut().ok_or_else(|| "the files were not restored before they were written".into())
    }
}

impl Sink for ExportSink {
    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        // The old handles hold the folder's lock.
        self.open = None;
        self.announcer.pending.clear();
        let files = Files::open(self.options.clone(), some(checkpoint))?;
        let (totals, ended_before) = (files.totals().clone(), files.totals().threads());
        self.announcer.written.send_replace(Written { totals, ended_before });
        self.open = Some((files, partition));
        Ok(())
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let mut read = Entries::default();
        records.iter().enumerate().for_each(|(place, record)| read.add(place, record));
        let Entries { entries, refused } = read;
        let (files, carrier) = self.open()?;
        let checkpoints = BTreeMap::from([(*carrier, files.append(&entries)?)]);
        self.announcer.pending = entries.into_iter().filter_map(outcome_of).collect();
        Ok(Appended { checkpoints, refused })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        if let Some((files, _)) = &mut self.open {
            files.committed();
            self.announcer.committed(files.totals());
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        self.announcer.pending.clear();
        Ok(self.open()?.0.rollback()?)
    }
}

/// The shards of the output folder.
pub struct ShardSink {
    options: ShardOptions,
    shards: Option<Shards>,
    announcer: Announcer,
}

impl ShardSink {
    /// A sink that opens its folder when the first partition is assigned, and the totals of what it committed.
    pub fn new(options: ShardOptions, metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (announcer, watched) = Announcer::new(metrics);
        (Self { options, shards: None, announcer }, watched)
    }

    fn shards(&mut self) -> Result<&mut Shards, SinkError> {
        let shards = match self.shards.take() {
            Some(shards) => shards,
            None => Shards::open(self.options.clone())?,
        };
        Ok(self.shards.insert(shards))
    }
}

impl Sink for ShardSink {
    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        Ok(self.shards()?.restore(partition, some(checkpoint))?)
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
        self.announcer.pending = entries.filter_map(outcome_of).collect();
        Ok(Appended { checkpoints, refused })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        let shards = self.shards()?;
        shards.committed()?;
        let totals = shards.totals().clone();
        self.announcer.committed(&totals);
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        self.announcer.pending.clear();
        self.shards()?.rollback();
        Ok(())
    }
}

/// A start from nothing has an empty checkpoint.
fn some(checkpoint: &str) -> Option<&str> {
    Some(checkpoint).filter(|checkpoint| !checkpoint.is_empty())
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
