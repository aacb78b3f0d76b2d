//! The whole configuration as a valid value.

use std::{path::PathBuf, time::Duration};

use strum::VariantNames as _;

use super::{
    KafkaSettings, ObserveSettings, Reader, engine, engine::LogSettings, kafka, models, observe,
    reader::unknown_name, recipe,
};
use crate::{
    dataflow::StageLimits,
    engine::{BatchPolicy, EngineOptions},
    export::FormatName,
    intake::IntakeOptions,
    method::{AnswerSource, Recipe, Templates},
    model::{CHAT_RESERVED, ModelOptions, REWARD_RESERVED, RewardKind},
    source::AnswerUse,
};

/// What consumers may have on their way when a gate closes, and as much again for others.
const LEAST_BYTES_OVER_KAFKA: usize = 64 << 20;

/// Everything a run needs to know, checked.
#[derive(Debug)]
pub struct Settings {
    /// The output folder; the embedded log lies in `.state` below it.
    pub out: PathBuf,
    /// What to make of each prompt.
    pub recipe: Recipe,
    /// Instruction texts.
    pub templates: Templates,
    /// The model that drafts, criticises and improves.
    pub generator: ModelOptions,
    /// The model that gives long answers; without a server the generator does.
    pub long: ModelOptions,
    /// The reward model.
    pub reward: ModelOptions,
    /// Which face of the reward server to talk to.
    pub reward_kind: RewardKind,
    /// The engine's limits and manners.
    pub engine: EngineOptions,
    /// Steps at once, for each stage.
    pub limits: StageLimits,
    /// The embedded log.
    pub log: LogSettings,
    /// The Kafka cluster that is the log; none where the embedded one is.
    pub kafka: Option<KafkaSettings>,
    /// How prompts are taken in.
    pub intake: IntakeOptions,
    /// Formats to write beside the canonical records.
    pub formats: Vec<FormatName>,
    /// How long rows gather before they become a shard, over Kafka.
    pub gathering: BatchPolicy,
    /// How the process shows itself.
    pub observe: ObserveSettings,
    /// The process' threads.
    pub runtime: RuntimeSettings,
}

/// The process' threads.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeSettings {
    /// Threads that run stages; those that may block come on top.
    pub worker_threads: usize,
}

