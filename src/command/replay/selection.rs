//! The work itself: from each kept thread to its lines.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ReplayError;
use crate::{
    app::Shutdown,
    config::Settings,
    export::{BadSelectionResult, Entry, ExportError, Files, RawSelectionResult, Totals},
    log::{Log, LogError, Record},
    method::{Recipe, Templates, select_records},
    record::{RecipeRef, SCHEMA_VERSION, SelectionResult, Thread, ThreadId},
    topic::{SCORED, TopicName},
};

/// Where finished threads lie.
pub(super) const SOURCE: TopicName = SCORED.name;

/// Bytes of selection results in one write to the files.
const BATCH_BYTES: usize = 4 << 20;

/// Threads that were met.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Selected from.
    pub(super) kept: u64,
    /// Not to be understood.
    pub(super) unreadable: u64,
    /// Of another recipe.
    pub(super) of_other_recipes: u64,
    /// Met before.
    pub(super) again: u64,
}

impl Counts {
    fn is_empty(&self) -> bool {
        self.kept + self.unreadable + self.of_other_recipes + self.again == 0
    }
}

/// What was made of them.
pub(super) struct Selected {
    pub(super) totals: Totals,
    pub(super) counts: Counts,
    /// Whether the process was told to stop before all were selected from.
    pub(super) interrupted: bool,
}

/// How many threads the log has had among its finished ones, at most.
pub(super) async fn kept<L: Log>(log: &L) -> Result<u64, LogError> {
    let ends = log.ends(SOURCE).await?;
    Ok(ends.iter().filter_map(|(_, end)| u64::try_from(*end).ok()).sum())
}

/// Selects from threads as they come.
pub(super) struct Selection {
    recipe: Recipe,
    templates: Templates,
    /// What the threads follow.
    source: RecipeRef,
    /// What their records are made by.
    reference: RecipeRef,
    files: Files,
    /// Harvests, as the records topic holds them.
    batch: Vec<Vec<u8>>,
    batch_bytes: usize,
    /// Hashes of the threads met so far: 16 bytes of memory for each.
    seen: HashSet<u128>,
    counts: Counts,
    /// How many were met, for the display.
    done: Arc<AtomicU64>,
}

impl Selection {
    pub(super) fn new(settings: &Settings, source: RecipeRef, files: Files, done: Arc<AtomicU64>) -> Self {
        Self {
            recipe: settings.recipe.clone(),
            templates: settings.templates.clone(),
            source,
            reference: settings.recipe.reference(&settings.templates),
            files,
            batch: vec![],
            batch_bytes: 0,
            seen: HashSet::new(),
            counts: Counts::default(),
            done,
        }
    }

    /// Goes through all that the log keeps, until the process is told to stop. Writes to files in between, so it belongs on
    /// an OS thread that may block.
    pub(super) async fn scan<L: Log>(
        mut self,
        log: &L,
        shutdown: &Shutdown,
    ) -> Result<Selected, ReplayError> {
        let mut failure = None;
        let mut visit = |record: Record| {
            if failure.is_none() && !shutdown.is_asked() {
                failure = self.visit(&record).err();
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let scanned = shutdown.unless_asked(log.scan(SOURCE, &mut visit)).await;
        if let Some(error) = failure {
            return Err(error.into());
        }
        let interrupted = scanned.transpose()?.is_none() || shutdown.is_asked();
        if self.counts.is_empty() && !interrupted {
            return Err(ReplayError::NothingKept);
        }
        self.write()?;
        Ok(Selected { totals: self.files.totals().clone(), counts: self.counts, interrupted })
    }

    fn visit(&mut self, record: &Record) -> Result<(), ExportError> {
        let Some(thread) = self.thread(record) else { return Ok(()) };
        match encoded(&select_records(&thread, &self.recipe, &self.templates)) {
            Ok(bytes) => {
                self.counts.kept += 1;
                self.batch_bytes += bytes.len();
                self.batch.push(bytes);
            }
            Err(error) => self.unreadable(record, &error.to_string()),
        }
        if self.batch_bytes < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    /// The thread in a record, if it is one to select from.
    fn thread(&mut self, record: &Record) -> Option<Thread> {
        let thread: Thread = match serde_json::from_slice(record.value.as_deref().unwrap_or_default()) {
            Ok(thread) => thread,
            Err(error) => {
                self.unreadable(record, &error.to_string());
                return None;
            }
        };
        if thread.version > SCHEMA_VERSION {
            self.unreadable(record, &format!("schema {}; this avr knows {SCHEMA_VERSION}", thread.version));
            None
        } else if thread.recipe != self.source {
            self.counts.of_other_recipes += 1;
            None
        } else if !self.seen.insert(short_hash(&thread.id)) {
            // It came back from the dead letters: the same texts, so the first will do.
            self.counts.again += 1;
            None
        } else {
            Some(Thread { recipe: self.reference.clone(), ..thread })
        }
    }

    fn unreadable(&mut self, record: &Record, error: &str) {
        let (partition, offset) = (record.partition, record.offset);
        tracing::warn!(%partition, offset, error, "a thread cannot be read and is left out");
        self.counts.unreadable += 1;
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let batch = std::mem::take(&mut self.batch);
        let parsed = batch.iter().filter_map(|result| RawSelectionResult::parse(result).ok());
        let entries: Vec<_> = parsed.map(Entry::Selected).collect();
        self.files.append(&entries)?;
        self.files.committed();
        self.batch_bytes = 0;
        Ok(())
    }
}

/// A selection result as the records topic holds it, if it can be written from there.
fn encoded(result: &SelectionResult) -> Result<Vec<u8>, BadSelectionResult> {
    let bytes = serde_json::to_vec(result)?;
    RawSelectionResult::parse(&bytes)?;
    Ok(bytes)
}

fn short_hash(id: &ThreadId) -> u128 {
    let mut short = [0; 16];
    blake3::Hasher::new().update(id.as_str().as_bytes()).finalize_xof().fill(&mut short);
    u128::from_le_bytes(short)
}
