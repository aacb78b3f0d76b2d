//! Commits outside an engine, under a name that several processes may want at once.
//!
//! ```text
//!   start ─▶ read what the log has ─▶ commit ─┬─ Committed ─▶ the next batch
//!                     ▲                       ├─ Doubtful    its outcome is decided by now ──┐
//!                     │                       └─ TakenOver   waited, and took over again  ───┤
//!                     └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Of two committers of one name the later fences the earlier. The earlier waits for a time that is drawn at random and
//! grows, and takes over again: sooner or later each has the time to come to its end. Whatever keeps a commit from being
//! made, the next one is made only after the committer stands anew and the caller has read the log again. A committer that
//! recovers may fence another without hearing of it, and what the other had written meanwhile would be written once more.
//!
//! Nothing runs in the background, so dropping a future of these stops it.

use std::time::Duration;

use tokio::time::Instant;

use super::{CommitError, Committer, Log, LogError, LogErrorKind, Output};
use crate::backoff::Backoff;

/// The least that the first wait may be after another took over, and the most of all waits.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MOST_WAIT: Duration = Duration::from_secs(120);

/// A committer that shares its name with other processes.
pub struct StandaloneCommitter<L: Log> {
    log: L,
    name: &'static str,
    committer: L::Committer,
    /// Since when this committer stands.
    since: Instant,
    /// How long it took from there to its first commit.
    first_commit_took: Option<Duration>,
    /// How often another took over, or seemed to.
    taken_over: u32,
}

/// How a commit ended. After all but `Committed` the caller reads again what the log has, and commits what it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum StandaloneCommit {
    /// It is in the log.
    Committed,
    /// It may be in the log, and whether it is does not change any more. What the log has of it counts as this
    /// committer's, even where another process wrote the same in that moment.
    Doubtful,
    /// It was not made, and another process may have written the same meanwhile.
    TakenOver,
}

impl<L: Log> StandaloneCommitter<L> {
    /// Becomes the committer called `name`. What an earlier one left undecided is decided when this returns, so what
    /// is read of the log from then on holds.
    ///
    /// # Errors
    /// The log fails.
    pub async fn start(log: L, name: &'static str) -> Result<Self, LogError> {
        let mut taken_over = 0;
        let committer = take_over(&log, name, FIRST_WAIT, &mut taken_over).await?;
        Ok(Self { log, name, committer, since: Instant::now(), first_commit_took: None, taken_over })
    }

    /// Writes outputs, all or nothing.
    ///
    /// # Errors
    /// The log fails for a reason that does not pass.
    pub async fn commit(&mut self, outputs: Vec<Output>) -> Result<StandaloneCommit, LogError> {
        match self.committer.commit(outputs, vec![]).await {
            Ok(()) => {
                let since = self.since;
                self.first_commit_took.get_or_insert_with(|| since.elapsed());
                return Ok(StandaloneCommit::Committed);
            }
            Err(CommitError::Doubtful(error)) => {
                tracing::warn!(%error, "the outcome of a commit is unknown; reading what the log has");
                match self.committer.recover().await {
                    Ok(()) => return Ok(StandaloneCommit::Doubtful),
                    Err(error) if is_fenced(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(CommitError::Retriable(error)) => {
                tracing::warn!(%error, "a commit was not taken; trying again");
            }
            Err(CommitError::Fatal(error)) if is_fenced(&error) => {}
            Err(CommitError::Fatal(error)) => return Err(error),
            Err(refused @ CommitError::Refused(_)) => {
                let cause = LogErrorKind::Other(refused.to_string().into());
                return Err(LogError::new("committing without a group", cause));
            }
        }
        self.take_over_again().await?;
        Ok(StandaloneCommit::TakenOver)
    }

    /// Lets the other work for a while, then takes over again. Whoever needs long to get going (a submit reads the whole
    /// index first) waits for longer, or two such would keep one another from ever committing.
    async fn take_over_again(&mut self) -> Result<(), LogError> {
        let needed = self.first_commit_took.unwrap_or_else(|| self.since.elapsed());
        let first = needed.clamp(FIRST_WAIT, MOST_WAIT);
        wait(first, &mut self.taken_over).await;
        self.committer = take_over(&self.log, self.name, first, &mut self.taken_over).await?;
        (self.since, self.first_commit_took) = (Instant::now(), None);
        Ok(())
    }
}

/// Becomes the committer called `name`, however many others do the same at this moment.
async fn take_over<L: Log>(
    log: &L,
    name: &'static str,
    first: Duration,
    taken_over: &mut u32,
) -> Result<L::Committer, LogError> {
    loop {
        match log.committer(name).await {
            Err(error) if is_fenced(&error) => wait(first, taken_over).await,
            ended => return ended,
        }
    }
}

/// Waits for a time that is drawn and grows with each time that another took over.
async fn wait(first: Duration, taken_over: &mut u32) {
    *taken_over += 1;
    let wait = Backoff { first, most: MOST_WAIT }.wait(*taken_over, fastrand::f64());
    let wait_ms = wait.as_millis();
    tracing::warn!(wait_ms, "another process may have taken over; this one goes on after a while");
    tokio::time::sleep(wait).await;
}

fn is_fenced(error: &LogError) -> bool {
    matches!(error.cause, LogErrorKind::Fenced)
}
