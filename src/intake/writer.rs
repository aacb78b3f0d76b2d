//! Where the intake's batches go: through a running engine, or straight into a log by a committer of their own.

use std::future::Future;

use tokio::sync::watch;

use crate::{
    engine::{Handle, SubmitError},
    export::Written,
    log::{Log, LogError, Output, StandaloneCommit, StandaloneCommitter},
};

/// The name that every submit commits under.
pub const SUBMIT_COMMITTER: &str = "submit";

/// Why a batch may not be in the log.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
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

/// Writes prompts to a log.
pub trait PromptWriter: Send + 'static {
    /// Waits until more threads may be taken in, where `threads` were over all time.
    ///
    /// # Errors
    /// [`WriteError::Stopped`].
    fn admit(&mut self, threads: u64) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Writes a batch, all or nothing, and returns when it is committed.
    ///
    /// # Errors
    /// See [`WriteError`]; after `Doubtful` and `TakenOver` the caller reads the index and writes what it lacks.
    fn write(&mut self, outputs: Vec<Output>) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// Writes with the commits of the engine that works on the prompts in the same process.
pub struct EngineWriter {
    handle: Handle,
    written: watch::Receiver<Written>,
    max_open_threads: u64,
}

impl EngineWriter {
    /// By `handle`, while of what was taken in fewer than `max_open_threads` are not in the files.
    pub fn new(handle: Handle, written: watch::Receiver<Written>, max_open_threads: u64) -> Self {
        Self { handle, written, max_open_threads }
    }
}

impl PromptWriter for EngineWriter {
    async fn admit(&mut self, threads: u64) -> Result<(), WriteError> {
        let most = self.max_open_threads;
        let has_room = |written: &Written| threads.saturating_sub(written.totals.threads()) < most;
        self.written.wait_for(has_room).await.map(drop).map_err(|_| WriteError::Stopped)
    }

    async fn write(&mut self, outputs: Vec<Output>) -> Result<(), WriteError> {
        self.handle.submit(outputs).await.map_err(|error| match error {
            SubmitError::Doubtful => WriteError::Doubtful,
            SubmitError::Stopped => WriteError::Stopped,
        })
    }
}

impl<L: Log> PromptWriter for StandaloneCommitter<L> {
    async fn admit(&mut self, _threads: u64) -> Result<(), WriteError> {
        Ok(())
    }

    async fn write(&mut self, outputs: Vec<Output>) -> Result<(), WriteError> {
        match self.commit(outputs).await? {
            StandaloneCommit::Committed => Ok(()),
            StandaloneCommit::Doubtful => Err(WriteError::Doubtful),
            StandaloneCommit::TakenOver => Err(WriteError::TakenOver),
        }
    }
}
