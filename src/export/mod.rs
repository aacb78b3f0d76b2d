//! Records out: files in which every committed line stands exactly once, however often the process died.
//!
//! ```text
//!   records topic ─▶ RawSelectionResult::parse ─┐
//!                               rejected lines ─┼─▶ Entry ─▶ Files::append ─▶ checkpoint ─▶ commit with the log's progress
//!                                 dead letters ─┘              ▲                        │
//!                                                              ├── Files::committed ◀───┤ done
//!                                                              └── Files::rollback  ◀───┘ refused
//! ```
//!
//! ## The contract
//!
//! - A file system knows no transactions, so the log's is borrowed: the *checkpoint*, a short text that the caller
//!   commits together with its progress, holds every file's length and the running totals.
//!   [`Files::open`] cuts each file to the length in the last committed checkpoint, which takes away what an
//!   interrupted batch left, torn lines included.
//! - [`Files::append`] writes before the commit, so a committed line is in the file; with
//!   [`ExportOptions::sync`] it is on the disk, too.
//! - The checkpoint of an empty batch is committed before the first line, so that there is always one to cut to.
//! - What this process did not write is never overwritten: a folder with files that no checkpoint accounts for, or
//!   files shorter than their checkpoint says, is refused.
//! - Formats are pure: a [`Format`] turns a [`RawRecord`] into a row and knows no file system. The texts of a
//!   record are copied from the payload as they are, neither unescaped nor escaped again.
//!
//! The layout below the output folder is in `docs/FORMATS.md`. All calls of [`Files`] block; on an async runtime
//! they belong on a blocking thread.

mod card;
mod checkpoint;
mod decode;
mod entry;
mod error;
mod files;
mod format;
mod model_outputs;
mod rows;
mod shards;
mod sink;
mod table;
mod totals;

pub use card::{CARD_HEADING, CardFacts, card};
pub use checkpoint::MAX_CHECKPOINT;
pub use entry::{BadSelectionResult, Entry, Fault, RawRecord, RawSelectionResult, RawText, RawTurn};
pub use error::ExportError;
pub use files::{ExportOptions, Files};
pub use format::{Format, FormatName, Layout, LlamaFactory, Manifest, Trl};
pub use model_outputs::{MODEL_OUTPUT_LINES_PATH, MODEL_OUTPUTS_PATH, write_model_outputs};
pub use rows::{KTO_RECORDS_PATH, OUTCOMES_PATH, PAIR_RECORDS_PATH, REJECTS_PATH, SFT_RECORDS_PATH};
pub use shards::{LocalDisk, STAGING_PATH, ShardBatch, ShardOptions, Shards};
pub use sink::{ExportSink, ShardSink, Written};
pub use totals::{Gains, ModelCounts, Outputs, Totals};
