//! How a worker tells the others that it lives and what it has in hand: a record in the topic `workers`, with its
//! ordinary commits.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    clock::now_ms,
    engine::{Handle, StageStatus, Status, SubmitError},
    log::Output,
    record::{WorkerPartition, WorkerStage, WorkerStatus},
    topic::WORKERS,
};

/// Tells again and again, until `stop`; then once more, that the worker takes no new work.
pub(crate) async fn beat(
    handle: Handle,
    worker: String,
    interval: Duration,
    mut stop: oneshot::Receiver<()>,
) {
    let status = handle.status();
    let mut stopping = false;
    loop {
        let told = status_of(&worker, &status.borrow(), stopping);
        match handle.submit(vec![output(&told)]).await {
            // Another comes soon, so one in doubt is no harm.
            Ok(()) | Err(SubmitError::Doubtful) => {}
            Err(SubmitError::Stopped) => return,
        }
        if stopping {
            return;
        }
        tokio::select! {
            biased;
            _ = &mut stop => stopping = true,
            () = tokio::time::sleep(interval) => {}
        }
    }
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
