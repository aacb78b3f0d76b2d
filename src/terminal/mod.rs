//! What people see in a terminal: progress while it runs, and the summary when it ends.
//!
//! ```text
//!      ProgressSnapshot ─▶ Progress ─────▶ Screen (standard error)
//!        tracing events ─▶ logging ──────▶ Screen
//!               Summary ─▶ text or JSON, for the caller to print
//! ```

mod progress;
mod screen;
#[cfg(test)]
pub(crate) use screen::fake;
mod summary;
pub(crate) mod text;

pub use progress::{Counting, Progress, ProgressMode, ProgressSnapshot, StageProgress};
pub use screen::Screen;
pub use summary::{
    Ending, GainTotals, InputTotals, ModelSummary, OutputTotals, Places, ProcessTotals, SourceTotals,
    StageSummary, StateTotals, SubmitSummary, Summary, WorkerSummary,
};
