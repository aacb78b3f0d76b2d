//! Who has which partitions, as the workers themselves tell.

use std::collections::{BTreeMap, BTreeSet};

use avr::{
    dataflow::STAGES,
    log::{Log as _, Record},
    record::{WorkerStage, WorkerStatus},
    topic::WORKERS,
};

use super::pipeline::Pipeline;
use crate::support::Process;

/// A worker's partitions of each of its stages: topics and numbers.
pub(crate) type Shares = BTreeMap<String, BTreeSet<(String, i32)>>;

/// What a worker said last.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    pub(crate) shares: Shares,
}

impl Pipeline {
    /// What each worker said last, by its name.
    pub(crate) fn said(&self) -> BTreeMap<String, Said> {
        let mut said = BTreeMap::new();
        let mut visit = |record: Record| {
            let bytes = record.value.expect("a status");
            let status: WorkerStatus = serde_json::from_slice(&bytes).expect("a status");
            let shares = status.stages.into_iter().map(share).collect();
            said.insert(status.worker, Said { at_ms: status.at_ms, shares });
        };
        self.runtime.block_on(self.log.scan(WORKERS.name, &mut visit)).expect("the cluster answers");
        said
    }

    /// Waits until these workers, with the same stages each, have all their partitions among them, and each has some of
    /// every stage.
    #[track_caller]
    pub(crate) fn until_shared_out(&self, process: &mut Process, workers: &[&str]) {
        let mut before = String::new();
        process.until("all partitions are shared out", || {
            let said = self.said();
            let now =
                format!("{:?}", said.iter().map(|(name, said)| (name, &said.shares)).collect::<Vec<_>>());
            if now != before {
                eprintln!("{now}");
                before = now;
            }
            let shares: Option<Vec<&Shares>> =
                workers.iter().map(|name| said.get(*name).map(|said| &said.shares)).collect();
            let shares = shares?;
            let mut stages = shares.first()?.keys().peekable();
            // A worker's first word comes before it has any stage to tell of.
            stages.peek()?;
            stages.all(|stage| self.is_shared_out(stage, &shares)).then_some(())
        });
    }

    fn is_shared_out(&self, stage: &str, shares: &[&Shares]) -> bool {
        let topics = STAGES.iter().find(|known| known.name == stage).expect("a stage").reads;
        let ends = |topic| self.runtime.block_on(self.log.ends(topic)).expect("the cluster answers");
        let all: usize = topics.iter().map(|topic| ends(*topic).len()).sum();
        let held = |shares: &&Shares| shares.get(stage).map_or(0, BTreeSet::len);
        let held: Vec<usize> = shares.iter().map(held).collect();
        held.iter().all(|count| *count > 0) && held.iter().sum::<usize>() == all
    }
}

fn share(stage: WorkerStage) -> (String, BTreeSet<(String, i32)>) {
    let held = stage.partitions.into_iter().map(|held| (held.topic, held.partition));
    (stage.name, held.collect())
}
