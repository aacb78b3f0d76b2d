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

pub use progress::{Counting, ProgressDisplay, ProgressMode, ProgressSnapshot, StageProgress};
pub use screen::Screen;
pub use status::{Picture, StagePicture, WorkerPicture, WorkerState};
pub use summary::{
    Ending, GainTotals, InputTotals, ModelSummary, OutputTotals, Places, ProcessTotals, SourceTotals,
    StageSummary, StateTotals, SubmitSummary, Summary, WorkerSummary,
};
