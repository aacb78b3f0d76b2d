//! The models of a run: those that are configured, or a simulated cluster.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use crate::{
    command::run::RunError,
    config::Settings,
    model::{ChatModel, EndpointState, EndpointStatus, ModelOptions, RewardKind, RewardModel, StopSignal},
    observe::{Condition, Metrics, Readiness},
    simulate::{Cluster, Latency, Options},
    stage::{Models as Asked, Role},
};

/// How often servers are asked again while none of a role is ready.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Decode step of the simulated cluster, in milliseconds: answers take about a second, so that there is
/// something to watch.
const SIMULATED_STEP_MS: f64 = 3.0;

/// The models that the stages of a process ask, and the cluster that simulates them, if one does.
pub(crate) struct Models {
    pub(crate) asked: Asked,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) stop: StopSignal,
}

impl Models {
    /// Connects to nothing yet: servers may still be loading. They are told which `worker` asks.
    pub(crate) async fn start(
        settings: &Settings,
        roles: &BTreeSet<Role>,
        simulate: bool,
        metrics: &Metrics,
        worker: Option<&str>,
    ) -> Result<Self, RunError> {
        let mut wanted = Wanted::of(settings, roles);
        let cluster = if simulate { Some(wanted.simulate(&settings.long).await?) } else { None };
        wanted.all().for_each(|options| options.agent = agent(&options.agent, worker));
        let stop = StopSignal::new();
        let chat = |role, options: Option<ModelOptions>| {
            let made = options.map(|options| {
                need(role, &options)?;
                let model = ChatModel::new(options, stop.clone(), metrics);
                model.map(Arc::new).map_err(|cause| RunError::Model { role: role.as_str(), cause })
            });
            made.transpose()
        };
        let generator = chat(Role::Generator, wanted.generator)?;
        let long = match wanted.long {
            Long::Own(options) => chat(Role::Long, Some(*options))?,
            Long::Generator => generator.clone(),
            Long::None => None,
        };
        let reward = wanted.reward.map(|options| {
            need(Role::Reward, &options)?;
            let kind = if simulate { RewardKind::Pooling } else { settings.reward_kind };
            let model = RewardModel::new(options, kind, stop.clone(), metrics);
            model.map(Arc::new).map_err(|cause| RunError::Model { role: Role::Reward.as_str(), cause })
        });
        let asked = Asked { generator, long, reward: reward.transpose()? };
        Ok(Self { asked, cluster, stop })
    }

    /// The models that write, with the role of each.
    pub(crate) fn writers(&self) -> impl Iterator<Item = (Role, &Arc<ChatModel>)> {
        let Asked { generator, long, .. } = &self.asked;
        let is_other = |long: &&Arc<ChatModel>| !generator.as_ref().is_some_and(|g| Arc::ptr_eq(g, long));
        let generator = generator.iter().map(|model| (Role::Generator, model));
        generator.chain(long.as_ref().filter(is_other).map(|model| (Role::Long, model)))
    }

