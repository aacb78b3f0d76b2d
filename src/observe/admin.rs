//! The admin HTTP server: what machines ask a running process.
//!
//! ```text
//! GET /         the list of these, as HTML
//! GET /livez    200 while the process runs
//! GET /readyz   200 when it can work; 503 with one reason a line when it cannot
//! GET /metrics  Prometheus text format
//! ```
//!
//! It reads and never changes anything, and listens on loopback unless told otherwise. Reasons and label
//! values can hold text of other servers, so they are sent as plain text only, never as HTML.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{Metrics, Readiness};

/// Where Prometheus exporters of telemetry commonly listen.
const DEFAULT_PORT: u16 = 9464;

/// How long [`AdminServer::stop`] lets answers that are under way finish.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Connections at once. Further ones wait in the system's queue, so that callers who never go away take no more of the
/// descriptors that the log and the model servers need.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may be silent before its next request is there whole.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted: most likely the process has no descriptor left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

const INDEX: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>avr</title></head>
<body>
<h1>avr</h1>
<ul>
<li><a href=\"/livez\">/livez</a>: whether the process runs</li>
<li><a href=\"/readyz\">/readyz</a>: whether it can work, and if not, why</li>
<li><a href=\"/metrics\">/metrics</a>: metrics for Prometheus</li>
</ul>
</body>
</html>
";

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminOptions {
    /// Address and port; port 0 takes any that is free.
    pub listen: SocketAddr,
}

impl Default for AdminOptions {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) }
    }
}

/// Why the admin server could not start. The work does not depend on it: the caller may go on without.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Another process listens there.
    #[error(
        "no admin server: {listen} is in use, perhaps by another avr; stop that process, or set \
         `observe.listen` to another address (port 0 takes any that is free)"
    )]
    InUse {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "no admin server: cannot listen on {listen}: {cause}; set `observe.listen` to an address of this \
         machine"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
}

impl AdminError {
    fn new(listen: SocketAddr, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { listen },
            _ => Self::Listen { listen, cause },
        }
    }
}

/// A running admin server. Dropped, it takes no new connections.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    /// Dropping it is the word to stop.
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl AdminServer {
    /// Listens and answers until [`AdminServer::stop`].
    ///
    /// # Errors
    /// [`AdminError`] when the address cannot be listened on.
    pub async fn start(
        options: &AdminOptions,
        metrics: Metrics,
        readiness: Readiness,
    ) -> Result<Self, AdminError> {
        let failed = |cause| AdminError::new(options.listen, cause);
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(serve(listener, router(metrics, readiness), stopped));
        Ok(Self { address, stop, task })
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections and lets the answers under way finish, for a second at most.
    pub async fn stop(self) {
        drop(self.stop);
        // The task bounds itself, and its connections end with it.
        let _ = self.task.await;
    }
}

/// Accepts and answers until the word to stop.
async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, router.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin server cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // Those that take longer end when the set is dropped.
    let _ = tokio::time::timeout(STOP_GRACE, all_ended).await;
}

/// Answers the requests of one connection; after the word to stop only the one that is under way.
async fn answer(stream: TcpStream, router: Router, mut stopped: watch::Receiver<()>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // How a connection ends is its caller's affair.
    tokio::select! {
        _ = &mut connection => {}
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn router(metrics: Metrics, readiness: Readiness) -> Router {
    Router::new()
        .route("/", get(async || Html(INDEX)))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    let reasons = readiness.reasons();
    let (status, mut text) = match reasons.as_slice() {
        [] => (StatusCode::OK, "ready".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
    };
    text.push('\n');
    // Browsers must not guess another type than plain text.
    (status, [(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.encode())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    const ANY_PORT: AdminOptions =
        AdminOptions { listen: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0) };

    /// One request over a connection of its own; the answer as it came, head and body.
    async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: avr\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[track_caller]
    fn check(answer: &str, status: &str, parts: &[&str]) {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        for part in parts {
            assert!(answer.contains(part), "{part:?} is not in: {answer}");
        }
    }

    #[tokio::test]
    async fn every_endpoint_answers() {
        let (metrics, readiness) = (Metrics::new(), Readiness::new());
        metrics.threads_known.with_label_values(&["stage1"]).inc_by(3);
        let log = readiness.condition("log");
        let server = AdminServer::start(&ANY_PORT, metrics, readiness).await.unwrap();
        let address = server.address();

        check(&ask(address, "GET", "/").await, "200", &["text/html", "href=\"/metrics\""]);
        check(&ask(address, "GET", "/livez").await, "200", &["text/plain", "alive"]);
        check(
            &ask(address, "GET", "/readyz").await,
            "503",
            &["text/plain", "nosniff", "log: no answer yet\n"],
        );
        log.met();
        check(&ask(address, "GET", "/readyz").await, "200", &["ready\n"]);
        let metrics = ["text/plain; version=0.0.4", "avr_threads_known_total{recipe=\"stage1\"} 3\n"];
        check(&ask(address, "GET", "/metrics").await, "200", &metrics);
        check(&ask(address, "POST", "/metrics").await, "405", &[]);
        check(&ask(address, "GET", "/elsewhere").await, "404", &[]);
        server.stop().await;
        assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_the_key_to_set() {
        let first = AdminServer::start(&ANY_PORT, Metrics::new(), Readiness::new()).await.unwrap();
        let options = AdminOptions { listen: first.address() };
        let error = AdminServer::start(&options, Metrics::new(), Readiness::new()).await.unwrap_err();
        assert!(matches!(error, AdminError::InUse { listen } if listen == first.address()));
        assert!(error.to_string().contains("`observe.listen`"));
        first.stop().await;
    }

    /// When the test gives up waiting. Only a defect takes this long.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_up_the_stop() {
        let server = AdminServer::start(&ANY_PORT, Metrics::new(), Readiness::new()).await.unwrap();
        let mut half_a_request = TcpStream::connect(server.address()).await.unwrap();
        half_a_request.write_all(b"GET / HT").await.unwrap();
        tokio::time::timeout(PATIENCE, server.stop()).await.expect("it stops after its grace");
        let mut answer = Vec::new();
        let closed = half_a_request.read_to_end(&mut answer);
        let closed = tokio::time::timeout(PATIENCE, closed).await.expect("the connection is closed");
        assert!(closed.is_err() || answer.is_empty(), "{answer:?}");
    }
}
