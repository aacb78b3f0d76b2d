//! Counts what happens to a model's calls and attempts, in metrics and in the totals of the run.
//!
//! Finding a metric by its labels costs more than counting, so the metrics of answered requests are kept for
//! each endpoint and stage.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{Histogram, IntCounter};

use super::{
    failure::{AttemptFailure, FailureKind},
    pool::GaugeGuard,
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
pub(super) struct CallMetrics {
    metrics: Metrics,
    operation: &'static str,
    role: String,
    model: String,
    endpoints: Vec<(String, StageMetricsByName)>,
    totals: TotalCounters,
}

type StageMetricsByName = RwLock<Vec<(&'static str, Arc<StageMetrics>)>>;

/// The metrics of answered requests of one stage at one endpoint.
struct StageMetrics {
    answered: IntCounter,
    duration: Histogram,
    prompt_tokens: Histogram,
    completion_tokens: Histogram,
}

impl CallMetrics {
    /// Counts for requests of the kind `operation` to `model` at `endpoints`.
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
            totals: TotalCounters::default(),
        }
    }

    /// A request is sent.
    pub(super) fn attempted(&self) {
        add(&self.totals.attempts, 1);
    }

    /// A call has ended.
    pub(super) fn ended(&self) {
        add(&self.totals.calls, 1);
    }

    /// What the calls so far came to.
    pub(super) fn totals(&self) -> ModelTotals {
        self.totals.snapshot()
    }

    /// A request was answered.
    pub(super) fn answered(&self, endpoint: usize, stage: &'static str, time: Duration, usage: Usage) {
        let metrics = self.stage(endpoint, stage);
        metrics.answered.inc();
        metrics.duration.observe(time.as_secs_f64());
        metrics.prompt_tokens.observe(usage.prompt_tokens.into());
        add(&self.totals.prompt_tokens, usage.prompt_tokens.into());
        if let Some(tokens) = usage.completion_tokens {
            metrics.completion_tokens.observe(tokens.into());
            add(&self.totals.completion_tokens, tokens.into());
        }
    }

    /// An answer ended at a length limit.
    pub(super) fn cut_off(&self, stage: &'static str) {
        self.metrics.answers_cut_off.with_label_values(&[self.model.as_str(), stage]).inc();
        add(&self.totals.cut_off, 1);
    }

    /// A request failed.
    pub(super) fn failed(
        &self,
        endpoint: usize,
        stage: &'static str,
        time: Duration,
        failure: &AttemptFailure,
    ) {
        let (name, _) = &self.endpoints[endpoint];
        self.attempts(name, stage, failure.result()).inc();
        self.duration(name, stage, failure.kind.as_str()).observe(time.as_secs_f64());
        if failure.kind == FailureKind::Refused {
            add(&self.totals.refusals, 1);
        }
    }

    /// A request will be sent again.
    pub(super) fn retried(&self, endpoint: usize, stage: &'static str, failure: &AttemptFailure) {
        let (name, _) = &self.endpoints[endpoint];
        let labels = [&self.role, &self.model, name.as_str(), stage, failure.kind.as_str()];
        self.metrics.model_retries.with_label_values(&labels).inc();
        add(&self.totals.retries, 1);
    }

    /// A call of this stage fails, for as long as what is returned lives.
    pub(super) fn failing(&self, stage: &'static str) -> GaugeGuard {
        GaugeGuard::new(&self.metrics.model_failing.with_label_values(&[self.role.as_str(), stage]))
    }

    /// A try was spent.
    pub(super) fn try_used(&self, stage: &'static str) {
        self.metrics.model_tries_used.with_label_values(&[self.role.as_str(), &self.model, stage]).inc();
        add(&self.totals.tries_used, 1);
    }

    fn stage(&self, endpoint: usize, stage: &'static str) -> Arc<StageMetrics> {
        let (name, known) = &self.endpoints[endpoint];
        let find = |all: &[(&'static str, Arc<StageMetrics>)]| {
            all.iter().find(|(known, _)| *known == stage).map(|(_, metrics)| Arc::clone(metrics))
        };
        if let Some(metrics) = find(&known.read().unwrap_or_else(PoisonError::into_inner)) {
            return metrics;
        }
        let metrics = Arc::new(self.new_stage(name, stage));
        known.write().unwrap_or_else(PoisonError::into_inner).push((stage, Arc::clone(&metrics)));
        metrics
    }

    fn new_stage(&self, name: &str, stage: &'static str) -> StageMetrics {
        let tokens = |kind| {
            let labels = [self.operation, &self.model, name, stage, kind];
            self.metrics.token_usage.with_label_values(&labels)
        };
        StageMetrics {
            answered: self.attempts(name, stage, "answered"),
            duration: self.duration(name, stage, ""),
            prompt_tokens: tokens("input"),
            completion_tokens: tokens("output"),
        }
    }

    fn attempts(&self, name: &str, stage: &'static str, result: &'static str) -> IntCounter {
        self.metrics.model_attempts.with_label_values(&[&self.role, &self.model, name, stage, result])
    }

    fn duration(&self, name: &str, stage: &'static str, error: &'static str) -> Histogram {
        let labels = [self.operation, &self.model, name, stage, error];
        self.metrics.call_duration.with_label_values(&labels)
    }
}

/// Totals of one model in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ModelTotals {
    /// Calls that ended, with an answer or without.
    pub calls: u64,
    /// Requests sent for them, probes that see whether a server works among them.
    pub attempts: u64,
    /// Attempts that were retries after a failure that may pass.
    pub retries: u64,
    /// Tries spent on refusals and on answers without the form that the method needs.
    pub tries_used: u64,
    /// Requests that a server refused for good.
    pub refusals: u64,
    /// Answers that a server ended at a length limit.
    pub cut_off: u64,
    /// Tokens of prompts, as the servers counted them.
    pub prompt_tokens: u64,
    /// Tokens of completions, as the servers counted them.
    pub completion_tokens: u64,
}

/// The counters behind [`ModelTotals`].
#[derive(Debug, Default)]
struct TotalCounters {
    calls: AtomicU64,
    attempts: AtomicU64,
    retries: AtomicU64,
    tries_used: AtomicU64,
    refusals: AtomicU64,
    cut_off: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
}

impl TotalCounters {
    /// The values as they are now.
    fn snapshot(&self) -> ModelTotals {
        ModelTotals {
            calls: self.calls.load(Relaxed),
            attempts: self.attempts.load(Relaxed),
            retries: self.retries.load(Relaxed),
            tries_used: self.tries_used.load(Relaxed),
            refusals: self.refusals.load(Relaxed),
            cut_off: self.cut_off.load(Relaxed),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            completion_tokens: self.completion_tokens.load(Relaxed),
        }
    }
}

/// Adds to a counter.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}
