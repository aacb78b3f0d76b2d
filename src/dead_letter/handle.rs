//! What is done with letters: sent back or dropped, each in one commit with the entry that says so.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{Letter, LetterId, Selection, Unreturnable, letter::read_handled, sent_back};
use crate::{
    log::{CommitError, Committer, Log, LogError, LogErrorKind, Output, Record},
    record::{HandledAction, HandledLetter},
    topic::{DEAD_LETTERS, HANDLED},
};

/// The committer's identity: of two that handle letters at once the later fences the earlier.
pub const LETTERS_COMMITTER: &str = "dead-letters";
/// What one commit holds at most.
const BATCH_LETTERS: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// Payloads that are held at once; where there are more, the letters are gone through again.
const PASS_BYTES: usize = 64 << 20;
/// How often in a row a commit may not be made, or be in doubt.
const TRIES: u32 = 8;
/// The wait after the first failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// What to do with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What.
    pub action: HandledAction,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Letters that were handled now; or would be, in a dry run.
    pub done: Vec<LetterId>,
    /// Letters that were asked for by their id and had been handled before.
    pub before: Vec<LetterId>,
    /// Letters that were asked for by their id and are not there.
    pub missing: Vec<LetterId>,
    /// Letters that cannot be sent back, and why.
    pub unreturnable: BTreeMap<LetterId, Unreturnable>,
}

/// Why letters could not be handled. Those that were are told by `done`; the same command again handles the rest.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// Another process handles letters.
    #[error(
        "another `avr dead-letters` took over after {done} letters of this one; nothing is sent back twice: run the \
         same command again when it has ended"
    )]
    Fenced {
        /// How many were handled.
        done: usize,
    },
    /// The log failed.
    #[error("{error}; {done} letters were handled before: run the same command again for the rest")]
    Log {
        /// How many were handled.
        done: usize,
        /// What it said.
        error: LogError,
    },
}

/// One letter with what the commit is to hold for it.
struct Prepared {
    id: LetterId,
    outputs: Vec<Output>,
}

impl Prepared {
    fn size(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }
}

/// Does `deed` to the letters that are meant and were not handled before, batch by batch. Killed in the middle and
/// called again, it sends nothing back twice.
///
/// # Errors
/// See [`HandleError`].
pub async fn handle<L: Log>(
    log: &L,
    selection: &Selection,
    deed: Deed,
    now_ms: i64,
) -> Result<Report, HandleError> {
    let mut report = Report::default();
    let handled = handle_all(log, selection, deed, now_ms, &mut report).await;
    let done = report.done.len();
    match handled {
        Ok(()) => Ok(report),
        Err(error) if matches!(error.cause, LogErrorKind::Fenced) => Err(HandleError::Fenced { done }),
        Err(error) => Err(HandleError::Log { done, error }),
    }
}

async fn handle_all<L: Log>(
    log: &L,
    selection: &Selection,
    deed: Deed,
    now_ms: i64,
    report: &mut Report,
) -> Result<(), LogError> {
    // Before anything is read: what an earlier one of the name had under way is decided by then. A look alone must
    // not fence one that is at work.
    let mut committer = if deed.dry_run { None } else { Some(log.committer(LETTERS_COMMITTER).await?) };
    let mut setbacks = 0;
    let mut doubtful = Vec::new();
    loop {
        let handled = read_handled(log).await?;
        report.done.extend(doubtful.drain(..).filter(|id| handled.contains_key(id)));
        let pass = read_pass(log, &handled, selection, deed, now_ms, report).await?;
        let Some(committer) = &mut committer else {
            report.done = pass.letters.into_iter().map(|prepared| prepared.id).collect();
            return Ok(());
        };
        let before = report.done.len();
        let outcome = commit_all(committer, pass.letters, report).await?;
        if report.done.len() > before {
            setbacks = 0;
        }
        let (ids, error) = match outcome {
            Outcome::Committed if pass.is_last => return Ok(()),
            Outcome::Committed => continue,
            Outcome::NotMade(error) => (vec![], error),
            Outcome::Doubtful(ids, error) => (ids, error),
        };
        if setbacks >= TRIES {
            return Err(error);
        }
        tracing::warn!(%error, "a commit was not made or is in doubt; reading what was done with letters");
        tokio::time::sleep(FIRST_WAIT * 2_u32.pow(setbacks)).await;
        // Another may have taken over meanwhile, and is fenced in turn: what it did is read before anything is done.
        committer.recover().await?;
        (setbacks, doubtful) = (setbacks + 1, ids);
    }
}

