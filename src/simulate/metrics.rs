//! `/metrics` of a replica, under the names that vLLM gives them.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, Opts, Registry, TextEncoder, core::Collector,
};

/// Upper bounds in seconds.
const SECONDS: &[f64] = &[0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];

/// The metrics of one replica.
pub(super) struct ReplicaMetrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    prompt_tokens: IntCounter,
    generation_tokens: IntCounter,
    stopped: IntCounter,
    cut_off: IntCounter,
    latency: Histogram,
}

impl ReplicaMetrics {
    /// All metrics of a replica that serves `model`, at zero.
    pub(super) fn new(model: &str) -> Self {
        let table = MetricTable { registry: Registry::new(), model };
        // Dashboards expect these, and nothing here changes them.
        table.gauge("vllm:kv_cache_usage_perc", "Share of the cache in use (not simulated).");
        table.counter("vllm:prefix_cache_queries_total", "Prefix cache queries (not simulated).", None);
        table.counter("vllm:prefix_cache_hits_total", "Prefix cache hits (not simulated).", None);
        table.counter("vllm:num_preemptions_total", "Preemptions (not simulated).", None);
        let finished = "Requests finished, by their reason.";
        Self {
            running: table.gauge("vllm:num_requests_running", "Sequences that are decoded."),
            waiting: table.gauge("vllm:num_requests_waiting", "Sequences that wait for a slot."),
            prompt_tokens: table.counter("vllm:prompt_tokens_total", "Tokens read.", None),
            generation_tokens: table.counter("vllm:generation_tokens_total", "Tokens made.", None),
            stopped: table.counter("vllm:request_success_total", finished, Some("stop")),
            cut_off: table.counter("vllm:request_success_total", finished, Some("length")),
            latency: table.histogram("vllm:e2e_request_latency_seconds", "Time of a request in the replica."),
            registry: table.registry,
        }
    }

    /// Counts a finished request.
    pub(super) fn finished(&self, prompt_tokens: u64, completion_tokens: u64, cut_off: bool, seconds: f64) {
        self.prompt_tokens.inc_by(prompt_tokens);
        self.generation_tokens.inc_by(completion_tokens);
        if cut_off { &self.cut_off } else { &self.stopped }.inc();
        self.latency.observe(seconds);
    }

    /// The text that Prometheus reads.
    pub(super) fn encode(&self, running: usize, waiting: usize) -> Vec<u8> {
        self.running.set(running as f64);
        self.waiting.set(waiting as f64);
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "writing to memory does not fail");
        text
    }
}

/// Makes metrics with the labels that all of them have.
struct MetricTable<'a> {
    registry: Registry,
    model: &'a str,
}

impl MetricTable<'_> {
    fn options(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).const_label("engine", "0").const_label("model_name", self.model)
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("the names above are valid");
        self.registry.register(Box::new(metric.clone())).expect("the names above are unique");
        metric
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(self.options(name, help)))
    }

    fn counter(&self, name: &str, help: &str, finished_reason: Option<&str>) -> IntCounter {
        let options = self.options(name, help);
        self.add(IntCounter::with_opts(match finished_reason {
            Some(reason) => options.const_label("finished_reason", reason),
            None => options,
        }))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        let common_opts = self.options(name, help);
        self.add(Histogram::with_opts(HistogramOpts { common_opts, buckets: SECONDS.to_vec() }))
    }
}