impl Settings {
    /// Reads every section; mistakes go to the reader. None only where there is a mistake.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let mut root = reader.section("");
        let out = PathBuf::from(root.text("out", "out"));
        let recipe = recipe::read(reader);
        let templates = recipe::templates(&mut reader.section("templates"));
        let generator = models::read(&mut reader.section("models.generator"), "generator", CHAT_RESERVED);
        let mut section = reader.section("models.long");
        let mut long = models::read(&mut section, "long", CHAT_RESERVED);
        long.samples_per_request = models::samples_per_request(&mut section);
        let mut section = reader.section("models.reward");
        let reward = models::read(&mut section, "reward", REWARD_RESERVED);
        let reward_kind = models::reward_kind(&mut section);
        let mut intake = engine::intake(&mut reader.section("intake"));
        intake.columns = engine::columns(&mut reader.section("intake.columns"));
        intake.answer = match recipe.answer {
            AnswerSource::Given if recipe.needs_answer() => AnswerUse::Used,
            AnswerSource::Draft | AnswerSource::Given => AnswerUse::Ignored,
        };
        let mut export = reader.section("export");
        let (formats, gathering) = (formats(&mut export), gathering(&mut export));
        let settings = Self {
            out,
            recipe,
            generator,
            long,
            reward,
            reward_kind,
            engine: engine::options(&mut reader.section("engine")),
            limits: engine::limits(&mut reader.section("stages")),
            log: engine::log(&mut reader.section("log")),
            kafka: kafka::read(&mut reader.section("kafka")),
            intake,
            formats,
            gathering,
            observe: observe::read(&mut reader.section("observe")),
            runtime: runtime(&mut reader.section("runtime")),
            // Last: sections that nobody read would be reported as unknown, too.
            templates: templates?,
        };
        settings.check(reader);
        Some(settings)
    }

    /// What only shows when several keys are seen together.
    fn check(&self, reader: &mut Reader) {
        let (key, largest) = match &self.kafka {
            Some(kafka) => ("kafka.max_record_bytes", kafka.options.max_record_bytes),
            None => ("log.max_record_bytes", self.log.options.max_record_bytes),
        };
        if self.kafka.is_some() && self.engine.max_bytes < LEAST_BYTES_OVER_KAFKA {
            reader.contradiction(
                "engine.max_bytes",
                format!(
                    "must be at least {LEAST_BYTES_OVER_KAFKA} over Kafka: what is on its way to a stage whose gate is closed \
                     must leave room for the stages that open it"
                ),
            );
        }
        if self.engine.max_bytes < largest {
            reader.contradiction(
                "engine.max_bytes",
                format!("must be at least {key} ({largest}), or the largest thread could never move"),
            );
        }
        if let Some(kafka) = &self.kafka {
            let silence = kafka.longest_silence();
            if self.engine.revoke_grace > silence / 2 {
                let most = silence.as_secs() / 2;
                reader.contradiction(
                    "engine.revoke_grace_s",
                    format!(
                        "must be at most {most}, half of what kafka.consumer's max.poll.interval.ms allows: a member that \
                         takes longer to give partitions up is taken for dead"
                    ),
                );
            }
        }
        if self.kafka.is_some() && self.gathering.bytes > self.engine.max_bytes / 2 {
            reader.contradiction(
                "export.shard_bytes",
                format!(
                    "must be at most half of engine.max_bytes ({}), or what gathers for files would stop the rest",
                    self.engine.max_bytes
                ),
            );
        }
        if self.intake.max_line_bytes > largest {
            reader.contradiction(
                "intake.max_line_bytes",
                format!("must be at most {key} ({largest}), or a prompt could not be stored"),
            );
        }
        if self.long.samples_per_request > 1
            && self.recipe.long_answers > 1
            && self.recipe.draft_temperature == 0.0
        {
            reader.contradiction(
                "models.long.samples_per_request",
                "must be 1 where draft_temperature is 0: servers refuse several answers of greedy sampling",
            );
        }
        for (role, model) in [("generator", &self.generator), ("long", &self.long), ("reward", &self.reward)]
        {
            if !model.urls.is_empty() && model.model.is_empty() {
                let key = format!("models.{role}.model");
                reader.contradiction(
                    &key,
                    format!(
                        "is missing while models.{role}.urls is given; name the model as the servers know it"
                    ),
                );
            }
        }
    }
}

fn formats(section: &mut super::Section<'_>) -> Vec<FormatName> {
    if !section.has("formats") {
        section.note_default("formats", "[\"llama-factory\"]");
        section.know("formats");
        return vec![FormatName::LlamaFactory];
    }
    let mut formats = Vec::new();
    for name in section.texts("formats") {
        match name.parse() {
            Ok(format) if formats.contains(&format) => {
                section.mistake("formats", format!("{name:?} is named twice"))
            }
            Ok(format) => formats.push(format),
            Err(_) => section.mistake("formats", unknown_name(&name, FormatName::VARIANTS)),
        }
    }
    formats
}

fn gathering(section: &mut super::Section<'_>) -> BatchPolicy {
    BatchPolicy {
        bytes: section.count("shard_bytes", 16 << 20, 1 << 16..=1 << 36),
        linger: section.seconds("shard_interval_s", Duration::from_secs(30), Duration::from_secs(3600)),
    }
}

fn runtime(section: &mut super::Section<'_>) -> RuntimeSettings {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    RuntimeSettings { worker_threads: section.count("worker_threads", cores.min(4), 1..=1024) }
}
