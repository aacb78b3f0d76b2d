//! One call from its place in the queue to its answer, however many requests that takes.

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
    CallError, ModelOptions, OptionsError, Priority, Stop, check,
    endpoint::Endpoint,
    failure::{Class, Failure},
    meter::{Meter, Usage},
    patience::{Patience, Then},
    pool::{Counted, Permit, Pool},
    schedule::{Fault, Outcome},
    totals::add,
    transport,
};
use crate::observe::Metrics;

/// How long a server may take over something small, to prove that it works.
const PROOF_LIMIT: Duration = Duration::from_secs(10);

/// What the servers of a role offer.
pub(super) struct Api<'a> {
    /// The kind of request, for metrics.
    pub(super) operation: &'static str,
    /// Where they take it.
    pub(super) path: &'a str,
    /// The body of a small request that any of them answers if it works.
    pub(super) small: Map<String, Value>,
}

/// Who calls.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// The deterministic id of the request.
    pub(super) id: &'a str,
    /// The stage.
    pub(super) stage: &'static str,
    /// The stage's rank.
    pub(super) priority: Priority,
}

/// What is said to a server, and how its answer is read.
pub(super) trait Exchange {
    /// What is wanted of the answer.
    type Answer;

    /// The body of the request.
    fn write(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// Reads the body of a 200.
    fn read(&self, body: &[u8]) -> Result<Reading<Self::Answer>, Failure>;
}

/// An answer that was understood: what it cost is counted even if it is of no use.
pub(super) struct Reading<A> {
    /// What the answer cost.
    pub(super) usage: Usage,
    /// What is wanted of it.
    pub(super) answer: Result<A, Failure>,
}

/// The client of one role's servers.
pub(super) struct Caller {
    pub(super) options: ModelOptions,
    pub(super) pool: Pool,
    pub(super) meter: Meter,
    /// How often each endpoint answered.
    answers: Vec<AtomicU64>,
    /// The body of a small request.
    small: Bytes,
    /// Requests refused while none was answered yet.
    refused_at_first: AtomicU32,
    /// Every call that fails holds another of it, so that they can be counted.
    failing: Arc<()>,
    stop: Stop,
}

/// How often a call was sent, and what came of it so far.
#[derive(Default)]
struct Progress {
    sends: u32,
    patience: Patience,
    /// From the first failure that may pass on.
    failing: Option<(Counted, Arc<()>)>,
}

impl Caller {
    /// A client of servers that offer `api`.
    pub(super) fn new(
        options: ModelOptions,
        api: Api<'_>,
        stop: Stop,
        metrics: &Metrics,
    ) -> Result<Self, OptionsError> {
        let endpoints = options.urls.iter().map(|url| Endpoint::new(url, api.path, &options));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        let names = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let meter = Meter::new(metrics, api.operation, &options.role, &options.model, names);
        let pool = Pool::new(endpoints, &options, metrics);
        let answers = (0..pool.len()).map(|_| AtomicU64::new(0)).collect();
        let small = Value::Object(api.small).to_string().into();
        let refused_at_first = AtomicU32::new(0);
        Ok(Self { options, pool, meter, answers, small, refused_at_first, failing: Arc::default(), stop })
    }

    /// Makes one call. Returns the answer, what it cost, and the number of requests sent.
    pub(super) async fn call<E: Exchange>(
        &self,
        subject: Subject<'_>,
        exchange: &E,
    ) -> Result<(E::Answer, Usage, u32), CallError> {
        let result = self.send_until_final(subject, exchange).await;
        if !matches!(result, Err(CallError::Stopped)) {
            add(&self.meter.totals.calls, 1);
        }
        match result {
            Err(CallError::Refused { status, message, model, endpoint, .. })
                if self.is_refused_from_the_start() =>
            {
                let problem =
                    format!("it refused every request so far, this one with status {status} ({message})");
                let advice = "look at what is asked of it, then start again; what went to the dead letters \
                              meanwhile can be sent back"
                    .to_owned();
                return Err(CallError::Run { problem, advice, model, endpoint });
            }
            Err(CallError::Refused { .. } | CallError::Malformed { .. } | CallError::Hopeless { .. }) => {
                self.meter.try_used(subject.stage);
            }
            _ => {}
        }
        result
    }

