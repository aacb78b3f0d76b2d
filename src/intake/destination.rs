//! Where the intake's batches go: through a running engine, or straight into a log by a committer of their own.

use std::{future::Future, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    engine::{Handle, SubmitError},
    log::{CommitError, Committer, Log, LogError, LogErrorKind, Output},
    model::Backoff,
    stage::Written,
};

/// The least that the first wait may be after another took over, and the most of all waits.
const TAKEN_OVER_FIRST: Duration = Duration::from_secs(1);
const TAKEN_OVER_MOST: Duration = Duration::from_secs(120);

/// Why a batch may not be in the log.
#[derive(Debug, thiserror::Error)]
pub enum Setback {
    /// Whether it was written is decided, but not known here: read the index. What it has of the batch is ours.
    #[error("whether the prompts were written is not known")]
    Doubtful,
    /// Another took over for a while and may have written the same prompts: read the index. This one may go on.
    #[error("another process took over")]
    TakenOver,
    /// The engine has stopped, and nothing more can be written.
    #[error("the engine has stopped")]
    Stopped,
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Where batches go.
pub trait Destination: Send + 'static {
    /// Waits until more threads may be taken in, where `threads` were over all time.
    ///
    /// # Errors
    /// [`Setback::Stopped`].
    fn admit(&mut self, threads: u64) -> impl Future<Output = Result<(), Setback>> + Send;

    /// Writes a batch, all or nothing, and returns when it is committed.
    ///
    /// # Errors
    /// See [`Setback`]; after `Doubtful` and `TakenOver` the caller reads the index and submits what it lacks.
    fn submit(&mut self, outputs: Vec<Output>) -> impl Future<Output = Result<(), Setback>> + Send;
}

/// With the commits of the engine that works on the prompts in the same process.
pub struct ThroughEngine {
    handle: Handle,
    written: watch::Receiver<Written>,
    max_open_threads: u64,
}

impl ThroughEngine {
    /// By `handle`, while of what was taken in fewer than `max_open_threads` are not in the files.
    pub fn new(handle: Handle, written: watch::Receiver<Written>, max_open_threads: u64) -> Self {
        Self { handle, written, max_open_threads }
    }
}

impl Destination for ThroughEngine {
    async fn admit(&mut self, threads: u64) -> Result<(), Setback> {
        let most = self.max_open_threads;
        let has_room = |written: &Written| threads.saturating_sub(written.totals.threads()) < most;
        self.written.wait_for(has_room).await.map(drop).map_err(|_| Setback::Stopped)
    }

    async fn submit(&mut self, outputs: Vec<Output>) -> Result<(), Setback> {
        self.handle.submit(outputs).await.map_err(|error| match error {
            SubmitError::Doubtful => Setback::Doubtful,
            SubmitError::Stopped => Setback::Stopped,
        })
    }
}

/// The name that every submit commits under.
pub const SUBMIT_COMMITTER: &str = "submit";

/// By a committer of its own. Of two with one name the later fences the earlier, which waits for a time that is drawn
/// and grows, and takes over again: sooner or later each has the time to come to its end.
///
/// Whatever keeps a commit from being made, the next one is made only after the committer stands anew and the index was
/// read again. A committer that recovers may fence another without hearing of it, and what the other had written
/// meanwhile would be written once more.
pub struct Direct<L: Log> {
    log: L,
    name: &'static str,
    committer: L::Committer,
    /// Since when this committer stands.
    since: Instant,
    /// How long it took from there to its first commit.
    got_going: Option<Duration>,
    /// How often another took over, or seemed to.
    taken_over: u32,
}

impl<L: Log> Direct<L> {
    /// Becomes the committer called `name`. What an earlier one left undecided is decided when this returns, so what
    /// is read of the log from then on holds.
    ///
    /// # Errors
    /// The log fails.
    pub async fn start(log: L, name: &'static str) -> Result<Self, LogError> {
        let mut taken_over = 0;
        let committer = loop {
            match log.committer(name).await {
                Ok(committer) => break committer,
                Err(error) if is_fenced(&error) => give_others_time(&mut taken_over, TAKEN_OVER_FIRST).await,
                Err(error) => return Err(error),
            }
        };
        Ok(Self { log, name, committer, since: Instant::now(), got_going: None, taken_over })
    }

    /// Lets the other work for a while, then takes over again. Whoever needs long to get going (it reads the whole
    /// index first) waits for longer, or two such would keep one another from ever committing.
    async fn take_over_again(&mut self) -> Result<(), LogError> {
        loop {
            self.taken_over += 1;
            let needed = self.got_going.unwrap_or_else(|| self.since.elapsed());
            let first = needed.clamp(TAKEN_OVER_FIRST, TAKEN_OVER_MOST);
            let wait = Backoff { first, most: TAKEN_OVER_MOST }.wait(self.taken_over, fastrand::f64());
            tracing::warn!(
                wait_s = wait.as_secs(),
                "another process took over; this one goes on after a while"
            );
            tokio::time::sleep(wait).await;
            match self.log.committer(self.name).await {
                Ok(committer) => {
                    (self.committer, self.since, self.got_going) = (committer, Instant::now(), None);
                    return Ok(());
                }
                Err(error) if is_fenced(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl<L: Log> Destination for Direct<L> {
    async fn admit(&mut self, _threads: u64) -> Result<(), Setback> {
        Ok(())
    }

    async fn submit(&mut self, outputs: Vec<Output>) -> Result<(), Setback> {
        let error = match self.committer.commit(outputs, vec![]).await {
            Ok(()) => {
                let since = self.since;
                self.got_going.get_or_insert_with(|| since.elapsed());
                return Ok(());
            }
            Err(error) => error,
        };
        match error {
            CommitError::Retriable(error) => {
                tracing::warn!(%error, "a commit was not taken; trying again");
                self.give_way().await
            }
            CommitError::Doubtful(error) => {
                tracing::warn!(%error, "the outcome of a commit is unknown; reading what the log has");
                match self.committer.recover().await {
                    Ok(()) => Err(Setback::Doubtful),
                    Err(error) if is_fenced(&error) => self.give_way().await,
                    Err(error) => Err(error.into()),
                }
            }
            CommitError::Fatal(error) if is_fenced(&error) => self.give_way().await,
            CommitError::Fatal(error) => Err(error.into()),
            CommitError::Refused(groups) => {
                let cause = format!("it names groups that nobody here is a member of: {groups:?}");
                Err(LogError::new("submitting", LogErrorKind::Other(cause.into())).into())
            }
        }
    }
}

impl<L: Log> Direct<L> {
    async fn give_way(&mut self) -> Result<(), Setback> {
        self.take_over_again().await?;
        Err(Setback::TakenOver)
    }
}

/// Waits for a time that is drawn and grows with each time that another took over.
async fn give_others_time(taken_over: &mut u32, first: Duration) {
    *taken_over += 1;
    let wait = Backoff { first, most: TAKEN_OVER_MOST }.wait(*taken_over, fastrand::f64());
    tracing::info!(
        wait_ms = wait.as_millis(),
        "another process may be at work; this one goes on after a while"
    );
    tokio::time::sleep(wait).await;
}

fn is_fenced(error: &LogError) -> bool {
    matches!(error.cause, LogErrorKind::Fenced)
}
