//! What people see in a terminal: progress while a run lasts, its summary when it ends, and what the other commands show.
//!
//! It shows values of the parts; nothing here knows where they come from.
//!
//! ```text
//!      ProgressSnapshot ─▶ ProgressDisplay ─────▶ Screen (standard error)
//!        tracing events ─▶ logging ──────▶ Screen
//!     Summary, Picture, … ─▶ text or JSON, for the caller to print
//! ```

pub(crate) mod dead_letters;
mod page;
mod progress;
mod screen;
mod status;
mod summary;
mod table;
mod text;
pub(crate) mod topics;

use serde::Serialize;

pub use progress::{Counting, ProgressDisplay, ProgressMode, ProgressSnapshot, StageProgress};
pub use screen::Screen;
pub use status::{Picture, StagePicture, WorkerPicture, WorkerState};
pub use summary::{
    Ending, InputTotals, ModelSummary, Places, ProcessTotals, SourceTotals, StageSummary, StateTotals,
    SubmitSummary, Summary, WorkerSummary,
};

/// What a command came to, for people or for machines.
pub trait Report: Serialize {
    /// For people: lines without control characters but line ends.
    fn text(&self) -> String;

    /// For machines: one line of JSON.
    fn json(&self) -> String {
        serde_json::to_string(self).expect("keys are texts, and nothing else can fail in memory")
    }
}
