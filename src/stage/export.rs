//! Export: harvests, dead letters and rejects become lines of files, as part of the commit that marks them done.

use std::sync::Arc;

use tokio::sync::watch;

use super::on_threads::decode;
use crate::{
    broker::{Partition, Record},
    engine::{Appended, DeadLetter, Failure, Sink, SinkError, describe_dead_letter},
    export::{Entry, ExportOptions, Files, RawHarvest, Totals},
    method,
    observe::{Metrics, OutcomeMetrics},
    record::{Origin, Outcome, RecipeRef, Reject, Thread, ThreadId, Verdict},
    topic::{DEAD_LETTERS, REJECTS},
};

/// The files of the output folder, as the engine's sink.
pub struct ExportSink {
    options: ExportOptions,
    files: Option<Files>,
    /// Carries the note of the files.
    carrier: Option<Partition>,
    metrics: OutcomeMetrics,
    /// Outcomes that were appended and not committed.
    pending: Vec<Outcome>,
    written: watch::Sender<Written>,
}

/// What the files hold, as of the latest commit.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Over all processes.
    pub totals: Totals,
    /// Threads that had ended when this process began.
    pub ended_before: u64,
}

impl ExportSink {
    /// A sink that opens its files when the engine knows where they were, and the totals of what is committed.
    pub fn new(options: ExportOptions, metrics: &Metrics) -> (Self, watch::Receiver<Written>) {
        let (written, watched) = watch::channel(Written::default());
        let (metrics, pending) = (OutcomeMetrics::new(metrics), Vec::new());
        (Self { options, files: None, carrier: None, metrics, pending, written }, watched)
    }

    fn files(&mut self) -> Result<&mut Files, SinkError> {
        self.files.as_mut().ok_or_else(|| "the files were not restored before they were written".into())
    }
}

impl Sink for ExportSink {
    fn restore(&mut self, partition: Partition, note: &str) -> Result<(), SinkError> {
        // The old handles hold the folder's lock.
        self.files = None;
        self.pending.clear();
        let files = Files::open(self.options.clone(), Some(note).filter(|note| !note.is_empty()))?;
        let (totals, ended_before) = (files.totals().clone(), files.totals().threads());
        self.written.send_replace(Written { totals, ended_before });
        (self.files, self.carrier) = (Some(files), Some(partition));
        Ok(())
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let mut refused = Vec::new();
        let mut entries = Vec::with_capacity(records.len());
        for (at, record) in records.iter().enumerate() {
            match entry(record) {
                Ok(entry) => entries.push(entry),
                Err(letter) => refused.push((at, letter)),
            }
        }
        let note = self.files()?.append(&entries)?;
        self.pending = entries.into_iter().filter_map(outcome_of).collect();
        Ok(Appended { notes: self.carrier.map(|carrier| (carrier, note)).into_iter().collect(), refused })
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

fn outcome_of(entry: Entry<'_>) -> Option<Outcome> {
    match entry {
        Entry::Harvest(harvest) => Some(harvest.outcome),
        Entry::DeadLetter(outcome) => Some(outcome),
        Entry::Reject(_) => None,
    }
}

/// What a record of any of the sink's topics becomes in the files.
fn entry(record: &Record) -> Result<Entry<'_>, DeadLetter> {
    if record.partition.topic == DEAD_LETTERS {
        return Ok(Entry::DeadLetter(outcome_of_letter(record)));
    }
    if record.partition.topic == REJECTS.name {
        return match decode::<Reject>(record) {
            Ok(reject) => Ok(Entry::Reject(reject)),
            Err(Failure::DeadLetter(letter)) => Err(letter),
            Err(other) => Err(DeadLetter::new("schema", format!("{other:?}"))),
        };
    }
    RawHarvest::parse(record.value.as_deref().unwrap_or_default())
        .map(Entry::Harvest)
        .map_err(|error| DeadLetter::new("schema", error.to_string()))
}

/// The outcome of a thread that became a dead letter, whatever of it can be read.
fn outcome_of_letter(record: &Record) -> Outcome {
    let thread: Option<Thread> = record.value.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let error = Some(describe_dead_letter(record));
    let cut_off = thread.as_ref().map_or(0, method::provenance::cut_off);
    let rounds = thread.as_ref().map_or(0, |thread| thread.rounds.len() as u32);
    let (id, recipe, origin) = match thread {
        Some(Thread { id, recipe, origin, .. }) => (id, recipe, origin),
        None => unreadable(record),
    };
    Outcome {
        thread: id,
        recipe,
        origin,
        verdict: Verdict::DeadLetter,
        records: vec![],
        withheld: Default::default(),
        rounds,
        answer_reward: None,
        best_reward: None,
        gain: None,
        cut_off,
        error,
    }
}

/// A thread that cannot be read is known by its key alone.
fn unreadable(record: &Record) -> (ThreadId, RecipeRef, Origin) {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
    let (recipe, input) = key.split_once(':').unwrap_or(("unknown", &key));
    (
        ThreadId::new(recipe, input),
        RecipeRef { name: recipe.to_owned(), hash: String::new() },
        Origin { source: String::new(), line: 0 },
    )
}
