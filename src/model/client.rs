//! One call from its slot at an endpoint to its answer, however many attempts that takes.
//!
//! ```text
//! acquire a slot ─▶ probe, where in doubt ─▶ attempt: send, read ─▶ answer
//!        ▲                                            │
//!        │                                         failure ─▶ decide ─▶ final, given up: CallError
//!        └────────────────── wait ◀── retry after ───────────────┘
//! ```

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Map, Value};
use tracing::{debug, warn};

use super::{
    CallError, CallErrorKind, Concerns, ModelOptions, OptionsError, Priority, Refusal, RefusalReason,
    StopSignal,
    call_metrics::{CallMetrics, Usage},
    check,
    endpoint::Endpoint,
    failure::{AttemptFailure, FailureKind},
    pool::{GaugeGuard, Permit, Pool},
    retry::{CallHistory, Decision, Evidence, Moment, RetryPolicy},
    schedule::HealthSignal,
    transport,
};
use crate::observe::Metrics;

/// How long a server may take over a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the servers of a role offer.
pub(super) struct ApiSpec<'a> {
    /// The kind of request, for metrics.
    pub(super) operation: &'static str,
    /// Where they take it.
    pub(super) path: &'a str,
    /// The body of a probe: a small request that any of them answers if it works.
    pub(super) probe: Map<String, Value>,
}

/// Who calls.
#[derive(Clone, Copy)]
pub(super) struct CallContext<'a> {
    /// The deterministic id of the request.
    pub(super) id: &'a str,
    /// The stage.
    pub(super) stage: &'static str,
    /// How urgent the call is.
    pub(super) priority: Priority,
}

/// How a request is written and its answer read.
pub(super) trait Protocol {
    /// What is wanted of the answer.
    type Answer;

    /// The body of the request.
    fn write(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// Reads the body of a 200.
    fn read(&self, body: &[u8]) -> Result<ParsedAnswer<Self::Answer>, AttemptFailure>;
}

/// An answer that was understood: what it cost is counted even if it is of no use.
pub(super) struct ParsedAnswer<A> {
    /// What the answer cost.
    pub(super) usage: Usage,
    /// What is wanted of it.
    pub(super) answer: Result<A, AttemptFailure>,
}

/// What a call came to.
pub(super) struct Answered<A> {
    pub(super) answer: A,
    pub(super) usage: Usage,
    /// Requests sent for it.
    pub(super) attempts: u32,
}

/// The client of one role's servers.
pub(super) struct RoleClient {
    pub(super) options: ModelOptions,
    pub(super) pool: Pool,
    pub(super) metrics: CallMetrics,
    policy: RetryPolicy,
    probe: Bytes,
    /// Attempts begun: the clock by which [`Moment`]s are told.
    attempts_begun: AtomicU64,
    /// For each endpoint the moment after the youngest request was sent that it answered; 0 where it answered none.
    newest_answered: Vec<AtomicU64>,
    /// Requests refused while none was answered yet.
    refused_at_first: AtomicU32,
    /// Every call that fails holds another of it, so that they can be counted.
    failing: Arc<()>,
    stop: StopSignal,
}

impl RoleClient {
    /// A client of servers that offer `api`.
    pub(super) fn new(
        options: ModelOptions,
        api: ApiSpec<'_>,
        stop: StopSignal,
        metrics: &Metrics,
    ) -> Result<Self, OptionsError> {
        let endpoints = options.urls.iter().map(|url| Endpoint::new(url, api.path, &options));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        let names = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let policy = RetryPolicy {
            max_while_healthy: options.max_retries_while_healthy,
            backoff: options.retry_backoff,
        };
        Ok(Self {
            metrics: CallMetrics::new(metrics, api.operation, &options.role, &options.model, names),
            newest_answered: endpoints.iter().map(|_| AtomicU64::new(0)).collect(),
            pool: Pool::new(endpoints, &options, metrics),
            policy,
            probe: Value::Object(api.probe).to_string().into(),
            attempts_begun: AtomicU64::new(0),
            refused_at_first: AtomicU32::new(0),
            failing: Arc::default(),
            stop,
            options,
        })
    }

    /// Makes one call.
    pub(super) async fn call<P: Protocol>(
        &self,
        context: CallContext<'_>,
        protocol: &P,
    ) -> Result<Answered<P::Answer>, CallError> {
        let history = CallHistory::default();
        let call = Call { client: self, context, protocol, body: None, history, failing: None };
        let result = call.run().await.map_err(|error| self.with_the_others(error));
        match &result {
            Err(CallError { kind: CallErrorKind::Stopped, .. }) => return result,
            Err(CallError { kind: CallErrorKind::Unwritable(_), .. }) | Ok(_) => {}
            Err(error) if error.concerns() == Some(Concerns::Request) => {
                self.metrics.try_used(context.stage);
            }
            Err(_) => {}
        }
        self.metrics.ended();
        result
    }

