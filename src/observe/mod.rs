//! What people and machines see of a running process.
//!
//! ```text
//! engine, models, intake ─▶ Metrics ─────▶ AdminServer /metrics ─▶ Prometheus
//!                       ─▶ Readiness ────▶ AdminServer /readyz
//!        tracing events ─▶ logging ──────▶ Screen (standard error)
//!      ProgressSnapshot ─▶ Progress ─────▶ Screen
//!               Summary ─▶ text or JSON, for the caller to print
//! ```
//!
//! Nothing here knows the engine, the log or the models: they push into metrics and conditions, and the
//! progress display pulls a snapshot from a closure.

mod admin;
mod handles;
pub mod logging;
mod metrics;
mod metrics_doc;
mod options;
mod process;
mod progress;
mod readiness;
mod screen;
mod summary;
mod text;

pub use admin::{AdminError, AdminOptions, AdminServer};
pub use handles::{EngineMetrics, OutcomeMetrics, StageMetrics};
pub use logging::{LogFormat, LogOptions, LoggingError};
pub use metrics::{METRIC_TABLE, MetricInfo, MetricKind, Metrics};
pub use metrics_doc::metrics_markdown;
pub use options::ObserveOptions;
pub use process::PROCESS_TABLE;
pub use progress::{Progress, ProgressMode, ProgressSnapshot, StageProgress};
pub use readiness::{Condition, Readiness};
pub use screen::Screen;
pub use summary::{
    Ending, GainTotals, InputTotals, ModelSummary, OutputTotals, Places, ProcessTotals, SourceTotals,
    StateTotals, Summary,
};
