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
            let kind = if simulate { RewardKind::Pooling } else { settings.reward_kind };
            let model = RewardModel::new(options, kind, stop.clone(), metrics);
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

    /// Asks the servers whether they are ready, until one of each role is, and tells the readiness page and the
    /// log. Dropping what it returns ends the asking.
    pub(super) fn introduce(&self, readiness: &Readiness) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        let long = self.long.clone().map(|long| ("long", long));
        for (role, model) in [("generator", Arc::clone(&self.chat))].into_iter().chain(long) {
            let condition = readiness.condition(role);
            asking.spawn(async move {
                let mut told = Vec::new();
                while !report(role, &condition, &mut told, model.check().await) {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
            });
        }
        if let Some(model) = self.reward.clone() {
            let condition = readiness.condition("reward");
            asking.spawn(async move {
                let mut told = Vec::new();
                while !report("reward", &condition, &mut told, model.check().await) {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
            });
        }
        asking
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
        let mut generator = settings.generator.clone();
        // It gives the long answers where nobody else does.
        generator.samples_per_request = settings.long.samples_per_request;
        Self {
            generator,
            long: (settings.recipe.long_answers > 0).then(|| settings.long.clone()),
            reward: settings.recipe.is_scored().then(|| settings.reward.clone()),
        }
    }

    /// Starts a simulated cluster and names its servers in the place of those that were configured.
    async fn simulate(&mut self) -> Result<Cluster, RunError> {
        let mut options = Options::default();
        options.timing.latency = Latency::Batching;
        (options.timing.step_ms, options.timing.step_ms_per_sequence) = (SIMULATED_STEP_MS, 0.0);
        let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
        let cluster = Cluster::start(options).await?;
        if let Some(long) = &mut self.long {
            *long = on_cluster(long, cluster.generator_urls(), format!("{chat_name}-long"));
        }
        self.generator = on_cluster(&self.generator, cluster.generator_urls(), chat_name);
        if let Some(reward) = &mut self.reward {
            *reward = on_cluster(reward, cluster.reward_urls(), reward_name);
        }
        Ok(cluster)
    }
}

/// The limits as they are configured; paths, keys and extra fields are for the servers they were meant for.
fn on_cluster(configured: &ModelOptions, urls: &[String], model: String) -> ModelOptions {
    let ModelOptions { role, samples_per_request, max_in_flight, timeout, connect_timeout, .. } =
        configured.clone();
    let plain = ModelOptions::new(&role, &[], &model);
    let urls = urls.to_vec();
    ModelOptions { urls, samples_per_request, max_in_flight, timeout, connect_timeout, ..plain }
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
