//! Metrics with their labels resolved once, for hot paths.

use std::{collections::BTreeMap, time::Duration};

use prometheus::{Histogram, IntCounter, IntGauge};

use super::Metrics;
use crate::{
    record::{Outcome, OutcomeReason, RecordKind},
    topic::TopicName,
};

/// The metrics of one stage.
#[derive(Clone, Debug)]
pub struct EngineStageMetrics {
    stage: &'static str,
    metrics: Metrics,
    in_flight: IntGauge,
    buffered: IntGauge,
    parked: IntGauge,
    done: IntCounter,
    seconds: Histogram,
    committed: IntCounter,
}

impl EngineStageMetrics {
    /// The metrics of the stage called `stage`.
    pub fn new(metrics: &Metrics, stage: &'static str) -> Self {
        Self {
            stage,
            in_flight: metrics.stage_in_flight.with_label_values(&[stage]),
            buffered: metrics.stage_buffered.with_label_values(&[stage]),
            parked: metrics.stage_parked.with_label_values(&[stage]),
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

    /// This many records wait for a place, and this many are parked.
    pub fn waiting(&self, buffered: usize, parked: usize) {
        self.buffered.set(buffered as i64);
        self.parked.set(parked as i64);
    }

    /// So many steps were begun in vain: their partitions were given up, or the process stopped.
    pub fn discarded(&self, steps: usize) {
        self.metrics.stage_steps.with_label_values(&[self.stage, "discarded"]).inc_by(steps as u64);
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
    bytes: IntGauge,
}

impl EngineMetrics {
    /// The engine's share of `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            seconds: metrics.commit_duration.with_label_values(&[] as &[&str]),
            bytes: metrics.bytes_in_flight.with_label_values(&[] as &[&str]),
            metrics: metrics.clone(),
        }
    }

    /// A commit ended with `result` after `took`.
    pub fn commit(&self, result: &'static str, took: Duration) {
        self.metrics.commits.with_label_values(&[result]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// This many bytes of records and results wait for their commit.
    pub fn bytes(&self, bytes: usize) {
        self.bytes.set(bytes as i64);
    }

    /// These many records were written to these topics.
    pub fn outputs(&self, counts: &[(TopicName, u64)]) {
        for (topic, count) in counts {
            self.metrics.committed_outputs.with_label_values(&[topic.0]).inc_by(*count);
        }
    }
}

/// The metrics of what threads come to. Every reason and kind stands there from the start, at 0, so that the
/// first of each is seen as growth.
#[derive(Clone, Debug)]
pub struct OutcomeMetrics {
    reasons: BTreeMap<OutcomeReason, IntCounter>,
    kinds: BTreeMap<RecordKind, IntCounter>,
    gain: Histogram,
}

impl OutcomeMetrics {
    /// The outcomes' share of `metrics`.
    pub fn new(metrics: &Metrics) -> Self {
        let reason = |reason: OutcomeReason| (reason, metrics.outcomes.with_label_values(&[reason.as_str()]));
        let kind = |kind: RecordKind| (kind, metrics.records.with_label_values(&[kind.as_str()]));
        Self {
            reasons: OutcomeReason::all().map(reason).collect(),
            kinds: RecordKind::all().map(kind).collect(),
            gain: metrics.reward_gain.with_label_values(&[] as &[&str]),
        }
    }

    /// A thread ended, and its outcome and records are committed.
    pub fn ended(&self, outcome: &Outcome) {
        self.reasons.get(&outcome.reason).inspect(|counter| counter.inc());
        for kind in &outcome.records {
            self.kinds.get(kind).inspect(|counter| counter.inc());
        }
        outcome.gain.inspect(|gain| self.gain.observe(*gain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Extra, Origin, RecipeRef, ThreadId};

    fn outcome(reason: OutcomeReason, records: &[RecordKind], gain: Option<f64>) -> Outcome {
        Outcome {
            thread: ThreadId::new("stage1", "7"),
            recipe: RecipeRef { name: "stage1".into(), hash: "00".into(), extra: Extra::new() },
            origin: Origin { source: "-".into(), line: 7, extra: Extra::new() },
            reason,
            records: records.to_vec(),
            withheld: BTreeMap::new(),
            rounds: 0,
            answer_reward: None,
            best_reward: None,
            gain,
            cut_off: 0,
            retried: 0,
            error: None,
        }
    }

    #[test]
    fn outcomes_are_counted_by_reason_kind_and_gain() {
        let metrics = Metrics::new();
        let outcomes = OutcomeMetrics::new(&metrics);
        outcomes.ended(&outcome(
            OutcomeReason::Selected,
            &[RecordKind::Sft, RecordKind::ResponsePair],
            Some(0.75),
        ));
        outcomes.ended(&outcome(OutcomeReason::NoCritique, &[], None));
        let text = metrics.encode();
        let expected = [
            "avr_outcomes_total{reason=\"selected\"} 1",
            "avr_outcomes_total{reason=\"no_critique\"} 1",
            "avr_outcomes_total{reason=\"no_gain\"} 0",
            "avr_records_total{kind=\"response_pair\"} 1",
            "avr_records_total{kind=\"critique_pair\"} 0",
            "avr_reward_gain_bucket{le=\"0.5\"} 0",
            "avr_reward_gain_bucket{le=\"1\"} 1",
            "avr_reward_gain_count 1",
        ];
        for line in expected {
            assert!(text.lines().any(|written| written == line), "{line} is not in:\n{text}");
        }
    }
}
