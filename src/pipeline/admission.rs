//! How far stages are behind: for whoever scales them by it, and for the gates before those that must wait.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::watch;

use super::backlog;
use crate::{
    dataflow::{Chosen, FlowStage, waits_for},
    engine::{PausedStages, StageStatus, Status},
    log::{Log, LogError, Partition},
    observe::Metrics,
};

/// How often the lag is measured.
const INTERVAL: Duration = Duration::from_secs(2);

/// The lag of whole stages, over all processes, in offsets.
pub(crate) type Lags = BTreeMap<&'static str, u64>;

/// Measures the lag of this process' partitions again and again, until it is dropped.
pub(crate) async fn keep<L: Log>(log: L, status: watch::Receiver<Status>, metrics: Metrics) {
    let mut gauges = Gauges::new(metrics);
    loop {
        gauges.measure(&log, &status).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Sets the gauge of every partition of this process once.
pub(crate) async fn measure<L: Log>(log: &L, status: &watch::Receiver<Status>, metrics: &Metrics) {
    Gauges::new(metrics.clone()).measure(log, status).await;
}

/// The gauges of partitions that this process has or had.
struct Gauges {
    metrics: Metrics,
    set: BTreeSet<(&'static str, Partition)>,
}

impl Gauges {
    fn new(metrics: Metrics) -> Self {
        Self { metrics, set: BTreeSet::new() }
    }

    async fn measure<L: Log>(&mut self, log: &L, status: &watch::Receiver<Status>) {
        let stages = status.borrow().stages.clone();
        self.drop_others(&stages);
        for stage in &stages {
            if let Err(error) = self.measure_stage(log, stage).await {
                tracing::debug!(stage = stage.name, %error, "the lag is not known");
            }
        }
    }

    /// A partition that went to another process has its gauge there; here it would be counted twice.
    fn drop_others(&mut self, stages: &[StageStatus]) {
        let has = |name, partition: &Partition| {
            let stage = stages.iter().find(|stage| stage.name == name);
            stage.is_some_and(|stage| stage.partitions.iter().any(|status| status.partition == *partition))
        };
        let metrics = &self.metrics;
        self.set.retain(|(name, partition)| {
            let stays = has(*name, partition);
            if !stays {
                let labels = [*name, partition.topic.0, &partition.index.to_string()];
                // It was set, so it is there.
                let _ = metrics.lag.remove_label_values(&labels);
            }
            stays
        });
    }

    /// What the log holds less what the stage has done: a step that runs still counts.
    async fn measure_stage<L: Log>(&mut self, log: &L, stage: &StageStatus) -> Result<(), LogError> {
        let mut topics: Vec<_> = stage.partitions.iter().map(|done| done.partition.topic).collect();
        topics.dedup();
        for topic in topics {
            let ends: BTreeMap<Partition, i64> = log.ends(topic).await?.into_iter().collect();
            for done in &stage.partitions {
                let Some(end) = ends.get(&done.partition) else { continue };
                let labels = [stage.name, topic.0, &done.partition.index.to_string()];
                self.metrics.lag.with_label_values(&labels).set((end - done.done).max(0));
                self.set.insert((stage.name, done.partition));
            }
        }
        Ok(())
    }
}

/// Measures again and again how far the chosen stages and those that they wait for are behind, over all processes,
/// and closes and opens the gates before those that must wait. Until it is dropped.
pub(crate) async fn watch<L: Log>(
    log: L,
    chosen: Chosen,
    max_lag: u64,
    lags: watch::Sender<Lags>,
    gates: watch::Sender<PausedStages>,
    metrics: Metrics,
) {
    let of_interest: BTreeSet<&'static str> = chosen
        .names()
        .flat_map(|name| waits_for(name).iter().map(|later| later.name).chain([name]))
        .collect();
    loop {
        match lag_of(&log, &of_interest).await {
            Ok(measured) => {
                let closed = closed(&chosen, &measured, max_lag);
                for stage in chosen.names().filter(|stage| !waits_for(stage).is_empty()) {
                    metrics.stage_paused.with_label_values(&[stage]).set(closed.contains(stage).into());
                }
                gates.send_if_modified(|now| {
                    *now != closed && {
                        *now = closed;
                        true
                    }
                });
                lags.send_replace(measured);
            }
            Err(error) => tracing::warn!(%error, "the lag is not known; gates stay as they are"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn lag_of<L: Log>(log: &L, stages: &BTreeSet<&'static str>) -> Result<Lags, LogError> {
    let mut lags = Lags::new();
    for stage in stages {
        let behind = backlog::behind(log, stage).await?;
        lags.insert(*stage, behind.iter().map(backlog::Behind::offsets).sum());
    }
    Ok(lags)
}

/// The chosen stages that must wait: one that they wait for is behind by more than `max_lag`.
fn closed(chosen: &Chosen, lags: &Lags, max_lag: u64) -> PausedStages {
    let is_behind = |later: &FlowStage| lags.get(later.name).is_some_and(|lag| *lag > max_lag);
    chosen.names().filter(|name| waits_for(name).iter().any(is_behind)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed_of(chosen: &Chosen, lags: &[(&'static str, u64)]) -> Vec<&'static str> {
        closed(chosen, &lags.iter().copied().collect(), 10).into_iter().collect()
    }

    #[test]
    fn the_door_to_the_loop_closes_and_nothing_in_the_loop_does() {
        let all = Chosen::all();
        assert_eq!(closed_of(&all, &[("critique", 10), ("export", 10)]), [""; 0]);
        for stage in ["critique", "improve", "score", "select"] {
            assert_eq!(closed_of(&all, &[(stage, 11)]), ["draft"], "{stage}");
        }
        assert_eq!(closed_of(&all, &[("export", 11)]), ["draft", "select"]);
        assert_eq!(closed_of(&all, &[("draft", 1 << 40)]), [""; 0], "prompts may wait as they like");
        let some = Chosen::named(&["critique".to_owned(), "select".to_owned()]).expect("stages");
        assert_eq!(closed_of(&some, &[("score", 99), ("export", 99)]), ["select"]);
    }
}
