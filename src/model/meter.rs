//! Counts what happens to a model's requests, in metrics and in the totals of the run.
//!
//! Finding a metric by its labels costs more than counting, so the metrics of answered requests are kept for
//! each endpoint and stage.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use prometheus::{Histogram, IntCounter};

use super::{
    failure::Failure,
    pool::Counted,
    totals::{Totals, add},
};
use crate::observe::Metrics;

/// What an answered request cost, as the server counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Tokens of the prompt.
    pub(super) prompt_tokens: u32,
    /// Tokens of the completion; none where a model makes no text.
    pub(super) completion_tokens: Option<u32>,
    /// Whether the server ended the answer at a length limit.
    pub(super) cut_off: bool,
}

/// Counts for one model.
pub(super) struct Meter {
    metrics: Metrics,
    operation: &'static str,
    role: String,
    model: String,
    endpoints: Vec<(String, StageMeters)>,
    /// Counted up by the caller, too.
    pub(super) totals: Totals,
}

type StageMeters = RwLock<Vec<(&'static str, Arc<StageMeter>)>>;

/// The metrics of answered requests of one stage at one endpoint.
struct StageMeter {
    answered: IntCounter,
    duration: Histogram,
    prompt_tokens: Histogram,
    completion_tokens: Histogram,
}

impl Meter {
    /// A meter for requests of the kind `operation` to `model` at `endpoints`.
    pub(super) fn new(
        metrics: &Metrics,
        operation: &'static str,
        role: &str,
        model: &str,
        endpoints: Vec<String>,
    ) -> Self {
        Self {
            metrics: metrics.clone(),
            operation,
            role: role.to_owned(),
            model: model.to_owned(),
            endpoints: endpoints.into_iter().map(|name| (name, RwLock::default())).collect(),
            totals: Totals::default(),
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self, endpoint: usize, stage: &'static str, time: Duration, usage: Usage) {
        let meter = self.stage(endpoint, stage);
        meter.answered.inc();
        meter.duration.observe(time.as_secs_f64());
        meter.prompt_tokens.observe(usage.prompt_tokens.into());
        add(&self.totals.prompt_tokens, usage.prompt_tokens.into());
        if let Some(tokens) = usage.completion_tokens {
            meter.completion_tokens.observe(tokens.into());
            add(&self.totals.completion_tokens, tokens.into());
        }
    }

    /// An answer ended at a length limit.
    pub(super) fn cut_off(&self, stage: &'static str) {
        self.metrics.answers_cut_off.with_label_values(&[self.model.as_str(), stage]).inc();
        add(&self.totals.cut_off, 1);
    }

    /// A request failed.
    pub(super) fn failed(&self, endpoint: usize, stage: &'static str, time: Duration, failure: &Failure) {
        let (name, _) = &self.endpoints[endpoint];
        self.sends(name, stage, failure.result()).inc();
        self.duration(name, stage, failure.class()).observe(time.as_secs_f64());
        if matches!(failure, Failure::Refused { .. }) {
            add(&self.totals.refusals, 1);
        }
    }

    /// A request will be repeated.
    pub(super) fn repeated(&self, endpoint: usize, stage: &'static str, failure: &Failure) {
        let (name, _) = &self.endpoints[endpoint];
        let labels = [&self.role, &self.model, name.as_str(), stage, failure.class()];
        self.metrics.model_retries.with_label_values(&labels).inc();
        add(&self.totals.retries, 1);
    }

    /// A call of this stage fails, for as long as what is returned lives.
    pub(super) fn failing(&self, stage: &'static str) -> Counted {
        Counted::new(&self.metrics.model_failing.with_label_values(&[self.role.as_str(), stage]))
    }

    /// A try was spent.
    pub(super) fn try_used(&self, stage: &'static str) {
        self.metrics.model_tries_used.with_label_values(&[self.role.as_str(), &self.model, stage]).inc();
        add(&self.totals.tries_used, 1);
    }

    fn stage(&self, endpoint: usize, stage: &'static str) -> Arc<StageMeter> {
        let (name, known) = &self.endpoints[endpoint];
        let find = |meters: &[(&'static str, Arc<StageMeter>)]| {
            meters.iter().find(|(known, _)| *known == stage).map(|(_, meter)| Arc::clone(meter))
        };
        if let Some(meter) = find(&known.read().unwrap_or_else(PoisonError::into_inner)) {
            return meter;
        }
        let meter = Arc::new(self.new_stage(name, stage));
        known.write().unwrap_or_else(PoisonError::into_inner).push((stage, Arc::clone(&meter)));
        meter
    }

    fn new_stage(&self, name: &str, stage: &'static str) -> StageMeter {
        let tokens = |kind| {
            let labels = [self.operation, &self.model, name, stage, kind];
            self.metrics.token_usage.with_label_values(&labels)
        };
        StageMeter {
            answered: self.sends(name, stage, "answered"),
            duration: self.duration(name, stage, ""),
            prompt_tokens: tokens("input"),
            completion_tokens: tokens("output"),
        }
    }

    fn sends(&self, name: &str, stage: &'static str, result: &'static str) -> IntCounter {
        self.metrics.model_sends.with_label_values(&[&self.role, &self.model, name, stage, result])
    }

    fn duration(&self, name: &str, stage: &'static str, error: &'static str) -> Histogram {
        let labels = [self.operation, &self.model, name, stage, error];
        self.metrics.call_duration.with_label_values(&labels)
    }
}
