//! Metrics with their labels resolved once, for hot paths.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::Metrics;
use crate::topic::TopicName;

/// The metrics of one stage.
#[derive(Clone, Debug)]
pub struct StageMetrics {
    stage: &'static str,
    metrics: Metrics,
    in_flight: IntGauge,
    done: IntCounter,
    seconds: Histogram,
    committed: IntCounter,
}

impl StageMetrics {
    /// The metrics of the stage called `stage`.
    pub fn new(metrics: &Metrics, stage: &'static str) -> Self {
        Self {
            stage,
            in_flight: metrics.stage_in_flight.with_label_values(&[stage]),
            done: metrics.stage_steps.with_label_values(&[stage, "done"]),
            seconds: metrics.stage_step_duration.with_label_values(&[stage]),
            committed: metrics.commit_steps.with_label_values(&[stage]),
            metrics: metrics.clone(),
        }
    }

    /// This many steps are running.
    pub fn in_flight(&self, steps: usize) {
        self.in_flight.set(steps as i64);
    }

    /// A step ended with `result` after `seconds`.
    pub fn step(&self, result: &'static str, seconds: f64) {
        self.seconds.observe(seconds);
        match result {
            "done" => self.done.inc(),
            other => self.metrics.stage_steps.with_label_values(&[self.stage, other]).inc(),
        }
    }

    /// A record became a dead letter.
    pub fn dead_letter(&self, kind: &str) {
        self.metrics.dead_letters.with_label_values(&[self.stage, kind]).inc();
    }

    /// `steps` became visible with a commit.
    pub fn committed(&self, steps: u64) {
        self.committed.inc_by(steps);
    }
}

/// The metrics of the engine as a whole.
#[derive(Clone, Debug)]
pub struct EngineMetrics {
    metrics: Metrics,
    seconds: Histogram,
}

impl EngineMetrics {
    /// The engine's share of `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self { seconds: metrics.commit_duration.with_label_values(&[] as &[&str]), metrics: metrics.clone() }
    }

    /// A commit ended with `result` after `took`.
    pub fn commit(&self, result: &'static str, took: Duration) {
        self.metrics.commits.with_label_values(&[result]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// These many records were written to these topics.
    pub fn outputs(&self, counts: &[(TopicName, u64)]) {
        for (topic, count) in counts {
            self.metrics.committed_outputs.with_label_values(&[topic.0]).inc_by(*count);
        }
    }
}
