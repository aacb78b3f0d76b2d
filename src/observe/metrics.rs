//! Every metric, declared in one table, from which the registry and the documentation's list are both made.
//!
//! Names follow Prometheus conventions, prefix `avr_`; model calls have the OpenTelemetry GenAI names in
//! Prometheus spelling, and lag has the name that existing Kafka dashboards look for.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::{MetricInfo, MetricKind, process::ProcessCollector};

/// Upper bounds, in seconds, for anything from a commit to a long generation.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0,
    320.0, 640.0,
];

/// Upper bounds for counts of tokens, as OpenTelemetry recommends them.
const TOKENS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

macro_rules! metric_types {
    (counter) => {
        IntCounterVec
    };
    (gauge) => {
        IntGaugeVec
    };
    (histogram $buckets:ident) => {
        HistogramVec
    };
}

macro_rules! metric_kind {
    (counter) => {
        MetricKind::Counter
    };
    (gauge) => {
        MetricKind::Gauge
    };
    (histogram $buckets:ident) => {
        MetricKind::Histogram
    };
}

macro_rules! metric_new {
    (counter, $name:expr, $help:expr, $labels:expr) => {
        IntCounterVec::new(Opts::new($name, $help), $labels)
    };
    (gauge, $name:expr, $help:expr, $labels:expr) => {
        IntGaugeVec::new(Opts::new($name, $help), $labels)
    };
    (histogram $buckets:ident, $name:expr, $help:expr, $labels:expr) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), $labels)
    };
}

macro_rules! metrics {
    ($($field:ident: $kind:ident $(($buckets:ident))? = $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// The metrics of one process. Cloning shares them.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: metric_types!($kind $($buckets)?),)*
        }

        /// Every metric, in the order of the documentation.
        pub const METRIC_TABLE: &[MetricInfo] = &[
            $(MetricInfo {
                name: $name, kind: metric_kind!($kind $($buckets)?), help: $help, labels: &[$($label),*],
            },)*
        ];

        impl Metrics {
            /// All metrics, registered and empty, and those of the process.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(
                    let $field = metric_new!($kind $($buckets)?, $name, $help, &[$($label),*])
                        .expect("the table's names and labels are valid");
                    registry.register(Box::new($field.clone())).expect("the table's names are unique");
                )*
                registry.register(Box::new(ProcessCollector::new())).expect("the names are not in the table");
                let metrics = Self { registry, $($field,)* };
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
                metrics
            }
        }
    };
}

metrics! {
    build_info: gauge = "avr_build_info" ["version"] "Always 1; the version is the label.";
    threads_taken_in: counter = "avr_threads_taken_in_total" ["recipe"] "Prompts taken in as new threads.";
    threads_known: counter = "avr_threads_known_total" ["recipe"] "Prompts that were taken in before and so passed over.";
    inputs_rejected: counter = "avr_inputs_rejected_total" ["reason"] "Lines of input that could not be used.";
    outcomes: counter = "avr_outcomes_total" ["reason"] "Threads that ended, by what they came to.";
    records: counter = "avr_records_total" ["kind"] "Training records written.";
    reward_gain: histogram(GAIN) = "avr_reward_gain" [] "Best improvement's reward less the answer's, for each thread.";
    dead_letters: counter = "avr_dead_letters_total" ["stage", "kind"] "Records that a stage could not handle.";
    stage_steps: counter = "avr_stage_steps_total" ["stage", "result"] "Steps that ended, by their result; those discarded with their partition are made again elsewhere.";
    stage_step_duration: histogram(SECONDS) = "avr_stage_step_duration_seconds" ["stage"] "Time from a step's start to its result.";
    stage_in_flight: gauge = "avr_stage_in_flight" ["stage"] "Steps that are running.";
    stage_buffered: gauge = "avr_stage_buffered" ["stage"] "Records fetched and waiting for a place.";
    stage_parked: gauge = "avr_stage_parked" ["stage"] "Threads parked because their recipe is not this process's.";
    stage_paused: gauge = "avr_stage_paused" ["stage"] "1 while a stage starts nothing new because stages behind it lag by more than kafka.max_lag.";
    bytes_in_flight: gauge = "avr_bytes_in_flight" [] "Bytes of records fetched and not yet committed, those on their way from consumers among them, and of results that wait for a commit.";
    commits: counter = "avr_commits_total" ["result"] "Commits to the log, by their result.";
    commit_duration: histogram(SECONDS) = "avr_commit_duration_seconds" [] "Time that a commit to the log took.";
    commit_steps: counter = "avr_commit_steps_total" ["stage"] "Steps made visible by a commit.";
    committed_outputs: counter = "avr_committed_outputs_total" ["topic"] "Records written to the log.";
    cleanups: counter = "avr_log_cleanups_total" ["result"] "Attempts to delete records of the cluster that every stage is past, by their result.";
    deleted_offsets: counter = "avr_log_offsets_deleted_total" ["topic"] "Offsets that were deleted in the cluster because every stage is past them, markers of transactions among them.";
    hung_calls: counter = "avr_kafka_hung_calls_total" [] "Calls about transactions that hung in librdkafka: each left two OS threads and a client behind in memory, which only another start frees.";
    lag: gauge = "kafka_consumergroup_lag" ["consumergroup", "topic", "partition"] "Records of a partition that a stage has not yet done.";
    call_duration: histogram(SECONDS) = "gen_ai_client_operation_duration_seconds" ["gen_ai_operation_name", "gen_ai_request_model", "server_address", "avr_stage", "error_type"] "Time of one request to a model server; error_type is empty for an answer.";
    token_usage: histogram(TOKENS) = "gen_ai_client_token_usage" ["gen_ai_operation_name", "gen_ai_request_model", "server_address", "avr_stage", "gen_ai_token_type"] "Tokens of one answered request, input and output.";
    model_attempts: counter = "avr_model_attempts_total" ["role", "model", "endpoint", "stage", "result"] "Requests sent to model servers, by their result.";
    model_retries: counter = "avr_model_retries_total" ["role", "model", "endpoint", "stage", "class"] "Requests sent again after a transient error.";
    model_tries_used: counter = "avr_model_tries_used_total" ["role", "model", "stage"] "Tries spent on answers without the form that the method needs, and on refusals.";
    model_in_flight: gauge = "avr_model_in_flight" ["role", "endpoint"] "Requests that an endpoint is working on.";
    model_waiting: gauge = "avr_model_waiting" ["role"] "Calls that wait for a slot at an endpoint.";
    model_failing: gauge = "avr_model_failing_calls" ["role", "stage"] "Calls whose steps wait because the model's servers fail: each was sent, failed in a way that may pass, and is retried.";
    endpoint_up: gauge = "avr_model_endpoint_up" ["role", "endpoint"] "1 while an endpoint is used, 0 while it is left alone after failures.";
    answers_cut_off: counter = "avr_model_answers_cut_off_total" ["model", "stage"] "Answers that the server ended at a length limit.";
}

/// Upper bounds for differences of rewards.
const GAIN: &[f64] = &[-5.0, -2.0, -1.0, -0.5, -0.2, -0.1, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The current values in the Prometheus text format.
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "writing to memory does not fail");
        String::from_utf8(text).unwrap_or_default()
    }
}
