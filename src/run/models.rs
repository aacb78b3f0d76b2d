//! The models of a run: those that are configured, or a simulated cluster.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::RunError;
use crate::{
    config::Settings,
    model::{ChatModel, EndpointState, EndpointStatus, ModelOptions, RewardKind, RewardModel, Stop},
    observe::{Condition, Metrics, Readiness},
    simulate::{Cluster, Latency, Options},
};

/// How often servers are asked again while none of a role is ready.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Decode step of the simulated cluster, in milliseconds: answers take about a second, so that there is
/// something to watch.
const SIMULATED_STEP_MS: f64 = 3.0;

/// The models of a run, and the cluster that simulates them, if one does.
pub(super) struct Models {
    pub(super) chat: Arc<ChatModel>,
    pub(super) reward: Arc<RewardModel>,
    pub(super) cluster: Option<Cluster>,
    pub(super) stop: Stop,
}

impl Models {
    /// Connects to nothing yet: servers may still be loading.
    pub(super) async fn start(
        settings: &Settings,
        simulate: bool,
        metrics: &Metrics,
    ) -> Result<Self, RunError> {
        let (mut generator, mut reward) = (settings.generator.clone(), settings.reward.clone());
        let cluster = if simulate { Some(simulated(&mut generator, &mut reward).await?) } else { None };
        need("generator", &generator)?;
        need("reward", &reward)?;
        let stop = Stop::new();
        let chat = ChatModel::new(generator, stop.clone(), metrics);
        let chat = chat.map_err(|cause| RunError::Model { role: "generator", cause })?;
        let kind = if simulate { RewardKind::Pooling } else { settings.reward_kind };
        let reward = RewardModel::new(reward, kind, stop.clone(), metrics);
        let reward = reward.map_err(|cause| RunError::Model { role: "reward", cause })?;
        Ok(Self { chat: Arc::new(chat), reward: Arc::new(reward), cluster, stop })
    }

    /// Asks the servers whether they are ready, until one of each role is, and tells the readiness page and the
    /// log. Dropping what it returns ends the asking.
    pub(super) fn introduce(&self, readiness: &Readiness) -> JoinSet<()> {
        let (generator, reward) = (readiness.condition("generator"), readiness.condition("reward"));
        let (chat, scorer) = (Arc::clone(&self.chat), Arc::clone(&self.reward));
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut told = Vec::new();
            while !report("generator", &generator, &mut told, chat.check().await) {
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        });
        asking.spawn(async move {
            let mut told = Vec::new();
            while !report("reward", &reward, &mut told, scorer.check().await) {
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        });
        asking
    }
}

async fn simulated(generator: &mut ModelOptions, reward: &mut ModelOptions) -> Result<Cluster, RunError> {
    let mut options = Options::default();
    options.timing.latency = Latency::Batching;
    (options.timing.step_ms, options.timing.step_ms_per_sequence) = (SIMULATED_STEP_MS, 0.0);
    let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
    let cluster = Cluster::start(options).await?;
    *generator = on_cluster(generator, cluster.generator_urls(), chat_name);
    *reward = on_cluster(reward, cluster.reward_urls(), reward_name);
    Ok(cluster)
}

/// The limits as they are configured; paths, keys and extra fields are for the servers they were meant for.
fn on_cluster(configured: &ModelOptions, urls: &[String], model: String) -> ModelOptions {
    let ModelOptions { role, max_in_flight, timeout, connect_timeout, .. } = configured.clone();
    let plain = ModelOptions::new(&role, &[], &model);
    ModelOptions { urls: urls.to_vec(), max_in_flight, timeout, connect_timeout, ..plain }
}

fn need(role: &'static str, options: &ModelOptions) -> Result<(), RunError> {
    if options.urls.is_empty() { Err(RunError::NoModel { role }) } else { Ok(()) }
}

/// Whether a server of the role is ready. What changed since it was `told` last goes to the log.
fn report(
    role: &str,
    condition: &Condition,
    told: &mut Vec<EndpointStatus>,
    statuses: Vec<EndpointStatus>,
) -> bool {
    let ready = statuses.iter().filter(|status| status.is_ready()).count();
    for status in statuses.iter().filter(|status| !status.is_ready() && !told.contains(status)) {
        match &status.state {
            EndpointState::Refused(why) => {
                tracing::warn!(role, endpoint = %status.endpoint, why, "a model server refuses; the first call to it will end the run");
            }
            state => {
                tracing::warn!(role, endpoint = %status.endpoint, ?state, "a model server is not ready; its calls wait")
            }
        }
    }
    for status in &statuses {
        if let EndpointState::OtherModels(names) = &status.state {
            tracing::warn!(role, endpoint = %status.endpoint, ?names, "the server lists other models than the one that is configured");
        }
    }
    if ready > 0 {
        tracing::info!(role, ready, of = statuses.len(), "model servers answer");
        condition.met();
    } else {
        condition.unmet("no model server answers yet");
    }
    *told = statuses;
    ready > 0
}
