//! The log and the engine of a run over the embedded log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::watch;

use super::{RunError, models::Models};
use crate::{
    broker::embedded::{EmbeddedLog, Retention, TopicSpec},
    config::{LogSettings, Settings},
    dataflow,
    engine::{Engine, Handle, Notes},
    export::ExportOptions,
    observe::Metrics,
    record::RecipeRef,
    stage::{Context, ExportSink, Written},
    topic::{Keep, Spread, TopicInfo, TopicName, catalogue},
};

/// Where the embedded log lies, below the output folder.
pub const STATE: &str = ".state";

/// Opens the embedded log in the output folder.
pub(super) async fn open_log(settings: &Settings) -> Result<EmbeddedLog, RunError> {
    open_state(settings.out.join(STATE), settings.log).await
}

/// Opens the embedded log in a folder.
pub(crate) async fn open_state(folder: PathBuf, log: LogSettings) -> Result<EmbeddedLog, RunError> {
    let opened = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        Ok(EmbeddedLog::open(&folder, &topics(&log), log.options)?)
    });
    opened.await.map_err(|_| RunError::Broken("log"))?
}

fn make_folder(folder: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(folder).map_err(|cause| RunError::Folder { folder: folder.to_owned(), cause })
}

/// The topics of the catalogue, as the embedded log wants to know them.
fn topics(log: &LogSettings) -> Vec<TopicSpec> {
    let spec = |(name, info): &(TopicName, TopicInfo)| TopicSpec {
        name: *name,
        partitions: match info.partitions {
            Spread::Stages => log.partitions,
            Spread::One => 1,
        },
        retention: match info.retention {
            Keep::Consumed => Retention::Consumed,
            Keep::Replay if !log.keep_for_replay => Retention::Consumed,
            Keep::Replay | Keep::Forever | Keep::Compacted => Retention::Forever,
        },
    };
    catalogue().iter().map(spec).collect()
}

/// The engine of a run, and what it tells.
pub(super) struct Assembled {
    pub(super) engine: Engine<EmbeddedLog>,
    pub(super) handle: Handle,
    /// What the files hold, as of the latest commit.
    pub(super) written: watch::Receiver<Written>,
    pub(super) reference: RecipeRef,
    /// The recipe and its templates, as they are remembered in the log.
    pub(super) definition: serde_json::Value,
}

/// Puts stages, files and log together.
pub(super) fn assemble(
    settings: &Settings,
    log: EmbeddedLog,
    models: &Models,
    metrics: &Metrics,
) -> Assembled {
    let reference = settings.recipe.reference(&settings.templates);
    let context = Context {
        recipe: Arc::new(settings.recipe.clone()),
        reference: reference.clone(),
        templates: Arc::new(settings.templates.clone()),
        chat: Arc::clone(&models.chat),
        long: Arc::clone(models.long.as_ref().unwrap_or(&models.chat)),
        reward: models.reward.clone(),
    };
    let sync = matches!(settings.log.options.durability, crate::broker::embedded::Durability::EachCommit);
    let options = ExportOptions { folder: settings.out.clone(), sync, formats: settings.formats.clone() };
    let (sink, written) = ExportSink::new(options, metrics);
    let stages = dataflow::stages(&context, &settings.limits, Notes::One);
    let (engine, handle) =
        Engine::new(log, stages, Some(Box::new(sink)), settings.engine.clone(), metrics.clone());
    let definition = definition(settings, models.cluster.is_some());
    Assembled { engine, handle, written, reference, definition }
}

/// What is remembered of the recipe. Whether the models are simulated belongs to it: a folder of simulated records
/// must not go on with real ones, nor the other way round.
pub(crate) fn definition(settings: &Settings, simulated: bool) -> serde_json::Value {
    let mut definition = serde_json::to_value(&settings.recipe).unwrap_or_default();
    definition["simulated"] = simulated.into();
    definition["templates"] = serde_json::to_value(settings.templates.hashes()).unwrap_or_default();
    definition
}
