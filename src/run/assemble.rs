//! The log and the engine of a run over the embedded log.

use std::{path::Path, sync::Arc};

use tokio::sync::watch;

use super::{RunError, models::Models};
use crate::{
    broker::embedded::{EmbeddedLog, Retention, TopicSpec},
    config::Settings,
    dataflow,
    engine::{Engine, Handle},
    export::ExportOptions,
    method::Recipe,
    observe::Metrics,
    record::RecipeRef,
    stage::{Context, ExportSink, Written},
    topic::{self, TopicName},
};

/// Where the embedded log lies, below the output folder.
const STATE: &str = ".state";

/// Topics between stages: what was consumed goes.
const WORKING: [TopicName; 5] = [
    topic::PROMPTS.name,
    topic::DRAFTED.name,
    topic::CRITIQUED.name,
    topic::IMPROVED.name,
    topic::SCORED.name,
];

/// Topics of the exporter: one partition each, so that the files have one order.
const EXPORTED: [TopicName; 2] = [topic::RECORDS.name, topic::REJECTS.name];

/// Opens the embedded log in the output folder.
pub(super) async fn open_log(settings: &Settings) -> Result<EmbeddedLog, RunError> {
    let (folder, log) = (settings.out.join(STATE), settings.log);
    let opened = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        Ok(EmbeddedLog::open(&folder, &topics(log.partitions), log.options)?)
    });
    opened.await.map_err(|_| RunError::Broken("log"))?
}

fn make_folder(folder: &Path) -> Result<(), RunError> {
    std::fs::create_dir_all(folder).map_err(|cause| RunError::Folder { folder: folder.to_owned(), cause })
}

fn topics(partitions: u32) -> Vec<TopicSpec> {
    let spec = |name, partitions, retention| TopicSpec { name, partitions, retention };
    let working = WORKING.map(|name| spec(name, partitions, Retention::Consumed));
    let exported = EXPORTED.map(|name| spec(name, 1, Retention::Consumed));
    let kept = [topic::DEAD_LETTERS, topic::INDEX.name].map(|name| spec(name, 1, Retention::Forever));
    working.into_iter().chain(exported).chain(kept).collect()
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
    let (sink, written) = ExportSink::new(options);
    let stages = dataflow::stages(&context, &settings.limits);
    let (engine, handle) =
        Engine::new(log, stages, Some(Box::new(sink)), settings.engine.clone(), metrics.clone());
    let definition = definition(&settings.recipe, settings);
    Assembled { engine, handle, written, reference, definition }
}

fn definition(recipe: &Recipe, settings: &Settings) -> serde_json::Value {
    let mut definition = serde_json::to_value(recipe).unwrap_or_default();
    definition["templates"] = serde_json::to_value(settings.templates.hashes()).unwrap_or_default();
    definition
}
