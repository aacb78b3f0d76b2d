//! How far each stage is behind, for whoever scales stages by it.

use std::time::Duration;

use tokio::sync::watch;

use crate::{
    broker::{Log, LogError},
    engine::{StageStatus, Status},
    observe::Metrics,
};

/// How often the lag is measured.
const INTERVAL: Duration = Duration::from_secs(2);

/// Measures again and again, until it is dropped.
pub(super) async fn keep<L: Log>(log: L, status: watch::Receiver<Status>, metrics: Metrics) {
    loop {
        measure(&log, &status, &metrics).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Sets the gauge of every partition of this process once.
pub(super) async fn measure<L: Log>(log: &L, status: &watch::Receiver<Status>, metrics: &Metrics) {
    let stages = status.borrow().stages.clone();
    for stage in &stages {
        if let Err(error) = of_stage(log, stage, metrics).await {
            tracing::debug!(stage = stage.name, %error, "the lag is not known");
        }
    }
}

/// What the log holds less what the stage has done: a step that runs still counts.
async fn of_stage<L: Log>(log: &L, stage: &StageStatus, metrics: &Metrics) -> Result<(), LogError> {
    let mut topics: Vec<_> = stage.partitions.iter().map(|done| done.partition.topic).collect();
    topics.dedup();
    for topic in topics {
        let ends = log.ends(topic).await?;
        for done in &stage.partitions {
            let Some((partition, end)) = ends.iter().find(|(partition, _)| *partition == done.partition)
            else {
                continue;
            };
            let labels = [stage.name, topic.0, &partition.index.to_string()];
            metrics.lag.with_label_values(&labels).set((end - done.done).max(0));
        }
    }
    Ok(())
}
