//! One step: a stage's work on one record, from its start to what it came to.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Stage, StepError, partition::Epoch};
use crate::{
    clock::now_ms,
    dead_letter::{DeadLetterCause, dead_letter},
    log::{Output, Record},
};

/// What a step needs to run.
pub(super) struct StepTask {
    pub(super) stage: usize,
    pub(super) name: &'static str,
    pub(super) epoch: Epoch,
    pub(super) record: Arc<Record>,
    pub(super) work: Arc<dyn Stage>,
    pub(super) max_record_bytes: usize,
}

/// What a step came to.
#[derive(Debug)]
pub(super) struct StepReport {
    pub(super) stage: usize,
    pub(super) epoch: Epoch,
    pub(super) record: Arc<Record>,
    pub(super) result: StepResult,
    pub(super) seconds: f64,
}

/// The result of a step.
#[derive(Debug)]
pub(super) enum StepResult {
    Outputs(Vec<Output>),
    /// A dead letter, which is an output too, and its kind.
    DeadLetter(Output, &'static str),
    Parked(String),
    Interrupted,
    Stop(String),
}

impl StepResult {
    /// The name in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Outputs(_) => "done",
            Self::DeadLetter(..) => "dead_letter",
            Self::Parked(_) => "parked",
            Self::Interrupted => "interrupted",
            Self::Stop(_) => "stop",
        }
    }
}

/// Runs a step. A panic of the stage is a fault of this record's, not of the process.
pub(super) async fn run(step: StepTask) -> StepReport {
    let started = Instant::now();
    let processed = AssertUnwindSafe(step.work.process(&step.record)).catch_unwind().await;
    let result = processed.unwrap_or_else(|panic| {
        Err(StepError::DeadLetter(DeadLetterCause::new("panic", panic_message(panic.as_ref()))))
    });
    StepReport {
        result: judge(&step, result),
        stage: step.stage,
        epoch: step.epoch,
        record: step.record,
        seconds: started.elapsed().as_secs_f64(),
    }
}

fn judge(step: &StepTask, result: Result<Vec<Output>, StepError>) -> StepResult {
    let letter = match result {
        Ok(outputs) => match too_large(&outputs, step.max_record_bytes) {
            None => return StepResult::Outputs(outputs),
            Some(letter) => letter,
        },
        Err(StepError::DeadLetter(letter)) => letter,
        Err(StepError::Parked(reason)) => return StepResult::Parked(reason),
        Err(StepError::Interrupted) => return StepResult::Interrupted,
        Err(StepError::Stop(reason)) => return StepResult::Stop(reason),
    };
    let output = dead_letter(&step.record, step.name, &letter, now_ms());
    let limit = output.topic.size_limit(step.max_record_bytes);
    if output.size() > limit {
        return StepResult::Parked(format!(
            "its dead letter ({}: {}) has {} bytes; the log takes {}: raise the limit",
            letter.kind,
            letter.message,
            output.size(),
            limit
        ));
    }
    tracing::warn!(
        stage = step.name, place = %step.record.partition, offset = step.record.offset,
        kind = letter.kind, error = letter.message, "a record goes to the dead letters"
    );
    StepResult::DeadLetter(output, letter.kind)
}

/// A dead letter in place of outputs of which one is above the log's limit.
fn too_large(outputs: &[Output], limit: usize) -> Option<DeadLetterCause> {
    let largest = outputs.iter().max_by_key(|output| output.size())?;
    (largest.size() > limit).then(|| {
        let key = largest.key.as_ref().map(Bytes::as_ref).map(String::from_utf8_lossy).unwrap_or_default();
        let (topic, size) = (largest.topic, largest.size());
        let message = format!("the output {key} for topic {topic} has {size} bytes; the log takes {limit}");
        DeadLetterCause::new("too_large", message)
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the stage panicked".to_owned())
}
