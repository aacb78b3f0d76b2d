//! What waits for the next commit, and where the committer is.
//!
//! ```text
//!            begin_commit                end_commit, with assignments that came meanwhile
//!   Idle ──────────────────▶ Committing ─────────────────────────────────────────────────▶ ReadingBack
//!    ▲ ◀──── end_commit ──────────┘                                                             │
//!    └──────────────────────────────────── end_read_back ───────────────────────────────────────┘
//! ```

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    EngineOptions,
    commit_batch::{CommitBatch, StepOutputs},
    handle::Submission,
    stage_state::StageState,
};
use crate::log::{Budget, Partition};

/// Submissions that may wait for a commit. Few, so that they cannot keep events of the log waiting, which may come without
/// end.
pub(super) const SUBMISSIONS: usize = 16;

/// Partitions that were assigned to a stage during a commit.
pub(super) type DeferredAssignment = (usize, Vec<Partition>);

/// What the committer is doing.
#[derive(Debug)]
enum CommitState {
    /// Nothing.
    Idle,
    /// It commits. Partitions that are assigned meanwhile may be the very ones that the commit moves, lost and given
    /// back: they wait for its end.
    Committing { deferred: Option<DeferredAssignment> },
    /// It reads the progress of partitions again that were assigned during a commit.
    ReadingBack,
}

/// What waits for the next commit, and where the committer is.
#[derive(Debug)]
pub(super) struct CommitQueue {
    steps: Vec<StepOutputs>,
    /// Bytes of what `steps` hold.
    bytes: usize,
    submissions: Vec<Submission>,
    state: CommitState,
    /// The next commit begins no earlier, unless much waits for it.
    not_before: Instant,
    budget: Arc<Budget>,
}

impl CommitQueue {
    /// Nothing waits. Bytes of what will are taken from `budget`.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let (steps, submissions) = (Vec::new(), Vec::new());
        Self { steps, bytes: 0, submissions, state: CommitState::Idle, not_before: Instant::now(), budget }
    }

    /// The results of a step wait from now on.
    pub(super) fn push(&mut self, step: StepOutputs) {
        let size = step.size();
        self.bytes += size;
        self.budget.take(size);
        self.steps.push(step);
    }

    /// So do submissions.
    pub(super) fn submit(&mut self, submissions: impl IntoIterator<Item = Submission>) {
        self.submissions.extend(submissions);
    }

    /// Whether there is room for one more submission.
    pub(super) fn may_submit(&self) -> bool {
        self.submissions.len() < SUBMISSIONS
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_drained(&self) -> bool {
        self.is_idle() && self.steps.is_empty() && self.submissions.is_empty()
    }

    /// Whether anything waits that may be committed now. Results of a stage that the log refused stay back.
    pub(super) fn has_work(&self, stages: &[StageState], now: Instant) -> bool {
        let may_commit = |step: &StepOutputs| !stages[step.stage].is_refused(now);
        !self.submissions.is_empty() || self.steps.iter().any(may_commit)
    }

    /// Whether nothing is asked of the committer.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, CommitState::Idle)
    }

    /// Whether a commit may begin now: its time has come, or enough waits.
    pub(super) fn is_due(&self, now: Instant, options: &EngineOptions) -> bool {
        self.is_idle() && (now >= self.not_before || self.bytes >= options.max_commit_bytes)
    }

    /// When the next commit may begin, if none is under way.
    pub(super) fn next_commit(&self) -> Option<Instant> {
        self.is_idle().then_some(self.not_before)
    }

    /// Whether the log may be heard: not while an assignment waits for the end of a commit, or for its progress.
    pub(super) fn hears_the_log(&self) -> bool {
        matches!(self.state, CommitState::Idle | CommitState::Committing { deferred: None })
    }

    /// Takes what one commit may hold, without the sink's part. A partition that is another's by now took its results
    /// with it.
    pub(super) fn take(&mut self, stages: &mut [StageState], max_bytes: usize, now: Instant) -> CommitBatch {
        let submissions = std::mem::take(&mut self.submissions);
        let mut batch = CommitBatch { submissions, ..CommitBatch::default() };
        let mut bytes = 0;
        for step in std::mem::take(&mut self.steps) {
            let (stage, size) = (&mut stages[step.stage], step.size());
            let is_current = stage.current(step.record.partition, step.epoch).is_some();
            if is_current && (stage.is_refused(now) || bytes > max_bytes) {
                self.steps.push(step);
                continue;
            }
            self.bytes -= size;
            self.budget.give_back(size);
            if is_current {
                bytes += size;
                batch.steps.push(step);
            }
        }
        batch
    }

    /// A commit is under way; the next one begins no earlier than `next`, unless much waits for it.
    pub(super) fn begin_commit(&mut self, next: Instant) {
        debug_assert!(self.is_idle(), "there is one committer: {:?}", self.state);
        self.state = CommitState::Committing { deferred: None };
        self.not_before = next;
    }

    /// These partitions are assigned to a stage. False where a commit is under way, until whose end they wait.
    pub(super) fn may_assign(&mut self, stage: usize, partitions: impl Iterator<Item = Partition>) -> bool {
        if let CommitState::Committing { deferred } = &mut self.state {
            debug_assert!(deferred.is_none(), "nothing is heard of the log meanwhile");
            *deferred = Some((stage, partitions.collect()));
        }
        self.is_idle()
    }

    /// The commit is decided. Gives the assignment that waited for that, whose progress is to be read again.
    pub(super) fn end_commit(&mut self) -> Option<DeferredAssignment> {
        match std::mem::replace(&mut self.state, CommitState::Idle) {
            CommitState::Committing { deferred: Some(deferred) } => {
                self.state = CommitState::ReadingBack;
                Some(deferred)
            }
            _ => None,
        }
    }

    /// The progress of partitions that were assigned during a commit was read again.
    pub(super) fn end_read_back(&mut self) {
        self.state = CommitState::Idle;
    }

    /// Bytes of results that wait, compared with the sum that is kept.
    pub(super) fn audit(&self) -> usize {
        let bytes = self.steps.iter().map(StepOutputs::size).sum();
        debug_assert_eq!(bytes, self.bytes, "bytes of results");
        bytes
    }
}
