//! What two samples tell together: rates, who works, and whether nothing is left.

use std::time::Duration;

use super::sample::{Sample, StageSample};
use crate::{
    record::{WorkerStage, WorkerStatus},
    terminal::{Picture, StagePicture, WorkerPicture, WorkerState},
};

/// What the sample `now` tells after `before`; a worker is silent that said nothing for `silent_after`.
pub(super) fn picture(before: &Sample, now: &Sample, silent_after: Duration) -> Picture {
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
    Picture {
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
        parked: sum(|stage| stage.parked),
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
