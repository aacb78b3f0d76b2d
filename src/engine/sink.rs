//! The end of the flow: a sink writes files as part of the commit, and its checkpoints say what of them counts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    dead_letter::DeadLetterCause,
    log::{Partition, Record},
};

/// The end of the flow: writes records to files, in order within each partition, as part of the commit that marks
/// them done.
///
/// The engine calls, in turn and from a thread that may block (see [`Sink::blocks`]): `restore` for each partition that
/// carries a checkpoint, whenever it is assigned, with the checkpoint last committed; then, for each commit, `append`,
/// and after it `committed` or `roll_back`, or nothing more where the process ends without knowing which. What `append`
/// wrote counts only when the checkpoints that it returned are committed: after a crash `restore`, perhaps in another
/// process, makes true what the checkpoint says and takes away everything else. Which partitions carry checkpoints: see
/// [`CheckpointScope`].
pub trait Sink: Send + 'static {
    /// Whether its calls may wait for a device, and so need a thread that may block. One that never waits is called
    /// where the engine runs, which keeps a simulation the same from run to run.
    fn blocks(&self) -> bool {
        true
    }

    /// Returns to the state that the `checkpoint` of this partition describes; empty for a start from nothing.
    ///
    /// # Errors
    /// When the files are not what the checkpoint says.
    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError>;

    /// Writes records. Durable, as far as the sink promises it, on return.
    ///
    /// # Errors
    /// When the files cannot be written; the process then stops.
    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError>;

    /// What was appended last is committed.
    ///
    /// # Errors
    /// When the files cannot be brought to where they count; the process then stops, and the next start does it.
    fn committed(&mut self) -> Result<(), SinkError>;

    /// What was appended last is not committed and must go.
    ///
    /// # Errors
    /// When the files cannot be cut.
    fn roll_back(&mut self) -> Result<(), SinkError>;
}

/// What became of appended records.
#[derive(Debug, Default)]
pub struct Appended {
    /// The new checkpoints, by the partitions that carry them; a partition that is not named keeps its own. A
    /// checkpoint describes what was appended as no other does: whether the log has it tells whether the append is
    /// committed.
    pub checkpoints: BTreeMap<Partition, String>,
    /// Records that cannot be written, by their place in the batch.
    pub refused: Vec<(usize, DeadLetterCause)>,
}

/// A sink that cannot go on.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// Which partitions carry the checkpoints of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointScope {
    /// Partition 0 of the first topic, for all: right where one process has all partitions. The checkpoint is never
    /// empty, and the first `append` has no records, so that a checkpoint stands in the log before anything stands in a
    /// file.
    WholeSink,
    /// Each its own, so that its next owner knows of it. What a partition lacks a checkpoint for was never written.
    EachPartition(BatchPolicy),
}

/// How long a sink lets records gather, so that what it writes at once is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Bytes of waiting records that are enough.
    pub bytes: usize,
    /// How long the first of them may wait.
    pub linger: Duration,
}

/// What waits for a sink that lets records linger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchFill {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// When the first of them has waited long enough.
    pub(super) linger_until: Option<Instant>,
    /// Whether more may come: not where the process or a partition of it is about to end, or has no room.
    pub(super) more_may_come: bool,
}

impl BatchPolicy {
    /// Whether what waits is to be written now, in batches of `batch` records.
    pub(super) fn is_enough(&self, waiting: &BatchFill, batch: usize, now: Instant) -> bool {
        let is_late = waiting.linger_until.is_some_and(|due| due <= now);
        let is_much = waiting.records >= batch || waiting.bytes >= self.bytes;
        waiting.records > 0 && (is_much || is_late || !waiting.more_may_come)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sink_waits_until_it_is_worth_it() {
        let policy = BatchPolicy { bytes: 100, linger: Duration::from_secs(30) };
        let now = Instant::now();
        let linger_until = Some(now + policy.linger);
        let few = BatchFill { records: 3, bytes: 30, linger_until, more_may_come: true };
        let is_enough = |waiting: BatchFill| policy.is_enough(&waiting, 10, now);
        assert!(!is_enough(few));
        assert!(is_enough(BatchFill { records: 10, ..few }), "a batch is full");
        assert!(is_enough(BatchFill { bytes: 100, ..few }), "the bytes are enough");
        assert!(is_enough(BatchFill { linger_until: Some(now), ..few }), "the interval has passed");
        assert!(is_enough(BatchFill { more_may_come: false, ..few }), "nothing more comes");
        assert!(
            !is_enough(BatchFill { records: 0, linger_until: None, more_may_come: false, bytes: 0 }),
            "nothing is there"
        );
    }
}
