//! Prompts in: files of JSON Lines, JSON arrays and Parquet, and standard input, as a stream of prompts.
//!
//! ```text
//!   file, - ─▶ decompress ─▶ split into lines, elements or rows ─▶ parse ─▶ batches of items ─▶ next_batch
//!   └─────────────────── one OS thread for each open source ──────────────────┘   bounded channel
//! ```
//!
//! ## The contract
//!
//! - **Every line is an item.** A line that can be used is a [`Prompt`], any other a [`RejectedLine`] with its reason;
//!   the stream goes on. Blank lines are no input. A source that breaks off (a truncated archive) gives what lay
//!   before the break and then one reject for the place. Damage that only a checksum shows is noticed where the
//!   checksum stands; until then lines come as they decode.
//! - **Errors are of the machine.** A [`SourceError`] says that a file could not be opened or read, which may be
//!   different next time; what is wrong with the data itself is always a reject.
//! - **Bounded.** A line above the limit is passed over without being kept; batches and the channel are small, so
//!   a reader that is ahead waits.
//! - **Repeatable.** Reading the same input again gives the same items in the same order, with the same
//!   [`Prompt::content_hash`] and [`RejectedLine::id`], so whoever remembers them takes nothing in twice.
//!
//! What is compressed, an array or Parquet is told by the first bytes, never by the name. How a line is
//! read is told by its columns: see [`parse`].

mod columns;
mod conversation;
mod input;
mod item_sender;
mod json_value;
mod parquet;
mod prompt;
mod reader;
mod reject;
mod resume_point;
mod scanner;
mod split;
mod transcript;

pub use columns::{ColumnUse, Columns, parse};
pub use prompt::{AnswerUse, ContentHash, Prompt};
pub use reader::{DEFAULT_MAX_LINE_BYTES, PromptSource, SourceError, SourceErrors, open_all};
pub use reject::{RejectReason, RejectedLine};
pub use resume_point::ResumePoint;

/// One line, element or row of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Number of the line (JSON Lines), element (array) or row (Parquet), from 1.
    pub line: u64,
    /// How far the source had been read when the item came, in bytes as [`PromptSource::total_bytes`] counts them.
    pub bytes: u64,
    /// What the line holds.
    pub result: Result<Prompt, RejectedLine>,
}