    /// Notes a refusal; whether there were too many of them before any answer.
    fn is_refused_from_the_start(&self) -> bool {
        let most = self.options.stop_after_refusals;
        let answered = self.answers.iter().any(|answers| answers.load(Relaxed) > 0);
        !answered && most > 0 && self.refused_at_first.fetch_add(1, Relaxed) + 1 >= most
    }

    async fn send_until_final<E: Exchange>(
        &self,
        subject: Subject<'_>,
        exchange: &E,
    ) -> Result<(E::Answer, Usage, u32), CallError> {
        let mut body: Option<Bytes> = None;
        let mut progress = Progress::default();
        loop {
            let permit = self.place(subject.priority, progress.sends).await?;
            // Written only now, so that a waiting call holds no text; kept for repeats.
            let bytes = match &body {
                Some(body) => body.clone(),
                None => body.insert(exchange.write()?.into()).clone(),
            };
            let index = permit.index();
            let answers = self.answers[index].load(Relaxed);
            if progress.patience.wants_proof(index, answers, self.calls_failing())
                && self.works(&permit, subject, exchange).await?
            {
                progress.patience.proved();
            }
            progress.sends += 1;
            let failure = match self.send(permit, subject, progress.sends, bytes, exchange).await {
                Ok((answer, usage)) => return Ok((answer, usage, progress.sends)),
                Err(failure) => failure,
            };
            match progress.patience.after(
                &failure,
                index,
                self.answers(),
                self.options.max_repeats_while_healthy,
            ) {
                Then::Repeat => {}
                Then::Final => return Err(self.error(index, progress.sends, failure).await),
                Then::Hopeless(failures) => {
                    return Err(self.hopeless(index, progress.sends, failures, &failure));
                }
            }
            progress
                .failing
                .get_or_insert_with(|| (self.meter.failing(subject.stage), Arc::clone(&self.failing)));
            self.wait_to_repeat(subject, progress.sends, index, &failure).await?;
            self.meter.repeated(index, subject.stage, &failure);
        }
    }

    /// Whether a server works: it has an answer to something small, and be it that it does not like it. The request is
    /// counted as any other, but tells the pool and other calls nothing.
    async fn works<E: Exchange>(
        &self,
        permit: &Permit,
        subject: Subject<'_>,
        exchange: &E,
    ) -> Result<bool, CallError> {
        let endpoint = permit.endpoint();
        // Servers take a name that is in use for a mistake.
        let id = transport::request_id(&format!("health-{:016x}", fastrand::u64(..)), 1);
        add(&self.meter.totals.sends, 1);
        let start = Instant::now();
        let asked = transport::post(endpoint, id, self.small.clone(), self.options.max_answer_bytes);
        let answer = tokio::select! {
            biased;
            () = self.stop.draining() => return Err(CallError::Stopped),
            answer = tokio::time::timeout(PROOF_LIMIT, asked) => answer.unwrap_or_else(|_| Err(too_slow())),
        };
        let reading = self.read(permit.index(), subject, start.elapsed(), answer, exchange);
        let works = matches!(reading, Ok(_) | Err(Failure::Refused { .. }));
        debug!(endpoint = endpoint.name, works, "asked for something small");
        Ok(works)
    }

    /// The calls that fail now.
    fn calls_failing(&self) -> usize {
        Arc::strong_count(&self.failing) - 1
    }

    fn answers(&self) -> Vec<u64> {
        self.answers.iter().map(|answers| answers.load(Relaxed)).collect()
    }

    async fn place(&self, priority: Priority, sends: u32) -> Result<Permit, CallError> {
        if self.stop.is_stopped() {
            return Err(CallError::Stopped);
        }
        tokio::select! {
            biased;
            permit = self.pool.acquire(priority) => Ok(permit),
            () = self.stop.stopped() => Err(CallError::Stopped),
            () = self.is_in_vain(sends) => Err(CallError::Stopped),
        }
    }

    /// Ends when the process drains and a call that was sent so often in vain would only wait for servers that fail.
    async fn is_in_vain(&self, sends: u32) {
        self.stop.draining().await;
        if sends == 0 && self.pool.is_any_up() {
            std::future::pending().await
        }
    }