    /// A refusal where every request was refused so far concerns everybody, once there were enough of them.
    fn with_the_others(&self, mut error: CallError) -> CallError {
        if let CallErrorKind::Refused(refusal) = &mut error.kind
            && refusal.concerns == Concerns::Request
            && self.refuses_all()
        {
            (refusal.concerns, refusal.reason) = (Concerns::Everybody, RefusalReason::RefusesAll);
        }
        error
    }

    /// Notes a refusal; whether there were too many of them before any answer.
    fn refuses_all(&self) -> bool {
        let most = self.options.stop_after_refusals;
        let answered = self.newest_answered.iter().any(|newest| newest.load(Relaxed) > 0);
        !answered && most > 0 && self.refused_at_first.fetch_add(1, Relaxed) + 1 >= most
    }

    fn newest_answered(&self, endpoint: usize) -> Option<Moment> {
        self.newest_answered[endpoint].load(Relaxed).checked_sub(1)
    }

    /// The calls that fail now.
    fn calls_failing(&self) -> usize {
        Arc::strong_count(&self.failing) - 1
    }
}

/// A call on its way.
struct Call<'a, P> {
    client: &'a RoleClient,
    context: CallContext<'a>,
    protocol: &'a P,
    /// Written with the first slot, so that a waiting call holds no text; kept for retries.
    body: Option<Bytes>,
    history: CallHistory,
    /// From the first failure that may pass on.
    failing: Option<(GaugeGuard, Arc<()>)>,
}

