//! Dead letters as an operator sees them: which there are, and what is done with them. Over any log.
//!
//! ```text
//!   dead-letters ─▶ Letter (headers, key) ─▶ selected, not in `handled` ─▶ retry: its record to its topic ─┐ one
//!                                                                     └─▶ drop                            ├ commit
//!                                                                         an entry in `handled`          ─┘
//! ```
//!
//! Payloads are never read, so garbage is no obstacle: a letter is its headers, and its bytes go back as they came.

mod handle;
mod headers;
mod letter;

pub use handle::{Deed, HandleError, LETTERS_COMMITTER, Report, handle};
pub(crate) use headers::dead_letter;
pub use headers::{RETRIES, describe as describe_dead_letter, header as dead_letter_header, sent_back};
pub use letter::{
    Letter, LetterId, Letters, Selection, Unreturnable, count_sent_back, read_letter, read_letters,
};