    /// Asks the servers whether they are ready, until one of each role is, and tells the readiness page and the
    /// log. Dropping what it returns ends the asking.
    pub(crate) fn introduce(&self, readiness: &Readiness) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for (role, model) in self.writers() {
            let (condition, model) = (readiness.condition(role.as_str()), Arc::clone(model));
            asking.spawn(async move {
                let mut told = Vec::new();
                while !report(role, &condition, &mut told, model.check().await) {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
            });
        }
        if let Some(model) = self.asked.reward.clone() {
            let condition = readiness.condition(Role::Reward.as_str());
            asking.spawn(async move {
                let mut told = Vec::new();
                while !report(Role::Reward, &condition, &mut told, model.check().await) {
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
            });
        }
        asking
    }
}

/// The options of the models that the stages of a process ask.
struct Wanted {
    generator: Option<ModelOptions>,
    long: Long,
    reward: Option<ModelOptions>,
}

/// Who gives long answers.
enum Long {
    None,
    Generator,
    Own(Box<ModelOptions>),
}

impl Wanted {
    fn of(settings: &Settings, roles: &BTreeSet<Role>) -> Self {
        let long = match roles.contains(&Role::Long) {
            false => Long::None,
            true if settings.long.urls.is_empty() => Long::Generator,
            true => Long::Own(Box::new(settings.long.clone())),
        };
        let generates = roles.contains(&Role::Generator) || matches!(long, Long::Generator);
        let mut generator = settings.generator.clone();
        // It gives the long answers where nobody else does.
        generator.samples_per_request = settings.long.samples_per_request;
        Self {
            generator: generates.then_some(generator),
            long,
            reward: roles.contains(&Role::Reward).then(|| settings.reward.clone()),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut ModelOptions> {
        let long = match &mut self.long {
            Long::Own(options) => Some(&mut **options),
            Long::None | Long::Generator => None,
        };
        self.generator.iter_mut().chain(long).chain(&mut self.reward)
    }

    /// Starts a simulated cluster and names its servers in the place of those that were configured.
    async fn simulate(&mut self, long: &ModelOptions) -> Result<Cluster, RunError> {
        let mut options = Options::default();
        options.timing.latency = Latency::Batching;
        (options.timing.step_ms, options.timing.step_ms_per_sequence) = (SIMULATED_STEP_MS, 0.0);
        let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
        let cluster = Cluster::start(options).await?;
        let long_name = format!("{chat_name}-long");
        if let Some(generator) = &mut self.generator {
            *generator = on_cluster(generator, cluster.generator_urls(), chat_name);
        }
        if !matches!(self.long, Long::None) {
            self.long = Long::Own(Box::new(on_cluster(long, cluster.generator_urls(), long_name)));
        }
        if let Some(reward) = &mut self.reward {
            *reward = on_cluster(reward, cluster.reward_urls(), reward_name);
        }
        Ok(cluster)
    }
}

/// The program, the worker if it has a name, and which of its lives it is: a server's log then tells who asked.
fn agent(program: &str, worker: Option<&str>) -> String {
    let worker = worker.map(|name| format!("{name}, ")).unwrap_or_default();
    format!("{program} ({worker}process {})", std::process::id())
}

/// The limits as they are configured; paths, keys and extra fields are for the servers they were meant for.
fn on_cluster(configured: &ModelOptions, urls: &[String], model: String) -> ModelOptions {
    let plain = ModelOptions::new(&configured.role, &[], &model);
    let ModelOptions { path, api_key, extra, .. } = plain;
    ModelOptions { urls: urls.to_vec(), model, path, api_key, extra, ..configured.clone() }
}

fn need(role: Role, options: &ModelOptions) -> Result<(), RunError> {
    if options.urls.is_empty() { Err(RunError::NoModel { role: role.as_str() }) } else { Ok(()) }
}

/// Whether a server of the role is ready. What changed since it was `told` last goes to the log.
fn report(
    role: Role,
    condition: &Condition,
    told: &mut Vec<EndpointStatus>,
    statuses: Vec<EndpointStatus>,
) -> bool {
    let ready = statuses.iter().filter(|status| status.is_ready()).count();
    for status in statuses.iter().filter(|status| !status.is_ready() && !told.contains(status)) {
        match &status.state {
            EndpointState::Refused(why) => {
                tracing::warn!(%role, endpoint = %status.endpoint, why, "a model server refuses; the first call to it will end the run");
            }
            state => {
                tracing::warn!(%role, endpoint = %status.endpoint, ?state, "a model server is not ready; its calls wait")
            }
        }
    }
    for status in &statuses {
        if let EndpointState::OtherModels(names) = &status.state {
            tracing::warn!(%role, endpoint = %status.endpoint, ?names, "the server lists other models than the one that is configured");
        }
    }
    if ready > 0 {
        tracing::info!(%role, ready, of = statuses.len(), "model servers answer");
        condition.met();
    } else {
        condition.unmet("no model server answers yet");
    }
    *told = statuses;
    ready > 0
}
