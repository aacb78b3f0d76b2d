//! The sections `engine`, `stages`, `log` and `intake`.

use std::time::Duration;

use super::Section;
use crate::{
    dataflow::{FlowStage, STAGES, StageLimits},
    engine::{EngineOptions, ForeignProgress},
    intake::IntakeOptions,
    log::embedded::{self, Durability},
    source::{AnswerUse, Columns, DEFAULT_MAX_LINE_BYTES},
};

/// How the embedded log is kept.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// Options of the log itself.
    pub options: embedded::Options,
    /// Partitions of each topic between stages.
    pub partitions: u32,
    /// Whether finished threads stay after selection, so that it can be made again.
    pub keep_for_replay: bool,
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// The least a log must take: smaller threads are no use.
const LEAST_RECORD: usize = 64 << 10;

pub(super) fn options(section: &mut Section<'_>) -> EngineOptions {
    let defaults = EngineOptions::default();
    EngineOptions {
        max_bytes: section.count("max_bytes", defaults.max_bytes, 1 << 20..=1 << 40),
        commit_interval: section.milliseconds("commit_interval_ms", defaults.commit_interval, MINUTE),
        max_commit_bytes: section.count("max_commit_bytes", defaults.max_commit_bytes, 1024..=1 << 30),
        drain_grace: section.seconds("drain_grace_s", defaults.drain_grace, HOUR),
        revoke_grace: section.seconds("revoke_grace_s", defaults.revoke_grace, HOUR),
        foreign_progress: section.choice("foreign_progress", ForeignProgress::Refuse),
        ..defaults
    }
}

pub(super) fn limits(section: &mut Section<'_>) -> StageLimits {
    let limit = |stage: &FlowStage| (stage.name, section.count(stage.name, stage.max_in_flight, 1..=1 << 20));
    StageLimits(STAGES.iter().map(limit).collect())
}

pub(super) fn log(section: &mut Section<'_>) -> LogSettings {
    let defaults = embedded::Options::default();
    let interval = section.milliseconds("interval_ms", Duration::from_millis(200), MINUTE);
    let durability = match section.choice("durability", Durability::EachCommit) {
        Durability::Interval(_) => Durability::Interval(interval),
        Durability::EachCommit => Durability::EachCommit,
    };
    let options = embedded::Options {
        durability,
        max_record_bytes: section.count(
            "max_record_bytes",
            defaults.max_record_bytes,
            LEAST_RECORD..=1 << 30,
        ),
        cache_bytes: section.number("cache_bytes", defaults.cache_bytes, 1 << 20..=1 << 36),
        memtable_bytes: section.number("memtable_bytes", defaults.memtable_bytes, 1 << 20..=1 << 32),
        tail_bytes: section.count("tail_bytes", defaults.tail_bytes, 0..=1 << 36),
        ..defaults
    };
    let partitions = section.number("partitions", 1, 1..=1024);
    let keep_for_replay = section.flag("keep_for_replay", true);
    LogSettings { options, partitions: u32::try_from(partitions).unwrap_or(1), keep_for_replay }
}

/// The columns of input that are named for something.
pub(super) fn columns(section: &mut Section<'_>) -> Columns {
    let uses = Columns::uses().iter();
    let named = |(of, name): (&'static str, String)| Some((of.parse().ok()?, name));
    Columns::named(uses.filter_map(|of| named((*of, section.optional_text(of)?))))
}

pub(super) fn intake(section: &mut Section<'_>) -> IntakeOptions {
    IntakeOptions {
        strict: section.flag("strict", false),
        follow: section.flag("follow", false),
        max_open_threads: section.number("max_open_threads", 8192, 1..=1 << 32),
        max_line_bytes: section.count("max_line_bytes", DEFAULT_MAX_LINE_BYTES, 1024..=1 << 30),
        answer: AnswerUse::Ignored,
        columns: Columns::default(),
    }
}
