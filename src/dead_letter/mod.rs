//! Dead letters: records that a stage could not handle, from the failure to what an operator does with them. Over any log.
//!
//! ```text
//!   a step fails ─▶ DeadLetterCause ─▶ the record with headers ─▶ dead-letters ─▶ list, show
//!                                                                   │
//!            retry: the record to the topic that it came from ─┐ one │
//!            drop                                              ├─────┘
//!            an entry in `handled`                            ─┘ commit
//! ```
//!
//! Payloads are never read, so garbage is no obstacle: what is known of a dead letter is in its headers, and its bytes go
//! back as they came.

mod counts;
mod handle;
mod headers;
mod list;

pub use counts::DeadLetterCounts;
pub use handle::{DEAD_LETTERS_COMMITTER, HandleError, Handling, HandlingReport, handle};
pub(crate) use headers::dead_letter;
pub use headers::{DeadLetterHeaders, retries};
pub use list::{
    DeadLetter, DeadLetterFilter, DeadLetterId, NotRetryable, count_sent_back, list, show, totals,
};

/// What is wrong with a record that cannot be handled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterCause {
    /// The sort of error, for metrics and retries by kind: `schema`, `refused`, `too_large`, `panic`, ….
    pub kind: &'static str,
    /// What happened, in words.
    pub message: String,
    /// How often what failed was tried: requests sent for a call of a model, retries among them; 1 for what is the same
    /// every time.
    pub attempts: u32,
    /// The model server's answer, where it was one that refused.
    pub http_status: Option<u16>,
    /// The model that refused.
    pub model: Option<String>,
}

impl DeadLetterCause {
    /// A cause of `kind`, after one attempt.
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), attempts: 1, http_status: None, model: None }
    }
}