/// How commits ended.
enum Outcome {
    Committed,
    /// Nothing of the last batch was written.
    NotMade(LogError),
    /// Whether these letters are handled is for the log to say.
    Doubtful(Vec<LetterId>, LogError),
}

/// Letters to be handled next.
struct Pass {
    letters: Vec<Prepared>,
    is_last: bool,
}

/// Reads letters up to what may be held at once.
async fn read_pass<L: Log>(
    log: &L,
    handled: &BTreeMap<LetterId, HandledLetter>,
    selection: &Selection,
    deed: Deed,
    now_ms: i64,
    report: &mut Report,
) -> Result<Pass, LogError> {
    let mut pass = Pass { letters: Vec::new(), is_last: true };
    let mut bytes = 0;
    report.before.clear();
    report.missing = match selection {
        Selection::Ids(ids) => ids.iter().copied().collect(),
        Selection::Fitting { .. } => vec![],
    };
    let mut visit = |record: Record| {
        let letter = Letter::of(&record);
        report.missing.retain(|id| *id != letter.id);
        if !selection.takes(&letter) {
            return;
        }
        if handled.contains_key(&letter.id) {
            if matches!(selection, Selection::Ids(_)) && !report.done.contains(&letter.id) {
                report.before.push(letter.id);
            }
            return;
        }
        if bytes > PASS_BYTES {
            pass.is_last = false;
            return;
        }
        match prepare(&record, &letter, deed.action, now_ms) {
            Ok(mut prepared) => {
                if deed.dry_run {
                    prepared.outputs.clear();
                }
                bytes += prepared.size();
                pass.letters.push(prepared);
            }
            Err(unreturnable) => drop(report.unreturnable.insert(letter.id, unreturnable)),
        }
    };
    log.scan(DEAD_LETTERS, &mut visit).await?;
    Ok(pass)
}

fn prepare(
    record: &Record,
    letter: &Letter,
    action: HandledAction,
    at_ms: i64,
) -> Result<Prepared, Unreturnable> {
    let mut outputs = match action {
        HandledAction::Retried => vec![sent_back(record, letter.returns_to()?)],
        HandledAction::Dropped => vec![],
    };
    outputs.push(entry(letter, action, at_ms));
    Ok(Prepared { id: letter.id, outputs })
}

/// The entry that says what was done.
fn entry(letter: &Letter, action: HandledAction, at_ms: i64) -> Output {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let handled = HandledLetter {
        letter: letter.id.to_string(),
        action,
        at_ms,
        thread: some(&letter.thread),
        stage: some(&letter.stage),
        kind: some(&letter.kind),
    };
    let value = serde_json::to_vec(&handled).expect("its keys are strings");
    Output {
        topic: HANDLED.name,
        key: Some(Bytes::from(handled.letter)),
        value: Some(value.into()),
        headers: vec![],
    }
}

/// Commits batch by batch, up to the first that is not made or whose outcome is unknown.
async fn commit_all<C: Committer>(
    committer: &mut C,
    letters: Vec<Prepared>,
    report: &mut Report,
) -> Result<Outcome, LogError> {
    let mut batch: Vec<Prepared> = Vec::new();
    let mut letters = letters.into_iter().peekable();
    while let Some(letter) = letters.next() {
        batch.push(letter);
        let size: usize = batch.iter().map(Prepared::size).sum();
        let is_full = batch.len() >= BATCH_LETTERS || size >= BATCH_BYTES;
        if !is_full && letters.peek().is_some() {
            continue;
        }
        let batch = std::mem::take(&mut batch);
        let ids: Vec<LetterId> = batch.iter().map(|letter| letter.id).collect();
        let outputs = batch.into_iter().flat_map(|letter| letter.outputs).collect();
        match committer.commit(outputs, vec![]).await {
            Ok(()) => report.done.extend(ids),
            Err(CommitError::Retriable(error)) => return Ok(Outcome::NotMade(error)),
            Err(CommitError::Doubtful(error)) => return Ok(Outcome::Doubtful(ids, error)),
            Err(CommitError::Fatal(error)) => return Err(error),
            Err(refused @ CommitError::Refused(_)) => {
                let cause = LogErrorKind::Other(refused.to_string().into());
                return Err(LogError::new("handling letters", cause));
            }
        }
    }
    Ok(Outcome::Committed)
}
