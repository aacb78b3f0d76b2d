//! One assigned partition: what is fetched, what runs, what is done. A plain value without I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::task::AbortHandle;

use super::{Completed, progress_text};
use crate::log::Record;

/// Distinguishes one assignment of a partition from every other, so that a late result is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Epoch(pub(super) u64);

/// Where a step is that was started and is not committed.
#[derive(Debug)]
pub(super) enum StepPhase {
    /// Its task runs.
    Running(AbortHandle),
    /// Its result waits for a commit, or the sink has it.
    Ended,
    /// Left undone in this process.
    Parked,
}

/// A step that was started and is not committed.
#[derive(Debug)]
struct OpenStep {
    phase: StepPhase,
    bytes: usize,
}

/// What a dropped partition leaves to be settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Released {
    /// Steps that ran and were ended.
    pub(super) running: usize,
    /// Records that waited.
    pub(super) waiting: usize,
    /// Bytes of the records that waited.
    pub(super) waiting_bytes: usize,
    /// Bytes of everything that was fetched and not committed.
    pub(super) bytes: usize,
}

impl Released {
    pub(super) fn add(&mut self, other: &Self) {
        self.running += other.running;
        self.waiting += other.waiting;
        self.waiting_bytes += other.waiting_bytes;
        self.bytes += other.bytes;
    }
}

/// A record that waits to be started.
#[derive(Debug)]
struct WaitingRecord {
    /// The first offset of the gap before it, in which the log has nothing; its own where there is none. It counts as
    /// done only when the record starts: until then the text of the progress need not speak of it.
    gap: i64,
    record: Arc<Record>,
}

/// The state of one assigned partition.
#[derive(Debug)]
pub(super) struct PartitionState {
    pub(super) epoch: Epoch,
    /// What is committed, and the gaps in which the log has nothing.
    pub(super) completed: Completed,
    pub(super) checkpoint: String,
    /// Whether no new step starts, because the partition is to be given up.
    pub(super) closing: bool,
    /// Whether the next record waits because the text of the progress could become too long.
    pub(super) metadata_full: bool,
    waiting: VecDeque<WaitingRecord>,
    open: BTreeMap<i64, OpenStep>,
    /// How many of `open` are parked.
    parked: usize,
    /// The lowest offset that the log has not yet shown.
    next: i64,
}

impl PartitionState {
    pub(super) fn new(epoch: Epoch, completed: Completed, checkpoint: String) -> Self {
        let next = completed.prefix();
        let (waiting, open) = (VecDeque::new(), BTreeMap::new());
        Self {
            epoch,
            completed,
            checkpoint,
            closing: false,
            metadata_full: false,
            waiting,
            open,
            parked: 0,
            next,
        }
    }

    /// Takes what was fetched; false when it is done already or was seen before.
    pub(super) fn admit(&mut self, record: Record) -> bool {
        if record.offset < self.next {
            return false;
        }
        let gap = std::mem::replace(&mut self.next, record.offset + 1);
        if self.completed.contains(record.offset) {
            self.completed.insert_run(gap, record.offset);
            return false;
        }
        self.waiting.push_back(WaitingRecord { gap, record: Arc::new(record) });
        true
    }

    /// The next record that may start, if any may.
    pub(super) fn take(&mut self) -> Option<Arc<Record>> {
        if self.closing {
            return None;
        }
        self.metadata_full = !self.next_has_room();
        if self.metadata_full {
            return None;
        }
        let WaitingRecord { gap, record } = self.waiting.pop_front()?;
        self.completed.insert_run(gap, record.offset);
        Some(record)
    }

