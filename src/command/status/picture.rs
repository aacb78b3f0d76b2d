//! What two samples tell together: rates, who works, and whether nothing is left.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    sample::{Sample, StageSample},
    table,
};
use crate::record::{WorkerStage, WorkerStatus};

/// A pipeline as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Picture {
    /// Whether nothing is left to do in any stage.
    pub nothing_left: bool,
    /// Every stage, in the order of the flow.
    pub stages: Vec<StagePicture>,
    /// Every worker that was heard of lately.
    pub workers: Vec<WorkerPicture>,
    /// Dead letters that nobody has handled.
    pub dead_letters: u64,
    /// Whether they were counted; else there are at most so many.
    pub dead_letters_are_exact: bool,
    /// How many of each kind, as `stage: kind`.
    pub dead_letter_kinds: BTreeMap<String, u64>,
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StagePicture {
    /// Its name.
    pub name: &'static str,
    /// Records that it has not done.
    pub left: u64,
    /// Whether they were counted; else there are at most so many.
    pub left_is_exact: bool,
    /// How long the oldest of them has been there, in seconds.
    pub oldest_seconds: Option<u64>,
    /// Offsets that it has done, over all time.
    pub done: u64,
    /// Of those, how many a second.
    pub per_second: f64,
    /// Workers that run it and are heard of.
    pub workers: u64,
    /// Steps that run.
    pub in_flight: u64,
    /// Records fetched and waiting.
    pub waiting: u64,
    /// Threads left alone, because they follow another recipe than the worker.
    pub held: u64,
}

/// Whether a worker is heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It works.
    #[default]
    Alive,
    /// It was told to stop.
    Stopping,
    /// It has said nothing for longer than it should.
    Silent,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerPicture {
    /// Its name.
    pub name: String,
    /// Whether it is heard of.
    pub state: WorkerState,
    /// How long ago it said how it is, in seconds.
    pub heard_seconds: u64,
    /// Its stages.
    pub stages: Vec<String>,
    /// The program's version.
    pub version: String,
}

impl Picture {
    /// What the sample `now` tells after `before`; a worker is silent that said nothing for `silent_after`.
    pub fn of(before: &Sample, now: &Sample, silent_after: Duration) -> Self {
        let state = |status: &WorkerStatus| state_of(status, now.at_ms, silent_after);
        let alive: Vec<&WorkerStatus> =
            now.workers.iter().filter(|status| state(status) == WorkerState::Alive).collect();
        let seconds = now.at.duration_since(before.at).as_secs_f64();
        let stages = before.stages.iter().zip(&now.stages);
        let stages = stages.map(|(before, stage)| StagePicture {
            per_second: rate(before, stage, seconds),
            ..stage_of(stage, &alive, now.at_ms)
        });
        let kinds = now.dead_letters.by_kind.iter().flatten();
        Self {
            nothing_left: now.shows_that_nothing_is_left(before),
            stages: stages.collect(),
            workers: now.workers.iter().map(|status| worker_of(status, state(status), now.at_ms)).collect(),
            dead_letters: now.dead_letters.waiting,
            dead_letters_are_exact: now.dead_letters.by_kind.is_some(),
            dead_letter_kinds: kinds
                .map(|((stage, kind), number)| (format!("{stage}: {kind}"), *number))
                .collect(),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        table::render(self)
    }

    /// For machines: one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("keys are texts, and nothing else can fail in memory")
    }
}

fn rate(before: &StageSample, now: &StageSample, seconds: f64) -> f64 {
    let done = |sample: &StageSample| sample.behind.iter().map(|behind| behind.done()).sum::<u64>();
    if seconds > 0.0 { done(now).saturating_sub(done(before)) as f64 / seconds } else { 0.0 }
}

fn stage_of(sample: &StageSample, alive: &[&WorkerStatus], now_ms: i64) -> StagePicture {
    let of_stage = |status: &&&WorkerStatus| status.stages.iter().any(|stage| stage.name == sample.name);
    let sum = |of: fn(&WorkerStage) -> u64| {
        let stages = alive.iter().flat_map(|status| &status.stages).filter(|stage| stage.name == sample.name);
        stages.map(of).sum()
    };
    let oldest_ms = sample.left.iter().filter_map(|left| left.oldest_ms).min();
    StagePicture {
        name: sample.name,
        left: sample.left.iter().map(|left| left.records).sum(),
        left_is_exact: sample.left.iter().all(|left| left.is_exact),
        oldest_seconds: oldest_ms.map(|oldest_ms| seconds_since(oldest_ms, now_ms)),
        done: sample.behind.iter().map(|behind| behind.done()).sum(),
        per_second: 0.0,
        workers: alive.iter().filter(of_stage).count() as u64,
        in_flight: sum(|stage| stage.in_flight),
        waiting: sum(|stage| stage.waiting),
        held: sum(|stage| stage.held),
    }
}

fn state_of(status: &WorkerStatus, now_ms: i64, silent_after: Duration) -> WorkerState {
    let silent_after_ms = i64::try_from(silent_after.as_millis()).unwrap_or(i64::MAX);
    match status.stopping {
        true => WorkerState::Stopping,
        false if now_ms.saturating_sub(status.at_ms) > silent_after_ms => WorkerState::Silent,
        false => WorkerState::Alive,
    }
}

fn worker_of(status: &WorkerStatus, state: WorkerState, now_ms: i64) -> WorkerPicture {
    WorkerPicture {
        name: status.worker.clone(),
        state,
        heard_seconds: seconds_since(status.at_ms, now_ms),
        stages: status.stages.iter().map(|stage| stage.name.clone()).collect(),
        version: status.version.clone(),
    }
}

/// Clocks of two machines differ; none is ahead of itself.
fn seconds_since(then_ms: i64, now_ms: i64) -> u64 {
    u64::try_from(now_ms.saturating_sub(then_ms) / 1000).unwrap_or(0)
}
