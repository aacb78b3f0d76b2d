//! The models of a run: those that are configured, or a simulated cluster.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{ExitCode, HasExitCode};
use crate::{
    config::Settings,
    model::{
        ChatModel, EndpointState, EndpointStatus, ModelOptions, OptionsError, RewardKind, RewardModel,
        StopSignal,
    },
    observe::{Condition, Metrics, Readiness},
    simulate::{Cluster, Latency, Options, SimulateError},
    stage::{Models as Asked, Role},
};

/// How the names of simulated models begin.
const SIMULATED: &str = "simulated-";

/// How often servers are asked again while none of a role is ready.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Decode step of the simulated cluster, in milliseconds: answers take about a second, so that there is
/// something to watch.
const SIMULATED_STEP_MS: f64 = 3.0;

/// Why there are no models to ask.
#[derive(Debug, thiserror::Error)]
pub enum ModelSetupError {
    /// No server was named for a role.
    #[error(
        "no {role} is configured: name its servers with --{role} URL and its model with --{role}-model NAME (or in \
         avr.toml under [models.{role}]), or try it out with --simulate"
    )]
    NoModel {
        /// The role.
        role: &'static str,
    },
    /// A model's options do not fit.
    #[error("models.{role}: {cause}")]
    Options {
        /// The role.
        role: &'static str,
        /// What does not fit.
        cause: OptionsError,
    },
    /// The simulated cluster did not start.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
}

impl HasExitCode for ModelSetupError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoModel { .. } | Self::Options { .. } => ExitCode::WrongUsage,
            Self::Simulate(_) => ExitCode::Failed,
        }
    }
}

/// Whether the texts of this process are simulated models': its own cluster's, or those of an `avr simulate` elsewhere,
/// which is known by the models' names.
pub(crate) fn are_simulated(settings: &Settings, simulate: bool) -> bool {
    let models = [&settings.generator, &settings.long, &settings.reward];
    simulate || models.iter().any(|options| is_simulated(&options.model))
}

/// Whether a model of this name is one of `avr simulate`.
pub(crate) fn is_simulated(model: &str) -> bool {
    model.starts_with(SIMULATED)
}

/// The models that the stages of a process ask, and the cluster that simulates them, if one does.
pub(crate) struct ModelClients {
    pub(crate) asked: Asked,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) stop: StopSignal,
}

impl ModelClients {
    /// Connects to nothing yet: servers may still be loading. They are told which `worker` asks.
    pub(crate) async fn start(
        settings: &Settings,
        roles: &BTreeSet<Role>,
        simulate: bool,
        metrics: &Metrics,
        worker: Option<&str>,
    ) -> Result<Self, ModelSetupError> {
        let mut wanted = Wanted::of(settings, roles);
        let mut reward_kind = settings.reward_kind;
        let mut cluster = None;
        if simulate {
            cluster = Some(wanted.simulate(&settings.long).await?);
            reward_kind = RewardKind::Pooling;
        }
        wanted.all().for_each(|options| options.agent = agent(&options.agent, worker));
        let stop = StopSignal::new();
        let chat = |role, options: ModelOptions| {
            made(role, options, |options| ChatModel::new(options, stop.clone(), metrics))
        };
        let generator = wanted.generator.map(|options| chat(Role::Generator, options)).transpose()?;
        let long = match wanted.long {
            LongAnswerModel::Own(options) => Some(chat(Role::Long, *options)?),
            LongAnswerModel::Generator => generator.clone(),
            LongAnswerModel::None => None,
        };
        let reward = wanted.reward.map(|options| {
            made(Role::Reward, options, |options| {
                RewardModel::new(options, reward_kind, stop.clone(), metrics)
            })
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
    pub(crate) fn await_ready(&self, readiness: &Readiness) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for (role, model) in self.writers() {
            let (condition, model) = (readiness.condition(role.as_str()), Arc::clone(model));
            asking.spawn(ask_until_ready(role, condition, async move || model.check().await));
        }
        if let Some(model) = self.asked.reward.clone() {
            let condition = readiness.condition(Role::Reward.as_str());
            asking.spawn(ask_until_ready(Role::Reward, condition, async move || model.check().await));
        }
        asking
    }
}

/// A model of these options.
fn made<M>(
    role: Role,
    options: ModelOptions,
    make: impl FnOnce(ModelOptions) -> Result<M, OptionsError>,
) -> Result<Arc<M>, ModelSetupError> {
    let role = role.as_str();
    if options.urls.is_empty() {
        return Err(ModelSetupError::NoModel { role });
    }
    make(options).map(Arc::new).map_err(|cause| ModelSetupError::Options { role, cause })
}

/// The options of the models that the stages of a process ask.
struct Wanted {
    generator: Option<ModelOptions>,
    long: LongAnswerModel,
    reward: Option<ModelOptions>,
}

/// Who gives long answers.
enum LongAnswerModel {
    None,
    Generator,
    Own(Box<ModelOptions>),
}

impl Wanted {
    fn of(settings: &Settings, roles: &BTreeSet<Role>) -> Self {
        let long = match roles.contains(&Role::Long) {
            false => LongAnswerModel::None,
            true if settings.long.urls.is_empty() => LongAnswerModel::Generator,
            true => LongAnswerModel::Own(Box::new(settings.long.clone())),
        };
        let generates = roles.contains(&Role::Generator) || matches!(long, LongAnswerModel::Generator);
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
            LongAnswerModel::Own(options) => Some(&mut **options),
            LongAnswerModel::None | LongAnswerModel::Generator => None,
        };
        self.generator.iter_mut().chain(long).chain(&mut self.reward)
    }

    /// Starts a simulated cluster and names its servers in the place of those that were configured.
    async fn simulate(&mut self, long: &ModelOptions) -> Result<Cluster, ModelSetupError> {
        let mut options = Options::default();
        options.timing.latency = Latency::Batching;
        (options.timing.step_ms, options.timing.step_ms_per_sequence) = (SIMULATED_STEP_MS, 0.0);
        let (chat_name, reward_name) = (options.generator_model.clone(), options.reward_model.clone());
        let cluster = Cluster::start(options).await?;
        let long_name = format!("{chat_name}-long");
        if let Some(generator) = &mut self.generator {
            *generator = on_cluster(generator, cluster.generator_urls(), chat_name);
        }
        if !matches!(self.long, LongAnswerModel::None) {
            self.long = LongAnswerModel::Own(Box::new(on_cluster(long, cluster.generator_urls(), long_name)));
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

async fn ask_until_ready(role: Role, condition: Condition, check: impl AsyncFn() -> Vec<EndpointStatus>) {
    let mut told = Vec::new();
    while !report(role, &condition, &mut told, check().await) {
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
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
