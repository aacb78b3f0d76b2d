//! Export: selection results, dead letters and rejects become lines of files, as part of the commit that marks them done.
//!
//! [`ExportSink`] writes one set of files, for a log that one process has alone; [`ShardSink`] writes shards, for a
//! log that several share.

mod entries;
mod sharded;

use std::sync::Arc;

pub use sharded::ShardSink;
use tokio::sync::watch;

use self::entries::{Entries, outcome_of};
use crate::{
    engine::{Appended, Sink, SinkError},
    export::{ExportOptions, Files, Totals},
    log::{Partition, Record},
    observe::{Metrics, OutcomeMetrics},
    record::Outcome,
};

/// The files of the output folder, as the engine's sink.
pub struct ExportSink {
    options: ExportOptions,
    files: Option<Files>,
    /// The partition that carries the checkpoint of the files.
    checkpoint_partition: Option<Partition>,
    metrics: OutcomeMetrics,
    /// Outcomes that were appended and not committed.
    pending: Vec<Outcome>,
    written: watch::Sender<Written>,
}

/// What the files hold, as of the latest commit.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Of the files: over all processes. Of shards: what this process wrote.
    pub totals: Totals,
    /// Threads that had ended when this process began.
    pub ended_before: u64,
}

impl ExportSink {
    /// A sink that opens its files when the engine knows where they were, and the totals of what is committed.
    pub fn new(options: ExportOptions, metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (written, watched) = watch::channel(Written::default());
        let (metrics, pending) = (OutcomeMetrics::new(metrics), Vec::new());
        (Self { options, files: None, checkpoint_partition: None, metrics, pending, written }, watched)
    }

    fn files(&mut self) -> Result<&mut Files, SinkError> {
        self.files.as_mut().ok_or_else(|| "the files were not restored before they were written".into())
    }
}

impl Sink for ExportSink {
    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        // The old handles hold the folder's lock.
        self.files = None;
        self.pending.clear();
        let files =
            Files::open(self.options.clone(), Some(checkpoint).filter(|checkpoint| !checkpoint.is_empty()))?;
        let (totals, ended_before) = (files.totals().clone(), files.totals().threads());
        self.written.send_replace(Written { totals, ended_before });
        (self.files, self.checkpoint_partition) = (Some(files), Some(partition));
        Ok(())
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let mut read = Entries::default();
        records.iter().enumerate().for_each(|(place, record)| read.add(place, record));
        let Entries { entries, refused } = read;
        let checkpoint = self.files()?.append(&entries)?;
        self.pending = entries.into_iter().filter_map(outcome_of).collect();
        Ok(Appended {
            checkpoints: self.checkpoint_partition.map(|carrier| (carrier, checkpoint)).into_iter().collect(),
            refused,
        })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        if let Some(files) = &mut self.files {
            files.committed();
            self.pending.drain(..).for_each(|outcome| self.metrics.ended(&outcome));
            self.written.send_modify(|written| written.totals = files.totals().clone());
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        self.pending.clear();
        Ok(self.files()?.rollback()?)
    }
}
