//! Puts stages, files and log together.

use std::sync::Arc;

use tokio::sync::watch;

use super::{ExitCode, HasExitCode, Services};
use crate::{
    config::Settings,
    dataflow::{self, Chosen, EXPORT},
    engine::{CheckpointScope, Engine, EngineOptions, Handle, Sink},
    export::{ExportOptions, ExportSink, ShardOptions, ShardSink, Written},
    log::{Log, embedded::Durability},
    observe::Metrics,
    record::RecipeRef,
    stage::{Context, MissingModel},
};

/// Why the chosen stages cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// None of them is passed by threads of the recipe.
    #[error(
        "threads of recipe {recipe} pass none of these stages: {stages}; name others with --stage, or leave it out"
    )]
    NoStage {
        /// The recipe.
        recipe: String,
        /// What was chosen.
        stages: String,
    },
    /// A stage without its model.
    #[error(transparent)]
    MissingModel(#[from] MissingModel),
}

impl HasExitCode for AssembleError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoStage { .. } => ExitCode::WrongUsage,
            Self::MissingModel(_) => ExitCode::Failed,
        }
    }
}

/// The engine of a run, and what it tells.
pub(crate) struct Assembled<L: Log> {
    pub(crate) engine: Engine<L>,
    pub(crate) handle: Handle,
    /// What the files hold, as of the latest commit; none where others write them.
    pub(crate) written: Option<watch::Receiver<Written>>,
    pub(crate) reference: RecipeRef,
}

/// Puts stages, files and log together.
pub(crate) fn assemble<L: Log>(
    settings: &Settings,
    log: L,
    engine: EngineOptions,
    chosen: &Chosen,
    services: &Services,
) -> Result<Assembled<L>, AssembleError> {
    let reference = settings.recipe.reference(&settings.templates);
    let context = Context {
        recipe: Arc::new(settings.recipe.clone()),
        reference: reference.clone(),
        templates: Arc::new(settings.templates.clone()),
    };
    let scope = checkpoint_scope(settings);
    let stages = dataflow::stages(&context, &services.models.asked, &settings.limits, chosen, scope)?;
    if stages.is_empty() {
        let stages = chosen.names().collect::<Vec<_>>().join(", ");
        return Err(AssembleError::NoStage { recipe: reference.name, stages });
    }
    let (sink, written) = chosen.has(EXPORT).then(|| files(settings, &services.metrics)).unzip();
    let (engine, handle) = Engine::new(log, stages, sink, engine, services.metrics.clone());
    Ok(Assembled { engine, handle, written, reference })
}

/// Over a cluster each partition has its own checkpoint, because each may be another exporter's.
fn checkpoint_scope(settings: &Settings) -> CheckpointScope {
    match settings.kafka {
        None => CheckpointScope::WholeSink,
        Some(_) => CheckpointScope::EachPartition(settings.gathering),
    }
}

/// The files of the output folder, and what they hold: over the embedded log one for each kind of line, over a cluster
/// shards.
fn files(settings: &Settings, metrics: &Metrics) -> (Box<dyn Sink>, watch::Receiver<Written>) {
    let (folder, formats) = (settings.out.clone(), settings.formats.clone());
    match &settings.kafka {
        None => {
            let sync = settings.log.options.durability == Durability::EachCommit;
            let (sink, written) = ExportSink::new(ExportOptions { folder, sync, formats }, metrics);
            (Box::new(sink), written)
        }
        Some(kafka) => {
            // A cluster's commits survive a loss of power, and so must what they speak of.
            let (pipeline, sync) = (kafka.options.prefix.clone(), true);
            let (sink, written) = ShardSink::new(ShardOptions { folder, pipeline, sync, formats }, metrics);
            (Box::new(sink), written)
        }
    }
}

/// What is remembered of the recipe in a log. In a folder it also says whether the models are simulated: a folder of
/// simulated records must not go on with real ones, nor the other way round. Over a cluster the models are the workers'
/// own, and who submits does not know them: workers say it by [`claim_models`](crate::pipeline::claims::claim_models).
pub(crate) fn definition(settings: &Settings, simulated: Option<bool>) -> serde_json::Value {
    let mut definition = serde_json::to_value(&settings.recipe).unwrap_or_default();
    if let Some(simulated) = simulated {
        definition["simulated"] = simulated.into();
    }
    definition["templates"] = serde_json::to_value(settings.templates.hashes()).unwrap_or_default();
    definition
}
