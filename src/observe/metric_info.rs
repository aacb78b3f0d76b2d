//! What the documentation tells of a metric.

/// What sort of metric a row of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct MetricInfo {
    /// The name as Prometheus sees it.
    pub name: &'static str,
    /// What sort it is.
    pub kind: MetricKind,
    /// What it tells.
    pub help: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}
