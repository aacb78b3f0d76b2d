//! What the exporter's records say: entries for the files.

use super::{BadSelectionResult, Entry, RawSelectionResult};
use crate::{
    dead_letter::{DeadLetterCause, DeadLetterHeaders, retries},
    log::Record,
    method,
    record::{
        Extra, HandledAction, HandledLetter, Origin, Outcome, OutcomeReason, RecipeRef, Reject, Thread,
        ThreadId, payload_misfit, read_payload,
    },
    topic::{DEAD_LETTERS, HANDLED, RECORDS, REJECTS},
};

/// What records become in the files.
#[derive(Debug, Default)]
pub(super) struct Entries<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    /// Records that cannot be written, by their place among the others.
    pub(super) refused: Vec<(usize, DeadLetterCause)>,
}

impl<'a> Entries<'a> {
    /// Adds what the record at `place` says.
    pub(super) fn add(&mut self, place: usize, record: &'a Record) {
        match entry(record) {
            Ok(entry) => self.entries.extend(entry),
            Err(letter) => self.refused.push((place, letter)),
        }
    }
}

/// The outcome that an entry brings a thread, if it does.
pub(super) fn outcome_of(entry: Entry<'_>) -> Option<Outcome> {
    match entry {
        Entry::Selected(result) => Some(result.outcome),
        Entry::DeadLetter(outcome) => Some(outcome),
        Entry::Reject(_) | Entry::Retried => None,
    }
}

/// What a record of any of the sink's topics becomes in the files; none where it changes nothing in them.
fn entry(record: &Record) -> Result<Option<Entry<'_>>, DeadLetterCause> {
    let topic = record.partition.topic;
    if topic == DEAD_LETTERS {
        return Ok(Some(Entry::DeadLetter(outcome_of_letter(record))));
    }
    if topic == HANDLED.name {
        return handled(record);
    }
    if topic == REJECTS.name {
        return Ok(Some(Entry::Reject(read::<Reject>(record)?)));
    }
    debug_assert_eq!(topic, RECORDS.name);
    let mut result = read_result(record.value.as_deref().unwrap_or_default())?;
    result.outcome.retried = retries(record);
    Ok(Some(Entry::Selected(result)))
}

fn read_result(payload: &[u8]) -> Result<RawSelectionResult<'_>, DeadLetterCause> {
    RawSelectionResult::parse(payload).map_err(|error| {
        schema(match error {
            BadSelectionResult::Json(_) => payload_misfit::<RawSelectionResult<'_>>(payload),
            fault => fault.to_string(),
        })
    })
}

fn read<T: serde::de::DeserializeOwned>(record: &Record) -> Result<T, DeadLetterCause> {
    read_payload(record.value.as_deref().unwrap_or_default()).map_err(schema)
}

fn schema(misfit: String) -> DeadLetterCause {
    DeadLetterCause::new("schema", misfit)
}

/// A thread whose dead letter was sent back has not ended after all. One whose dead letter was dropped has.
fn handled(record: &Record) -> Result<Option<Entry<'static>>, DeadLetterCause> {
    if record.value.is_none() {
        return Ok(None);
    }
    let handled: HandledLetter = read(record)?;
    Ok((handled.action == HandledAction::Retried).then_some(Entry::Retried))
}

/// The outcome of a thread that became a dead letter, whatever of it can be read.
fn outcome_of_letter(record: &Record) -> Outcome {
    let thread: Option<Thread> = record.value.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let error = Some(DeadLetterHeaders::of(record).describe());
    let cut_off = thread.as_ref().map_or(0, method::selection::cut_off);
    let rounds = thread.as_ref().map_or(0, |thread| thread.rounds.len() as u32);
    let (id, recipe, origin) = match thread {
        Some(Thread { id, recipe, origin, .. }) => (id, recipe, origin),
        None => unreadable(record),
    };
    Outcome {
        thread: id,
        recipe,
        origin,
        reason: OutcomeReason::DeadLetter,
        records: vec![],
        withheld: Default::default(),
        rounds,
        answer_reward: None,
        best_reward: None,
        gain: None,
        cut_off,
        retried: retries(record),
        error,
    }
}

/// A thread that cannot be read is known by its key alone.
fn unreadable(record: &Record) -> (ThreadId, RecipeRef, Origin) {
    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default());
    let (recipe, input) = key.split_once(':').unwrap_or(("unknown", &key));
    (
        ThreadId::new(recipe, input),
        RecipeRef { name: recipe.to_owned(), hash: String::new(), extra: Extra::new() },
        Origin { source: String::new(), line: 0, extra: Extra::new() },
    )
}
