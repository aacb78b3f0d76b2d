//! What the processes of a cluster tell one another: how each worker is, and which dead letters were handled.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was done with a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HandledAction {
    /// Its record went back to the topic that it came from.
    Retried,
    /// It was given up.
    Dropped,
}

/// A dead letter that needs no more attention; the key is the letter's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HandledLetter {
    /// The letter's id: its partition among the dead letters, a hyphen, its offset.
    pub letter: String,
    /// What was done with it.
    pub action: HandledAction,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The thread it held, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// The stage that could not handle it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What kind of error it was, in the vocabulary of the metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// How one worker is; the key is its name. The latest one counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStatus {
    /// The worker's name, unique among running workers.
    pub worker: String,
    /// When it said so, in milliseconds since the Unix epoch by the worker's own clock.
    pub at_ms: i64,
    /// The stages that it runs.
    pub stages: Vec<WorkerStage>,
    /// Whether it was told to stop and takes no new work.
    pub stopping: bool,
    /// The version of the program that it runs.
    pub version: String,
}

/// One stage of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerStage {
    /// The stage's name.
    pub name: String,
    /// Steps that run.
    pub in_flight: u64,
    /// Records that were fetched and wait for a place.
    pub waiting: u64,
    /// Records left undone because their recipe is not the worker's.
    #[serde(alias = "held")]
    pub parked: u64,
    /// Records done, over all time, in the partitions that the worker has.
    pub done: u64,
    /// The partitions that the worker has.
    pub partitions: Vec<WorkerPartition>,
}

/// A partition that a worker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerPartition {
    /// The topic's name inside the project, without the prefix.
    pub topic: String,
    /// Number of the partition, from 0.
    pub partition: i32,
}
