//! What is done with dead letters: sent back or dropped, each in one commit with the entry that says so.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{
    DeadLetter, DeadLetterFilter, DeadLetterId, NotRetryable, headers::sent_back, list::read_handled,
};
use crate::{
    log::{Log, LogError, Output, Record, StandaloneCommit, StandaloneCommitter},
    record::{HandledAction, HandledLetter},
    topic::{DEAD_LETTERS, HANDLED},
};

/// The committer's name. Of two that handle dead letters at once the later goes first.
pub const DEAD_LETTERS_COMMITTER: &str = "dead-letters";
/// What one commit holds at most.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// Payloads that are held at once; where there are more, the dead letters are gone through again.
const PASS_BYTES: usize = 64 << 20;

/// What to do with dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handling {
    /// What.
    pub action: HandledAction,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The time of it, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandlingReport {
    /// Those that were handled now; or would be, in a dry run.
    pub done: Vec<DeadLetterId>,
    /// Those that were asked for by their id and had been handled before.
    pub before: Vec<DeadLetterId>,
    /// Those that were asked for by their id and are not there.
    pub missing: Vec<DeadLetterId>,
    /// Those that cannot be sent back, and why.
    pub not_retryable: BTreeMap<DeadLetterId, NotRetryable>,
}

/// The log failed before all was done. The same command again handles the rest.
#[derive(Debug, thiserror::Error)]
#[error("{error}; {done} dead letters were handled before: run the same command again for the rest")]
pub struct HandleError {
    /// How many were handled.
    done: usize,
    /// What the log said.
    error: LogError,
}

/// What one commit is to hold for a dead letter.
struct Prepared {
    id: DeadLetterId,
    outputs: Vec<Output>,
}

impl Prepared {
    fn size(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }
}

/// Handles the dead letters that match and were not handled before, batch by batch. Killed in the middle and called
/// again, it sends nothing back twice. Where another process does the same, each lets the other work for a while.
///
/// # Errors
/// The log fails. What was handled before that is done.
pub async fn handle<L: Log>(
    log: &L,
    filter: &DeadLetterFilter,
    handling: Handling,
) -> Result<HandlingReport, HandleError> {
    let mut report = HandlingReport::default();
    match handle_all(log, filter, handling, &mut report).await {
        Ok(()) => Ok(report),
        Err(error) => Err(HandleError { done: report.done.len(), error }),
    }
}

async fn handle_all<L: Log>(
    log: &L,
    filter: &DeadLetterFilter,
    handling: Handling,
    report: &mut HandlingReport,
) -> Result<(), LogError> {
    // Before anything is read: what an earlier process had under way is decided by then. A look alone must not fence
    // one that is at work.
    let mut committer = match handling.dry_run {
        true => None,
        false => Some(StandaloneCommitter::start(log.clone(), DEAD_LETTERS_COMMITTER).await?),
    };
    let mut in_doubt = Vec::new();
    loop {
        let handled = read_handled(log).await?;
        report.done.extend(in_doubt.drain(..).filter(|id| handled.contains_key(id)));
        let pass = read_pass(log, &handled, filter, handling, report).await?;
        let Some(committer) = &mut committer else {
            report.done = pass.prepared.into_iter().map(|prepared| prepared.id).collect();
            return Ok(());
        };
        match commit_all(committer, pass.prepared, report).await? {
            None if pass.is_last => return Ok(()),
            None => {}
            Some(ids) => in_doubt = ids,
        }
    }
}

/// Dead letters to be handled next.
struct Pass {
    prepared: Vec<Prepared>,
    is_last: bool,
}

/// Reads dead letters up to what may be held at once.
async fn read_pass<L: Log>(
    log: &L,
    handled: &BTreeMap<DeadLetterId, HandledLetter>,
    filter: &DeadLetterFilter,
    handling: Handling,
    report: &mut HandlingReport,
) -> Result<Pass, LogError> {
    let mut pass = Pass { prepared: Vec::new(), is_last: true };
    let mut bytes = 0;
    report.before.clear();
    report.missing = match filter {
        DeadLetterFilter::Ids(ids) => ids.iter().copied().collect(),
        DeadLetterFilter::Matching { .. } => vec![],
    };
    let mut visit = |record: Record| {
        let dead_letter = DeadLetter::of(&record);
        let id = dead_letter.id;
        report.missing.retain(|missing| *missing != id);
        if !filter.matches(&dead_letter) {
            return;
        }
        if handled.contains_key(&id) {
            if matches!(filter, DeadLetterFilter::Ids(_)) && !report.done.contains(&id) {
                report.before.push(id);
            }
            return;
        }
        if bytes > PASS_BYTES {
            pass.is_last = false;
            return;
        }
        match prepare(&record, &dead_letter, handling) {
            Ok(mut prepared) => {
                if handling.dry_run {
                    prepared.outputs.clear();
                }
                bytes += prepared.size();
                pass.prepared.push(prepared);
            }
            Err(why) => drop(report.not_retryable.insert(id, why)),
        }
    };
    log.scan(DEAD_LETTERS, &mut visit).await?;
    Ok(pass)
}

fn prepare(record: &Record, dead_letter: &DeadLetter, handling: Handling) -> Result<Prepared, NotRetryable> {
    let mut outputs = match handling.action {
        HandledAction::Retried => vec![sent_back(record, dead_letter.returns_to()?)],
        HandledAction::Dropped => vec![],
    };
    outputs.push(entry(dead_letter, handling));
    Ok(Prepared { id: dead_letter.id, outputs })
}

/// The entry that says what was done.
fn entry(dead_letter: &DeadLetter, Handling { action, at_ms, .. }: Handling) -> Output {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let handled = HandledLetter {
        letter: dead_letter.id.to_string(),
        action,
        at_ms,
        thread: some(&dead_letter.thread),
        stage: some(&dead_letter.headers.stage),
        kind: some(&dead_letter.headers.kind),
    };
    let value = serde_json::to_vec(&handled).expect("its keys are strings");
    Output {
        topic: HANDLED.name,
        key: Some(Bytes::from(handled.letter)),
        value: Some(value.into()),
        headers: vec![],
    }
}

/// Commits batch by batch. Where the log must be read again before the rest, gives the batch whose commit was in doubt.
async fn commit_all<L: Log>(
    committer: &mut StandaloneCommitter<L>,
    prepared: Vec<Prepared>,
    report: &mut HandlingReport,
) -> Result<Option<Vec<DeadLetterId>>, LogError> {
    let mut batch: Vec<Prepared> = Vec::new();
    let mut prepared = prepared.into_iter().peekable();
    while let Some(next) = prepared.next() {
        batch.push(next);
        let size: usize = batch.iter().map(Prepared::size).sum();
        let is_full = batch.len() >= BATCH_RECORDS || size >= BATCH_BYTES;
        if !is_full && prepared.peek().is_some() {
            continue;
        }
        let batch = std::mem::take(&mut batch);
        let ids: Vec<DeadLetterId> = batch.iter().map(|prepared| prepared.id).collect();
        let outputs = batch.into_iter().flat_map(|prepared| prepared.outputs).collect();
        match committer.commit(outputs).await? {
            StandaloneCommit::Committed => report.done.extend(ids),
            StandaloneCommit::Doubtful => return Ok(Some(ids)),
            StandaloneCommit::TakenOver => return Ok(Some(vec![])),
        }
    }
    Ok(None)
}
