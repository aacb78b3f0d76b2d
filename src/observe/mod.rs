//! What people and machines see: metrics, logs, progress, the summary, and the admin HTTP server.

mod metrics;

pub use metrics::{METRIC_TABLE, MetricInfo, MetricKind, Metrics};
