//! Runs any stage exactly once; knows no method.
//!
//! ```text
//!  consumer of each stage        the coordinator: one task, one state        the one committer
//!  ┌────────┐  reports (bounded) ┌──────────────────────────────┐ one batch  ┌───────────────────┐
//!  │ pump   │───────────────────▶│ partitions: waiting · open   │───────────▶│ sink.append       │
//!  │        │◀───────────────────│ dispatch, late stages first  │◀───────────│ log.commit        │
//!  └────────┘  pause · release   │ steps: one task a record     │  outcome   └───────────────────┘
//!                                └──────────────────────────────┘
//! ```
//!
//! ## Promises
//!
//! 1. A step's outputs and the progress that says it is done become visible together or not at all.
//! 2. Steps finish out of order; each is done for good with its commit, whatever came before it in the
//!    partition. After a crash only steps that were not committed run again.
//! 3. Everything is bounded: steps at once for each stage, bytes of records that are fetched and not committed,
//!    the text that the progress takes. Where a bound is reached, fetching stops.
//! 4. A record that a stage cannot handle is an outcome: it goes to the dead letters in the same commit.
//! 5. Partitions that are revoked are drained up to a grace, committed, and given up; those that are lost are
//!    given up at once. A result of an earlier assignment is refused.
//! 6. Stopping means: no new step, finish or give up at the grace, commit, leave the groups.
//!
//! ## Reading order
//!
//! [`Stage`] and [`Sink`]; [`Completed`]; [`progress_text`]; `partition`, `step`, `pump`, `committer`; `coordinator`, where
//! they meet, with `commit_queue`, `commit` and `rebalance`; `builder`, which puts the parts together.

mod builder;
mod commit;
mod commit_batch;
mod commit_queue;
mod committer;
mod completed;
mod coordinator;
mod handle;
mod partition;
pub mod progress_text;
mod pump;
mod rebalance;
mod sink;
mod stage;
mod stage_state;
mod step;

use std::{collections::BTreeSet, time::Duration};

pub use builder::Engine;
pub use completed::Completed;
pub use handle::{Handle, PartitionStatus, StageStatus, Status, SubmitError};
pub use sink::{Appended, BatchPolicy, CheckpointScope, Sink, SinkError};
pub use stage::{DeadLetter, Stage, StageSpec, StepError, Work};

use self::progress_text::ProgressTextError;
use crate::log::{GroupName, LogError, Partition};

/// Limits and manners of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The identity of the committer: stable over restarts, one running process each.
    pub committer: String,
    /// Bytes of records that are fetched and not committed, those on their way from consumers among them, and of results
    /// that wait for a commit. From there on nothing is fetched, so records pass it by one batch at most.
    pub max_bytes: usize,
    /// The least time from the start of one commit to the start of the next: results gather meanwhile.
    pub commit_interval: Duration,
    /// Outputs of this many bytes are committed at once, whatever the interval.
    pub max_commit_bytes: usize,
    /// How long steps may go on after a stop.
    pub drain_grace: Duration,
    /// How long steps of a revoked partition may go on.
    pub revoke_grace: Duration,
    /// What to do with progress that another program wrote.
    pub foreign_progress: ForeignProgress,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            committer: "avr".to_owned(),
            max_bytes: 128 << 20,
            commit_interval: Duration::from_millis(20),
            max_commit_bytes: 4 << 20,
            drain_grace: Duration::from_secs(30),
            revoke_grace: Duration::from_secs(20),
            foreign_progress: ForeignProgress::Refuse,
        }
    }
}

/// What to do with progress that another program wrote, or a newer version of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum ForeignProgress {
    /// Stop with an error.
    Refuse,
    /// Take its offset and nothing else.
    Ignore,
}

/// The stages that are paused for backpressure, by name.
pub type PausedStages = BTreeSet<&'static str>;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Go on.
    Run,
    /// Start nothing new, finish within the grace, commit, leave.
    Drain,
}

/// Why an engine ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file could not be written.
    #[error("{0}")]
    Sink(#[source] SinkError),
    /// A sink was needed and there is none, or it panicked.
    #[error("the exporter is gone: it failed in a way that it did not foresee")]
    NoSink,
    /// Committed progress cannot be used.
    #[error(
        "group {group}, partition {partition}: {cause}. Set engine.foreign_progress = \"ignore\" to go on from its \
         offset, at the price of asking again what was done beyond it"
    )]
    Progress {
        /// The group.
        group: GroupName,
        /// The partition.
        partition: Partition,
        /// What is wrong with it.
        cause: ProgressTextError,
    },
    /// No step of a stage can succeed.
    #[error("stage {stage}: {reason}")]
    Stage {
        /// The stage.
        stage: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// It was told to stop, and the log took the last results neither within the grace nor some time after it.
    #[error(
        "the log did not take the results of {steps} steps before the time for stopping was over, or before their \
         partitions went to others: what it lacks of them is made again by whoever carries on. Look why the log does not \
         answer; engine.drain_grace_s gives it longer"
    )]
    NotTaken {
        /// Steps that ended, and of which it is not known that they are committed.
        steps: usize,
    },
    /// A part of the engine stopped answering.
    #[error("the {0} of the engine ended unexpectedly")]
    Part(&'static str),
}
