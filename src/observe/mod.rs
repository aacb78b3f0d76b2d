//! What machines see of a running process: metrics, health and logs.
//!
//! ```text
//! engine, models, intake ─▶ Metrics ─────▶ AdminServer /metrics ─▶ Prometheus
//!                       ─▶ Readiness ────▶ AdminServer /readyz
//!        tracing events ─▶ logging ──────▶ a writer of lines, the screen as a rule
//! ```
//!
//! Nothing here knows the engine, the log or the models: they push into metrics and conditions. What people see in a
//! terminal is in [`terminal`](crate::terminal).

mod admin;
mod handles;
pub mod logging;
mod metric_info;
mod metrics;
mod metrics_doc;
mod process;
mod readiness;

pub use admin::{AdminError, AdminOptions, AdminServer};
pub use handles::{EngineMetrics, EngineStageMetrics, OutcomeMetrics};
pub use logging::{LogFormat, LogOptions, LoggingError};
pub use metric_info::{MetricInfo, MetricKind};
pub use metrics::{METRIC_TABLE, Metrics};
pub use metrics_doc::metrics_markdown;
pub use process::PROCESS_TABLE;
pub use readiness::{Condition, Readiness};
