//! What a simulated cluster and each of its replicas are and remember.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::watch, time::Instant};

use super::{
    Options,
    batcher::Batcher,
    count::{Ledger, ReplicaKind, Stats},
    metrics::ReplicaMetrics,
};

/// What all replicas of a cluster share.
#[derive(Debug)]
pub(super) struct ClusterState {
    /// What the cluster is like.
    pub(super) options: Options,
    /// What was asked and answered.
    pub(super) ledger: Arc<Ledger>,
    /// The decoding of each generator; empty when answers come at once.
    pub(super) batchers: Vec<Arc<Batcher>>,
    /// The cluster's start in seconds since 1970.
    pub(super) created: u64,
    /// The same for measuring.
    pub(super) started: Instant,
}

impl ClusterState {
    /// A cluster that has answered nothing yet.
    pub(super) fn new(options: Options) -> Self {
        let pace = options.timing.pace();
        let batchers =
            (0..options.generators).filter_map(|_| pace.map(|pace| Arc::new(Batcher::new(pace)))).collect();
        Self {
            ledger: Arc::new(Ledger::new(options.count_ids)),
            batchers,
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            started: Instant::now(),
            options,
        }
    }

    /// Totals of all replicas.
    pub(super) fn stats(&self) -> Stats {
        let busy_slot_seconds =
            self.batchers.iter().fold(0.0, |busy, batcher| busy + batcher.busy_slot_seconds());
        let slots = u64::from(self.options.generators) * u64::from(self.options.timing.slots);
        self.ledger.stats().with_slots(slots, busy_slot_seconds)
    }

    pub(super) fn reset(&self) {
        self.ledger.reset();
        self.batchers.iter().for_each(|batcher| batcher.reset_busy());
    }

    pub(super) fn is_loading(&self) -> bool {
        self.started.elapsed() < Duration::from_millis(self.options.loading_ms)
    }
}

/// One server of the cluster.
pub(super) struct Replica {
    /// What it answers.
    pub(super) role: ReplicaKind,
    /// What it shares with the others.
    pub(super) shared: Arc<ClusterState>,
    /// Its decoding, unless answers come at once.
    pub(super) batcher: Option<Arc<Batcher>>,
    /// Its own metrics.
    pub(super) metrics: ReplicaMetrics,
    /// Turns true when the cluster stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Replica {
    /// The name of the model served here.
    pub(super) fn model(&self) -> &str {
        match self.role {
            ReplicaKind::Generator => &self.shared.options.generator_model,
            ReplicaKind::Reward => &self.shared.options.reward_model,
        }
    }
}

/// An answer that is ready to go.
pub(super) struct PreparedAnswer {
    /// The body.
    pub(super) body: Vec<u8>,
    /// Tokens read.
    pub(super) prompt_tokens: u64,
    /// Tokens made.
    pub(super) completion_tokens: u64,
    /// Whether any of the texts ends because of a limit.
    pub(super) cut_off: bool,
}
