//! What a model's calls came to in this process, for the summary of a run.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Totals of one model in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelTotals {
    /// Calls that ended, with an answer or without.
    pub calls: u64,
    /// Requests sent for them, small ones that see whether a server works among them.
    pub sends: u64,
    /// Requests that were repeats after a transient failure.
    pub retries: u64,
    /// Tries spent on refusals and on answers without the form that the method needs.
    pub tries_used: u64,
    /// Requests that a server refused for good.
    pub refusals: u64,
    /// Answers that a server ended at a length limit.
    pub cut_off: u64,
    /// Tokens of prompts, as the servers counted them.
    pub prompt_tokens: u64,
    /// Tokens of completions, as the servers counted them.
    pub completion_tokens: u64,
}

/// The counters behind [`ModelTotals`].
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: AtomicU64,
    pub(super) sends: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) tries_used: AtomicU64,
    pub(super) refusals: AtomicU64,
    pub(super) cut_off: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) completion_tokens: AtomicU64,
}

impl Totals {
    /// The values as they are now.
    pub(super) fn snapshot(&self) -> ModelTotals {
        ModelTotals {
            calls: self.calls.load(Relaxed),
            sends: self.sends.load(Relaxed),
            retries: self.retries.load(Relaxed),
            tries_used: self.tries_used.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
            cut_off: self.cut_off.load(Relaxed),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            completion_tokens: self.completion_tokens.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
