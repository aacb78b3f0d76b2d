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
    /// The model of long answers, where the recipe asks for them and it is another than the generator.
    pub(super) long: Option<Arc<ChatModel>>,
    /// None where the recipe scores nothing.
    pub(super) reward: Option<Arc<RewardModel>>,
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
        let mut wanted = Wanted::of(settings);
        let cluster = if simulate { Some(wanted.simulate().await?) } else { None };
        need("generator", &wanted.generator)?;
        let stop = Stop::new();
        let chat_model = |role, options| {
            let model = ChatModel::new(options, stop.clone(), metrics);
            model.map(Arc::new).map_err(|cause| RunError::Model { role, cause })
        };
        let chat = chat_model("generator", wanted.generator)?;
        let long = wanted.long.filter(|options| !options.urls.is_empty());
        let long = long.map(|options| chat_model("long", options)).transpose()?;
        let reward_model = |options| {
            need("reward", &options)?;
            let model = RewardModel::new(options, settings.reward_kind, stop.clone(), metrics);
            model.map(Arc::new).map_err(|cause| RunError::Model { role: "reward", cause })
        };
        let reward = wanted.reward.map(reward_model).transpose()?;
        Ok(Self { chat, long, reward, cluster, stop })
    }

    /// The models that write, with the role of each.
    pub(super) fn writers(&self) -> impl Iterator<Item = (&'static str, &ChatModel)> {
        let long = self.long.as_deref().map(|long| ("long", long));
        std::iter::once(("generator", &*self.chat)).chain(long)
    }

    /// Asks every server once whether it is ready, and tells the readiness page and the log.
    pub(super) fn introduce(&self, readiness: &Readiness) {
        let writers =
            [Some(("generator", Arc::clone(&self.chat))), self.long.clone().map(|long| ("long", long))];
        for (role, model) in writers.into_iter().flatten() {
            let condition = readiness.condition(role);
            tokio::spawn(async move { report(role, &condition, model.check().await) });
        }
        if let Some(model) = self.reward.clone() {
            let condition = readiness.condition("reward");
            tokio::spawn(async move { report("reward", &condition, model.check().await) });
        }
    }
}

/// The options of the models that a run asks.
struct Wanted {
    generator: ModelOptions,
    /// None where the recipe asks for no long answers.
    long: Option<ModelOptions>,
    /// None where the recipe scores nothing.
    reward: Option<ModelOptions>,
}

impl Wanted {
    fn of(settings: &Settings) -> Self {
        Self {
            generator: settings.generator.clone(),
            long: (settings.recipe.long_answers > 0).then(|| settings.long.clone()),
            reward: settings.recipe.is_scored().then(|| settings.reward.clone()),
        }
    }

    /// Starts a simulated cluster and names its servers in the place of those that were configured.
    async fn simulate(&mut self) -> Result<Cluster, RunError> {
        let options = Options::default();
        let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
        let cluster = Cluster::start(options).await?;
        if let Some(long) = &mut self.long {
            (long.urls, long.model) = (cluster.generator_urls().to_vec(), format!("{chat_name}-long"));
        }
        (self.generator.urls, self.generator.model) = (cluster.generator_urls().to_vec(), chat_name);
        if let Some(reward) = &mut self.reward {
            (reward.urls, reward.model) = (cluster.reward_urls().to_vec(), reward_name);
        }
        Ok(cluster)
    }
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
