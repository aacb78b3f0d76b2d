//! What people and machines see: metrics, logs, progress, the summary, and the admin HTTP server.

mod handles;
mod metrics;

pub use handles::{EngineMetrics, StageMetrics};
pub use metrics::{METRIC_TABLE, MetricInfo, MetricKind, Metrics};
