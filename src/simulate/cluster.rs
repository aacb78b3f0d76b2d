//! Starts the replicas, each on a port of its own, and stops them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    pin,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Options, RequestCounts, SimulateError, Stats,
    count::ReplicaKind,
    metrics::ReplicaMetrics,
    replica::stopped,
    state::{ClusterState, Replica},
};

/// Connections of one replica; more wait to be accepted. Each carries one request at a time, so this also
/// bounds the requests that wait for a slot.
const MAX_CONNECTIONS: usize = 8192;

/// How long requests under way may take to finish when the cluster stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How long to wait after a connection could not be accepted: the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running cluster of simulated models. Dropping it ends everything at once; [`stop`](Self::stop) lets answers
/// under way go out first.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<ClusterState>,
    generator_urls: Vec<String>,
    reward_urls: Vec<String>,
    stopping: watch::Sender<bool>,
    drivers: JoinSet<()>,
    servers: JoinSet<()>,
}

impl Cluster {
    /// Starts all replicas on loopback; when it returns, every port listens.
    ///
    /// # Errors
    /// If options contradict each other or a port cannot be taken.
    pub async fn start(options: Options) -> Result<Self, SimulateError> {
        options.check()?;
        let shared = Arc::new(ClusterState::new(options));
        let mut cluster = Self {
            shared: Arc::clone(&shared),
            generator_urls: Vec::new(),
            reward_urls: Vec::new(),
            stopping: watch::Sender::new(false),
            drivers: JoinSet::new(),
            servers: JoinSet::new(),
        };
        for batcher in shared.batchers.iter().map(Arc::clone) {
            cluster.drivers.spawn(async move { batcher.drive().await });
        }
        for index in 0..shared.options.generators {
            let url = cluster.add(ReplicaKind::Generator, index).await?;
            cluster.generator_urls.push(url);
        }
        for index in 0..shared.options.rewards {
            let url = cluster.add(ReplicaKind::Reward, index).await?;
            cluster.reward_urls.push(url);
        }
        Ok(cluster)
    }

    /// Where the generators listen, as `http://127.0.0.1:PORT`.
    pub fn generator_urls(&self) -> &[String] {
        &self.generator_urls
    }

    /// Where the rewards listen, as `http://127.0.0.1:PORT`.
    pub fn reward_urls(&self) -> &[String] {
        &self.reward_urls
    }

    /// Requests by id, so far.
    pub fn counts(&self) -> RequestCounts {
        self.shared.ledger.counts()
    }

    /// Totals, so far.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Takes no new connections, lets requests under way finish within a second, closes the others, and gives the
    /// last counts.
    pub async fn stop(mut self) -> RequestCounts {
        self.stopping.send_replace(true);
        while self.servers.join_next().await.is_some() {}
        self.counts()
    }

    async fn add(&mut self, role: ReplicaKind, index: u16) -> Result<String, SimulateError> {
        let options = &self.shared.options;
        let (model, offset, batcher) = match role {
            ReplicaKind::Generator => {
                (&options.generator_model, index, self.shared.batchers.get(usize::from(index)).cloned())
            }
            ReplicaKind::Reward => (&options.reward_model, options.generators + index, None),
        };
        let port = if options.port == 0 { 0 } else { options.port + offset };
        let (listener, address) = listen(port).await?;
        let replica = Replica {
            role,
            batcher,
            metrics: ReplicaMetrics::new(model),
            stopping: self.stopping.subscribe(),
            shared: Arc::clone(&self.shared),
        };
        self.servers.spawn(accept(listener, Arc::new(replica)));
        Ok(format!("http://{address}"))
    }
}

async fn listen(port: u16) -> Result<(TcpListener, SocketAddr), SimulateError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let failed = |source| SimulateError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves connections until the cluster stops.
async fn accept(listener: TcpListener, replica: Arc<Replica>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => { connections.spawn(converse(stream, Arc::clone(&replica))); }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = stopped(replica.stopping.clone()) => break,
        }
    }
    drop(listener);
    // What has not ended by then is closed when `connections` is dropped.
    let _in_time = timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

/// Serves one connection to its end.
async fn converse(stream: TcpStream, replica: Arc<Replica>) {
    // Without it answers are only slower.
    let _slower = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| replica.serve(request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    pin!(connection);
    // How a connection ends is the client's business; what counts was counted.
    let _ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(replica.stopping.clone()) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}
