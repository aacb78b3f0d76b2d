//! How a log in memory behaves: its manners, and how often what goes wrong.

use std::time::Duration;

/// How a log in memory behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Where every draw begins: equal seeds and equal callers give equal runs.
    pub(crate) seed: u64,
    /// How long a revoked partition may stay unreleased; then it is lost.
    pub(crate) session: Duration,
    /// A killed process' partitions stay its own for a drawn time up to this.
    pub(crate) death_unnoticed: Duration,
    /// An undecided transaction whose committer never comes back ends after this.
    pub(crate) transaction_timeout: Duration,
    /// Records in one batch, at most; how many is drawn.
    pub(crate) batch_max: usize,
    /// Whether transactions leave gaps between offsets: markers, aborted records, holes.
    pub(crate) gaps: bool,
    /// Whether progress of former owners is refused. A log that does not is there to be caught.
    pub(crate) fences: bool,
    /// The largest record taken, in bytes of key, value and headers.
    pub(crate) max_record_bytes: usize,
    /// What goes wrong.
    pub(crate) faults: Faults,
}

impl Options {
    /// A log without faults, its offsets dense.
    pub(crate) fn calm(seed: u64) -> Self {
        Self {
            seed,
            session: Duration::from_secs(45),
            death_unnoticed: Duration::ZERO,
            transaction_timeout: Duration::from_secs(15),
            batch_max: 64,
            gaps: false,
            fences: true,
            max_record_bytes: 1 << 20,
            faults: Faults::NONE,
        }
    }

    /// A log that does its worst.
    pub(crate) fn stormy(seed: u64) -> Self {
        Self {
            death_unnoticed: Duration::from_secs(45),
            batch_max: 8,
            gaps: true,
            faults: Faults::STORM,
            ..Self::calm(seed)
        }
    }
}

/// What goes wrong: the probability of each, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Faults {
    /// Before and after an operation: other tasks are let run, several times over.
    pub(crate) yields: f64,
    /// Before and after an operation: up to 50 ms pass.
    pub(crate) sleeps: f64,
    /// Of a commit: nothing is written, it can be made again.
    pub(crate) retriable: f64,
    /// Of a commit with progress: refused although nothing moved, as in the middle of a rebalance.
    pub(crate) refused: f64,
    /// Of a commit: its outcome is unknown; written and not written, at once and later, are equally likely.
    pub(crate) doubtful: f64,
    /// Of a commit: a namesake has taken over, before the commit was written or just after.
    pub(crate) fenced: f64,
    /// Of a wait for the next event, and of a commit: the member was silent for too long and has lost everything.
    pub(crate) lost: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub(crate) const NONE: Self = Self {
        yields: 0.0,
        sleeps: 0.0,
        retriable: 0.0,
        refused: 0.0,
        doubtful: 0.0,
        fenced: 0.0,
        lost: 0.0,
    };

    /// Everything goes wrong, and still a run gets through.
    pub(crate) const STORM: Self = Self {
        yields: 0.5,
        sleeps: 0.1,
        retriable: 0.05,
        refused: 0.05,
        doubtful: 0.05,
        fenced: 0.005,
        lost: 0.01,
    };
}