    async fn send<E: Exchange>(
        &self,
        permit: Permit,
        subject: Subject<'_>,
        send: u32,
        body: Bytes,
        exchange: &E,
    ) -> Result<(E::Answer, Usage), Failure> {
        let id = transport::request_id(subject.id, send);
        add(&self.meter.totals.sends, 1);
        let start = Instant::now();
        let answer = transport::post(permit.endpoint(), id, body, self.options.max_answer_bytes).await;
        let time = start.elapsed();
        let index = permit.index();
        let reading = self.read(index, subject, time, answer, exchange);
        permit.finish(reading.as_ref().err().map_or(Outcome::Answered, Failure::outcome));
        let Reading { usage, answer } = reading?;
        self.answers[index].fetch_add(1, Relaxed);
        if usage.cut_off {
            self.meter.cut_off(subject.stage);
        }
        Ok((answer?, usage))
    }

    /// Reads what came of a request after `time`, and counts it.
    fn read<E: Exchange>(
        &self,
        index: usize,
        subject: Subject<'_>,
        time: Duration,
        answer: Result<Bytes, Failure>,
        exchange: &E,
    ) -> Result<Reading<E::Answer>, Failure> {
        let reading = answer.and_then(|answer| exchange.read(&answer));
        match &reading {
            Ok(reading) => self.meter.answered(index, subject.stage, time, reading.usage),
            Err(failure) => self.meter.failed(index, subject.stage, time, failure),
        }
        reading
    }

    async fn wait_to_repeat(
        &self,
        subject: Subject<'_>,
        sends: u32,
        index: usize,
        failure: &Failure,
    ) -> Result<(), CallError> {
        let wait = self.options.repeat.wait(sends, fastrand::f64());
        let endpoint = &self.pool.endpoint(index).name;
        // Each doubling is told: a call that goes on failing is seen, and the log is not flooded.
        if sends >= 4 && sends.is_power_of_two() {
            warn!(subject.id, subject.stage, endpoint, sends, ?failure, "call fails again and again");
        } else {
            debug!(subject.id, subject.stage, endpoint, sends, ?failure, ?wait, "call will be repeated");
        }
        tokio::select! {
            biased;
            () = self.stop.draining() => Err(CallError::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn hopeless(&self, index: usize, sends: u32, failures: u32, failure: &Failure) -> CallError {
        let message = failure.message().to_owned();
        CallError::Hopeless {
            failures,
            message,
            sends,
            model: self.options.model.clone(),
            endpoint: self.pool.endpoint(index).name.clone(),
        }
    }

    async fn error(&self, index: usize, sends: u32, failure: Failure) -> CallError {
        let endpoint = self.pool.endpoint(index).name.clone();
        let model = self.options.model.clone();
        let run = |problem, advice| CallError::Run {
            problem,
            advice,
            model: model.clone(),
            endpoint: endpoint.clone(),
        };
        match failure {
            Failure::Refused { status, message } => {
                CallError::Refused { status, message, sends, model, endpoint }
            }
            Failure::Transient { message, .. } | Failure::Unusable(message) => {
                CallError::Malformed { message, sends, model, endpoint }
            }
            Failure::Unauthorised { status, message } => run(
                format!("access was refused with status {status} ({message})"),
                "check the API key and what it may be used for".to_owned(),
            ),
            Failure::UnknownModel(message) => run(
                format!("the server does not have the model ({message})"),
                check::advice_on_models(self.pool.endpoint(index)).await,
            ),
            Failure::UnknownRoute { status, message } => run(
                format!("nothing answers at {} (status {status}: {message})", self.pool.endpoint(index).path()),
                "check the URL, and that the server serves this kind of model".to_owned(),
            ),
            Failure::WrongServer(problem) => run(
                problem,
                "a reward model gives one number: start vLLM with `--runner pooling --convert classify` on a \
                 model with one label, or choose another kind of answer"
                    .to_owned(),
            ),
        }
    }
}

/// What becomes of something small that takes longer than [`PROOF_LIMIT`].
fn too_slow() -> Failure {
    Failure::Transient { class: Class::Timeout, message: "it took too long".to_owned(), fault: Fault::Error }
}