    fn next_has_room(&self) -> bool {
        let checkpoint = self.reserved_for_checkpoint();
        self.waiting.front().is_none_or(|next| {
            progress_text::has_room(&self.completed, self.open.len(), next.record.offset, checkpoint)
        })
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// A record that was taken is now in `phase`.
    pub(super) fn open(&mut self, record: &Record, phase: StepPhase) {
        self.open.insert(record.offset, OpenStep { phase, bytes: record.size() });
    }

    /// A step's task has ended with something to commit.
    pub(super) fn ended(&mut self, offset: i64) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.phase = StepPhase::Ended;
        }
    }

    /// A step's task has ended with nothing to commit, and is not to be started again here. Returns the bytes that
    /// are free now.
    pub(super) fn park(&mut self, offset: i64) -> usize {
        let Some(open) = self.open.get_mut(&offset) else { return 0 };
        open.phase = StepPhase::Parked;
        self.parked += 1;
        std::mem::take(&mut open.bytes)
    }

    /// Takes back a record that is to be started again.
    pub(super) fn put_back(&mut self, record: Arc<Record>) {
        self.open.remove(&record.offset);
        let at = self.waiting.partition_point(|waiting| waiting.record.offset < record.offset);
        self.waiting.insert(at, WaitingRecord { gap: record.offset, record });
    }

    /// The step of `offset` is committed. Returns the bytes that are free now.
    pub(super) fn commit(&mut self, offset: i64) -> usize {
        self.completed.insert(offset);
        let bytes = self.open.remove(&offset).map_or(0, |open| open.bytes);
        self.metadata_full = self.metadata_full && !self.next_has_room();
        bytes
    }

    /// Whether nothing runs, nothing waits for a commit, and nothing that waits may start.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.len() == self.parked && (self.closing || self.waiting.is_empty())
    }

    pub(super) fn parked_count(&self) -> usize {
        self.parked
    }

    /// The offsets of steps whose tasks run.
    pub(super) fn running(&self) -> Vec<i64> {
        self.in_phase(|phase| matches!(phase, StepPhase::Running(_)))
    }

    /// The offsets of steps with a result that is not known to be committed.
    pub(super) fn uncommitted(&self) -> Vec<i64> {
        self.in_phase(|phase| matches!(phase, StepPhase::Ended))
    }

    fn in_phase(&self, is_wanted: impl Fn(&StepPhase) -> bool) -> Vec<i64> {
        let open = self.open.iter().filter(|(_, open)| is_wanted(&open.phase));
        open.map(|(offset, _)| *offset).collect()
    }

    /// Ends every running step and says what is left to be settled.
    pub(super) fn end(self) -> Released {
        for open in self.open.values() {
            if let StepPhase::Running(handle) = &open.phase {
                handle.abort();
            }
        }
        self.outstanding()
    }

    /// What it would leave if it were dropped now.
    pub(super) fn outstanding(&self) -> Released {
        let waiting_bytes: usize = self.waiting.iter().map(|waiting| waiting.record.size()).sum();
        let open = self.open.values().map(|open| open.bytes);
        let is_running = |open: &&OpenStep| matches!(open.phase, StepPhase::Running(_));
        Released {
            running: self.open.values().filter(is_running).count(),
            waiting: self.waiting.len(),
            waiting_bytes,
            bytes: waiting_bytes + open.sum::<usize>(),
        }
    }

    /// A checkpoint grows while it is in use: the counters in it get longer.
    fn reserved_for_checkpoint(&self) -> usize {
        if self.checkpoint.is_empty() { 0 } else { progress_text::MAX_CHECKPOINT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Partition, topic::PROMPTS};

    fn record(offset: i64) -> Record {
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        Record { partition, offset, timestamp_ms: 0, key: None, value: None, headers: vec![] }
    }

    fn state(completed: Completed) -> PartitionState {
        PartitionState::new(Epoch(1), completed, String::new())
    }

    #[test]
    fn gaps_of_the_log_count_as_done() {
        let mut partition = state(Completed::up_to(3));
        assert!(partition.admit(record(5)));
        assert!(partition.admit(record(9)));
        assert_eq!(partition.completed.prefix(), 3, "what only waits need not be told of");
        (0..2).for_each(|_| assert!(partition.take().is_some()));
        assert_eq!(partition.completed.prefix(), 5);
        partition.commit(5);
        assert_eq!(partition.completed.prefix(), 9, "6 to 8 hold nothing");
    }

    #[test]
    fn what_was_done_before_does_not_start_again() {
        let mut completed = Completed::up_to(2);
        completed.insert(3);
        let mut partition = state(completed);
        let admitted: Vec<bool> = (2..6).map(|offset| partition.admit(record(offset))).collect();
        assert_eq!(admitted, [true, false, true, true]);
        assert!(!partition.admit(record(4)), "the log shows it twice");
    }

    #[test]
    fn the_highest_that_succeeded_is_never_the_highest_seen() {
        let mut partition = state(Completed::default());
        (0..4).for_each(|offset| assert!(partition.admit(record(offset))));
        partition.commit(3);
        assert_eq!((partition.completed.prefix(), partition.completed.contains(3)), (0, true));
    }

    #[test]
    fn a_step_that_was_put_back_starts_in_its_place() {
        let mut partition = state(Completed::default());
        (0..3).for_each(|offset| assert!(partition.admit(record(offset))));
        let first = partition.take().expect("waiting");
        partition.open(&first, StepPhase::Ended);
        partition.put_back(first);
        assert_eq!(partition.take().map(|record| record.offset), Some(0));
        assert!(!partition.is_quiet(), "two wait");
        partition.closing = true;
        assert!(partition.is_quiet(), "and will not start");
    }

    #[test]
    fn nothing_starts_while_the_partition_is_given_up() {
        let mut partition = state(Completed::default());
        partition.admit(record(0));
        partition.closing = true;
        assert!(partition.take().is_none());
    }

    #[test]
    fn a_dropped_partition_accounts_for_every_byte() {
        let mut partition = state(Completed::default());
        let sized = |offset| Record { value: Some(vec![0; 10].into()), ..record(offset) };
        (0..4).for_each(|offset| assert!(partition.admit(sized(offset))));
        for phase in [StepPhase::Ended, StepPhase::Ended] {
            let record = partition.take().expect("waiting");
            partition.open(&record, phase);
        }
        assert_eq!((partition.commit(0), partition.park(1)), (10, 10));
        assert_eq!(partition.end(), Released { running: 0, waiting: 2, waiting_bytes: 20, bytes: 20 });
    }
}
