//! What others may do with a running engine: write records of their own through it, and see how far it is.

use tokio::sync::{mpsc, oneshot, watch};

use crate::log::{Output, Partition};

/// How far the stages of this process are.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Whether the committer stands. Whatever an earlier process of its name left undecided is decided by then: what
    /// is read of the log from now on holds.
    pub started: bool,
    /// One for each stage, in the order of the dataflow.
    pub stages: Vec<StageStatus>,
}

/// How far one stage is.
#[derive(Clone, Debug)]
pub struct StageStatus {
    /// The stage's name.
    pub name: &'static str,
    /// Records done, over all time, in the partitions of this process.
    pub done: u64,
    /// Steps that this process committed.
    pub steps: u64,
    /// Steps of this process that ended in a dead letter.
    pub dead_letters: u64,
    /// Steps running.
    pub in_flight: usize,
    /// Records fetched and waiting.
    pub waiting: usize,
    /// Records left undone because their recipe is not this process's.
    pub parked: usize,
    /// The partitions of this process, ascending.
    pub partitions: Vec<PartitionStatus>,
}

/// How far a stage is in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: Partition,
    /// Offsets that are done, over all time; a gap in which the log has nothing counts as done once it was passed.
    pub done: i64,
}

/// What others may do with a running engine. The engine outlives its handles: only its stop signal ends it.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) submissions: mpsc::Sender<Submission>,
    pub(super) status: watch::Receiver<Status>,
}

impl Handle {
    /// Writes outputs from outside the dataflow, all or nothing, and returns when they are committed.
    ///
    /// # Errors
    /// See [`SubmitError`]; after `Doubtful` the caller must read the log to know.
    pub async fn submit(&self, outputs: Vec<Output>) -> Result<(), SubmitError> {
        let (reply, answer) = oneshot::channel();
        let submission = Submission { outputs, reply };
        self.submissions.send(submission).await.map_err(|_| SubmitError::Stopped)?;
        // An engine that ended without an answer may have done so in the middle of the commit.
        answer.await.unwrap_or(Err(SubmitError::Doubtful))
    }

    /// Waits until the committer stands, see [`Status::started`]. False if the engine ended before.
    pub async fn started(&self) -> bool {
        self.status.clone().wait_for(|status| status.started).await.is_ok()
    }

    /// How far the stages are, as of the latest commit.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

/// Why a submission may not be in the log.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It may be or may not be: read the log to know. The engine may have stopped meanwhile.
    #[error("whether the prompts were written is unknown")]
    Doubtful,
    /// It is not: the engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Outputs from outside the dataflow, and where the answer goes. One that is dropped without an answer is in doubt.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) outputs: Vec<Output>,
    reply: oneshot::Sender<Result<(), SubmitError>>,
}

impl Submission {
    /// Answers the submitter; one that no longer waits has nothing to be told.
    pub(super) fn answer(self, answer: Result<(), SubmitError>) {
        let _ = self.reply.send(answer);
    }
}
