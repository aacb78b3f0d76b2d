//! A server that follows a script.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

/// What the server says to one request.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    header: Option<(&'static str, &'static str)>,
    body: Option<String>,
}

impl Reply {
    /// A status with a body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self { status, header: None, body: Some(body.to_owned()) }
    }

    /// A 200.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::status(200, &body.to_string())
    }

    /// The reply of a recorded exchange.
    pub(crate) fn recorded(exchange: &serde_json::Value) -> Self {
        let status = exchange["status"].as_u64().and_then(|status| status.try_into().ok());
        Self::status(status.expect("a recorded status"), &exchange["response"].to_string())
    }

    /// Silence.
    pub(crate) fn never() -> Self {
        Self { status: 200, header: None, body: None }
    }

    /// The same with a header.
    pub(crate) fn with_header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) request_id: String,
    pub(crate) user_agent: String,
    pub(crate) body: String,
}

/// The server; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

struct Script {
    replies: Mutex<VecDeque<Reply>>,
    seen: watch::Sender<Vec<Seen>>,
    /// Requests pass it one by one while it is closed: none has a permit.
    gate: Semaphore,
    /// Whether nothing is poison any more.
    cured: AtomicBool,
    /// Requests at once: now, and at most so far.
    at_once: Mutex<(usize, usize)>,
}

impl Server {
    /// A server that replies at once.
    pub(crate) async fn start(replies: impl Into<VecDeque<Reply>>) -> Self {
        Self::start_with(replies.into(), 0, Semaphore::MAX_PERMITS).await
    }

    /// A server that takes requests but does not reply before it is opened.
    pub(crate) async fn start_closed(replies: impl Into<VecDeque<Reply>>) -> Self {
        Self::start_with(replies.into(), 0, 0).await
    }

    /// A server that first cuts some connections.
    pub(crate) async fn start_after_cutting(cuts: usize, replies: impl Into<VecDeque<Reply>>) -> Self {
        Self::start_with(replies.into(), cuts, Semaphore::MAX_PERMITS).await
    }

    async fn start_with(replies: VecDeque<Reply>, cuts: usize, permits: usize) -> Self {
        let script = Arc::new(Script {
            replies: Mutex::new(replies),
            seen: watch::Sender::default(),
            gate: Semaphore::new(permits),
            cured: AtomicBool::new(false),
            at_once: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let task = tokio::spawn(async move {
            for _ in 0..cuts {
                drop(listener.accept().await);
            }
            axum::serve(listener, router).await.expect("the server runs until it is aborted");
        });
        Self { url, script, task }
    }

    /// Lets all replies go.
    pub(crate) fn open(&self) {
        self.script.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// From now on the script is for requests that hold the [`POISON`], too.
    pub(crate) fn cure(&self) {
        self.script.cured.store(true, Relaxed);
    }

    /// Waits until so many requests have come.
    pub(crate) async fn saw(&self, count: usize) {
        let mut seen = self.script.seen.subscribe();
        seen.wait_for(|seen| seen.len() >= count).await.expect("the server runs");
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.borrow().clone()
    }

    /// The most requests that were there at the same time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.script.at_once.lock().expect("no handler panics").1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    fn enter(&self, seen: Seen) {
        let mut at_once = self.at_once.lock().expect("no handler panics");
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
        self.seen.send_modify(|all| all.push(seen));
    }

    fn leave(&self) {
        self.at_once.lock().expect("no handler panics").0 -= 1;
    }

    fn next(&self) -> Reply {
        let mut replies = self.replies.lock().expect("no handler panics");
        let last = replies.len() == 1;
        let reply = if last { replies.front().cloned() } else { replies.pop_front() };
        reply.expect("a script has a reply")
    }
}

/// Requests that hold this text fail with 500, whatever the script says, until the server is cured.
pub(crate) const POISON: &str = "poison";

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let seen = seen(request).await;
    let is_poison = seen.body.contains(POISON) && !script.cured.load(Relaxed);
    script.enter(seen);
    let reply = if is_poison { Reply::status(500, "it crashed") } else { script.next() };
    let Some(body) = reply.body else { return std::future::pending().await };
    script.gate.acquire().await.expect("the gate is never taken away").forget();
    script.leave();
    let mut response = Response::builder().status(reply.status);
    if let Some((name, value)) = reply.header {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).expect("the script is valid")
}

async fn seen(request: Request) -> Seen {
    let (parts, body) = request.into_parts();
    let header = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let body = to_bytes(body, usize::MAX).await.expect("the request is whole");
    Seen {
        path: parts.uri.path().to_owned(),
        authorization: header(&parts.headers, "authorization"),
        request_id: header(&parts.headers, "x-request-id"),
        user_agent: header(&parts.headers, "user-agent"),
        body: String::from_utf8(body.to_vec()).expect("requests are UTF-8"),
    }
}