impl<P: Protocol> Call<'_, P> {
    async fn run(mut self) -> Result<Answered<P::Answer>, CallError> {
        loop {
            let permit = self.acquire().await?;
            let (endpoint, body) = (permit.index(), self.body()?);
            self.probe_where_in_doubt(&permit).await?;
            let failure = match self.attempt(permit, body).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            match self.decide(endpoint, &failure) {
                Decision::RetryAfter(wait) => self.wait(endpoint, &failure, wait).await?,
                Decision::Final => return Err(self.refused(endpoint, failure).await),
                Decision::GiveUp { failures } => {
                    let kind = CallErrorKind::GaveUp { failures, message: failure.words() };
                    return Err(self.error(Some(endpoint), kind));
                }
            }
        }
    }

    async fn acquire(&self) -> Result<Permit, CallError> {
        let RoleClient { pool, stop, .. } = self.client;
        if stop.is_stopped() {
            return Err(self.stopped());
        }
        tokio::select! {
            biased;
            permit = pool.acquire(self.context.priority) => Ok(permit),
            () = stop.stopped() => Err(self.stopped()),
            () = self.waits_in_vain() => Err(self.stopped()),
        }
    }

    /// Ends when the process drains and a call that failed before would only wait for servers that fail.
    async fn waits_in_vain(&self) {
        self.client.stop.draining().await;
        if self.history.attempts == 0 && self.client.pool.is_any_up() {
            std::future::pending().await
        }
    }

    fn body(&mut self) -> Result<Bytes, CallError> {
        if let Some(body) = &self.body {
            return Ok(body.clone());
        }
        let written =
            self.protocol.write().map_err(|cause| self.error(None, CallErrorKind::Unwritable(cause)))?;
        Ok(self.body.insert(written.into()).clone())
    }

    /// Sends a probe where the request may be what is wrong and nothing else tells.
    async fn probe_where_in_doubt(&mut self, permit: &Permit) -> Result<(), CallError> {
        let newest_answered = self.client.newest_answered(permit.index());
        if self.history.wants_probe(newest_answered, self.client.calls_failing())
            && self.probe(permit).await?
        {
            self.history.probe_answered();
        }
        Ok(())
    }

    /// Whether a server works: it has an answer to something small, and be it that it does not like it. The probe is
    /// counted like any request, but tells the pool and other calls nothing.
    async fn probe(&self, permit: &Permit) -> Result<bool, CallError> {
        let RoleClient { metrics, options, stop, probe, .. } = self.client;
        // Servers take a name that is in use for a mistake.
        let id = transport::request_id(&format!("health-{:016x}", fastrand::u64(..)), 1);
        metrics.attempted();
        let start = Instant::now();
        let asked = transport::post(permit.endpoint(), id, probe.clone(), options.max_answer_bytes);
        let too_slow = || AttemptFailure::new(FailureKind::Timeout, "it took too long");
        let body = tokio::select! {
            biased;
            () = stop.draining() => return Err(self.stopped()),
            body = tokio::time::timeout(PROBE_TIMEOUT, asked) => body.unwrap_or_else(|_| Err(too_slow())),
        };
        let parsed = self.parse(permit.index(), start.elapsed(), body);
        let works = parsed.is_ok() || parsed.is_err_and(|failure| failure.kind == FailureKind::Refused);
        debug!(endpoint = permit.endpoint().name, works, "a probe was sent");
        Ok(works)
    }

    /// Sends the request once and reads what comes of it.
    async fn attempt(&mut self, permit: Permit, body: Bytes) -> Result<Answered<P::Answer>, AttemptFailure> {
        let client = self.client;
        self.history.attempts += 1;
        let id = transport::request_id(self.context.id, self.history.attempts);
        client.metrics.attempted();
        let sent = client.attempts_begun.fetch_add(1, Relaxed);
        let start = Instant::now();
        let body = transport::post(permit.endpoint(), id, body, client.options.max_answer_bytes).await;
        let endpoint = permit.index();
        let parsed = self.parse(endpoint, start.elapsed(), body);
        permit.finish(parsed.as_ref().err().map_or(HealthSignal::Answered, AttemptFailure::health));
        let ParsedAnswer { usage, answer } = parsed?;
        client.newest_answered[endpoint].fetch_max(sent + 1, Relaxed);
        if usage.cut_off {
            client.metrics.cut_off(self.context.stage);
        }
        Ok(Answered { answer: answer?, usage, attempts: self.history.attempts })
    }

    /// Reads what came of a request after `time`, and counts it.
    fn parse(
        &self,
        endpoint: usize,
        time: Duration,
        body: Result<Bytes, AttemptFailure>,
    ) -> Result<ParsedAnswer<P::Answer>, AttemptFailure> {
        let (metrics, stage) = (&self.client.metrics, self.context.stage);
        let parsed = body.and_then(|body| self.protocol.read(&body));
        match &parsed {
            Ok(parsed) => metrics.answered(endpoint, stage, time, parsed.usage),
            Err(failure) => metrics.failed(endpoint, stage, time, failure),
        }
        parsed
    }

    fn decide(&mut self, endpoint: usize, failure: &AttemptFailure) -> Decision {
        let evidence = Evidence {
            now: self.client.attempts_begun.load(Relaxed),
            newest_answered: self.client.newest_answered(endpoint),
        };
        self.client.policy.decide(&mut self.history, failure, evidence, fastrand::f64())
    }

    async fn wait(
        &mut self,
        endpoint: usize,
        failure: &AttemptFailure,
        wait: Duration,
    ) -> Result<(), CallError> {
        let RoleClient { metrics, pool, failing, stop, .. } = self.client;
        let (CallContext { id, stage, .. }, attempts) = (self.context, self.history.attempts);
        self.failing.get_or_insert_with(|| (metrics.failing(stage), Arc::clone(failing)));
        let server = &pool.endpoint(endpoint).name;
        // Each doubling is told: a call that goes on failing is seen, and the log is not flooded.
        if attempts >= 4 && attempts.is_power_of_two() {
            warn!(id, stage, endpoint = server, attempts, ?failure, "call fails again and again");
        } else {
            debug!(id, stage, endpoint = server, attempts, ?failure, ?wait, "call will be retried");
        }
        tokio::select! {
            biased;
            () = stop.draining() => return Err(self.stopped()),
            () = tokio::time::sleep(wait) => {}
        }
        metrics.retried(endpoint, stage, failure);
        Ok(())
    }

    /// The error of a failure that is final.
    async fn refused(&self, endpoint: usize, failure: AttemptFailure) -> CallError {
        let server = self.client.pool.endpoint(endpoint);
        let (concerns, reason) = match failure.kind {
            FailureKind::Unauthorised => (Concerns::Key, RefusalReason::Unauthorised),
            FailureKind::UnknownModel => {
                (Concerns::Endpoint, RefusalReason::UnknownModel { known: check::models(server).await })
            }
            FailureKind::UnknownRoute => {
                (Concerns::Endpoint, RefusalReason::UnknownRoute { path: server.path().to_owned() })
            }
            FailureKind::WrongServer => (Concerns::Endpoint, RefusalReason::WrongServer),
            FailureKind::Refused => (Concerns::Request, RefusalReason::Request),
            _ => return self.error(Some(endpoint), CallErrorKind::Unusable { message: failure.message }),
        };
        let AttemptFailure { status, message, .. } = failure;
        let refusal = Refusal { concerns, reason, status, message };
        self.error(Some(endpoint), CallErrorKind::Refused(refusal))
    }

    fn stopped(&self) -> CallError {
        self.error(None, CallErrorKind::Stopped)
    }

    fn error(&self, endpoint: Option<usize>, kind: CallErrorKind) -> CallError {
        CallError {
            model: self.client.options.model.clone(),
            endpoint: endpoint
                .map_or_else(String::new, |index| self.client.pool.endpoint(index).name.clone()),
            attempts: self.history.attempts,
            kind,
        }
    }
}
