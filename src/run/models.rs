//! The models of a run: those that are configured, or a simulated cluster.

use std::sync::Arc;

use super::RunError;
use crate::{
    config::Settings,
    model::{ChatModel, ModelOptions, RewardModel, Stop},
    observe::{Condition, Metrics, Readiness},
    simulate::{Cluster, Options},
};

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
        let reward = RewardModel::new(reward, settings.reward_kind, stop.clone(), metrics);
        let reward = reward.map_err(|cause| RunError::Model { role: "reward", cause })?;
        Ok(Self { chat: Arc::new(chat), reward: Arc::new(reward), cluster, stop })
    }

    /// Asks every server once whether it is ready, and tells the readiness page and the log.
    pub(super) fn introduce(&self, readiness: &Readiness) {
        let (generator, reward) = (readiness.condition("generator"), readiness.condition("reward"));
        let (chat, scorer) = (Arc::clone(&self.chat), Arc::clone(&self.reward));
        tokio::spawn(async move { report("generator", &generator, chat.check().await) });
        tokio::spawn(async move { report("reward", &reward, scorer.check().await) });
    }
}

async fn simulated(generator: &mut ModelOptions, reward: &mut ModelOptions) -> Result<Cluster, RunError> {
    let options = Options::default();
    let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
    let cluster = Cluster::start(options).await?;
    generator.urls = cluster.generator_urls().to_vec();
    generator.model = chat_name;
    reward.urls = cluster.reward_urls().to_vec();
    reward.model = reward_name;
    Ok(cluster)
}

fn need(role: &'static str, options: &ModelOptions) -> Result<(), RunError> {
    if options.urls.is_empty() { Err(RunError::NoModel { role }) } else { Ok(()) }
}

fn report(role: &str, condition: &Condition, statuses: Vec<crate::model::EndpointStatus>) {
    let ready = statuses.iter().filter(|status| status.is_ready()).count();
    for status in statuses.iter().filter(|status| !status.is_ready()) {
        tracing::warn!(role, endpoint = %status.endpoint, state = ?status.state, "a model server is not ready; its calls wait");
    }
    if ready > 0 {
        tracing::info!(role, ready, of = statuses.len(), "model servers answer");
        condition.met();
    } else {
        condition.unmet("no model server answers yet");
    }
}
