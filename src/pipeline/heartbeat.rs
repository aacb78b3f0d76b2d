//! How a worker tells the others that it lives and what it has in hand: a record in the topic `workers`, with its
//! ordinary commits.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    clock::now_ms,
    engine::{Handle, StageStatus, Status, SubmitError},
    log::Output,
    record::{WorkerPartition, WorkerStage, WorkerStatus},
    topic::WORKERS,
};

/// Tells again and again, until it is dropped or the engine has ended.
pub(crate) async fn beat(handle: Handle, worker: String, interval: Duration) {
    // Another comes soon, so one of which it is not known whether it was written is no harm.
    while let Ok(()) | Err(SubmitError::Doubtful) = tell(&handle, &worker, false).await {
        tokio::time::sleep(interval).await;
    }
}

/// Tells that the worker takes no new work.
pub(crate) async fn announce_stop(handle: &Handle, worker: &str) {
    if let Err(error) = tell(handle, worker, true).await {
        tracing::warn!(%error, "the log does not take the word that this worker stops");
    }
}

async fn tell(handle: &Handle, worker: &str, stopping: bool) -> Result<(), SubmitError> {
    let status = status_of(worker, &handle.status().borrow(), stopping);
    handle.submit(vec![output(&status)]).await
}

fn status_of(worker: &str, status: &Status, stopping: bool) -> WorkerStatus {
    WorkerStatus {
        worker: worker.to_owned(),
        at_ms: now_ms(),
        stages: status.stages.iter().map(stage).collect(),
        stopping,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn stage(status: &StageStatus) -> WorkerStage {
    let partitions = status.partitions.iter().map(|status| WorkerPartition {
        topic: status.partition.topic.to_string(),
        partition: status.partition.index,
    });
    WorkerStage {
        name: status.name.to_owned(),
        in_flight: status.in_flight as u64,
        waiting: status.waiting as u64,
        parked: status.parked as u64,
        done: status.done,
        partitions: partitions.collect(),
    }
}

fn output(status: &WorkerStatus) -> Output {
    let value = serde_json::to_vec(status).expect("texts, numbers and lists are always JSON");
    let key = Some(Bytes::from(status.worker.clone()));
    Output { topic: WORKERS.name, key, value: Some(value.into()), headers: vec![] }
}
