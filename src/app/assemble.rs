//! The embedded log, and the engine of any run.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::Process;
use crate::{
    command::run::RunError,
    config::{KafkaSettings, LogSettings, Settings},
    dataflow::{self, Chosen, EXPORT},
    engine::{CheckpointScope, Engine, EngineOptions, Handle, Sink},
    export::{ExportOptions, ShardOptions},
    log::{
        Log, LogError,
        embedded::{Durability, EmbeddedLog, TopicSpec},
        kafka::{Admin, KafkaLog},
    },
    observe::Metrics,
    provision::{self, ProvisionError},
    record::RecipeRef,
    stage::{Context, ExportSink, ShardSink, Written},
    topic::{PartitionCount, TopicInfo, TopicName, catalogue},
};

/// Where the embedded log lies, below the output folder.
pub const STATE: &str = ".state";

/// How long a cluster is waited for that does not answer, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

/// Opens the embedded log in the output folder.
pub(crate) async fn open_log(settings: &Settings) -> Result<EmbeddedLog, RunError> {
    open_state(settings.out.join(STATE), settings.log).await
}

/// Opens the embedded log in a folder.
pub(crate) async fn open_state(folder: PathBuf, log: LogSettings) -> Result<EmbeddedLog, RunError> {
    let opened = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        Ok(EmbeddedLog::open(&folder, &topic_specs(&log), log.options)?)
    });
    opened.await.map_err(|_| RunError::Broken("log"))?
}

/// Connects to the cluster, and makes sure that its topics are as they must be for these stages.
pub(crate) async fn open_cluster(
    kafka: &KafkaSettings,
    stages: &[&str],
    mend: &str,
) -> Result<KafkaLog, OpenError> {
    provision::check(&Admin::new(&kafka.options)?, &kafka.topics, stages, mend).await?;
    Ok(KafkaLog::connect(kafka.options.clone()).await?)
}

/// As [`open_cluster`], for who comes to stay: a broker that just died is no reason to go away again.
pub(crate) async fn await_cluster(
    kafka: &KafkaSettings,
    stages: &[&str],
    mend: &str,
) -> Result<KafkaLog, OpenError> {
    let begun = Instant::now();
    loop {
        let error = match open_cluster(kafka, stages, mend).await {
            Err(OpenError::Topics(ProvisionError::Log(error)) | OpenError::Log(error)) => error,
            opened => return opened,
        };
        if begun.elapsed() > PATIENCE {
            return Err(error.into());
        }
        tracing::warn!(%error, "the cluster does not answer; asking again");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its topics are not as they must be.
    #[error(transparent)]
    Topics(#[from] ProvisionError),
    /// It does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

fn make_folder(folder: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(folder).map_err(|cause| RunError::Folder { folder: folder.to_owned(), cause })
}

/// The topics of the catalogue, as the embedded log wants to know them.
fn topic_specs(log: &LogSettings) -> Vec<TopicSpec> {
    let spec = |(name, info): &(TopicName, TopicInfo)| TopicSpec {
        name: *name,
        partitions: match info.partitions {
            PartitionCount::Stages => log.partitions,
            PartitionCount::One => 1,
        },
        retention: info.retention.with_replay(log.keep_for_replay),
    };
    catalogue().iter().map(spec).collect()
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
    process: &Process,
) -> Result<Assembled<L>, RunError> {
    let reference = settings.recipe.reference(&settings.templates);
    let context = Context {
        recipe: Arc::new(settings.recipe.clone()),
        reference: reference.clone(),
        templates: Arc::new(settings.templates.clone()),
    };
    let scope = checkpoint_scope(settings);
    let stages = dataflow::stages(&context, &process.models.asked, &settings.limits, chosen, scope)?;
    if stages.is_empty() {
        let stages = chosen.names().collect::<Vec<_>>().join(", ");
        return Err(RunError::NoStage { recipe: reference.name, stages });
    }
    let (sink, written) = chosen.has(EXPORT).then(|| files(settings, &process.metrics)).unzip();
    let (engine, handle) = Engine::new(log, stages, sink, engine, process.metrics.clone());
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
/// own, and who submits does not know them: workers say it by [`claim_models`](crate::intake::claim_models).
pub(crate) fn definition(settings: &Settings, simulated: Option<bool>) -> serde_json::Value {
    let mut definition = serde_json::to_value(&settings.recipe).unwrap_or_default();
    if let Some(simulated) = simulated {
        definition["simulated"] = simulated.into();
    }
    definition["templates"] = serde_json::to_value(settings.templates.hashes()).unwrap_or_default();
    definition
}
