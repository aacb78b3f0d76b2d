//! Records that were fetched and are not wanted yet. A plain value without I/O.
//!
//! librdkafka drops what it has fetched of a partition when that is paused, and fetches it again when it is resumed.
//! The engine pauses and resumes many times a minute. So a pause of the engine's only keeps records back here, and
//! librdkafka is told to pause when enough is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::log::{Partition, Record};

/// The most records in one event.
const BATCH_RECORDS: usize = 256;
/// The most bytes in one event, unless it has but one record.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of one paused partition that are kept; above it nothing more is fetched of it.
const KEPT_PAUSED: usize = 256 << 10;
/// Bytes of all partitions that are kept; above it nothing is fetched of those that have any.
const KEPT: usize = 4 << 20;

/// The records of one partition that were fetched and not handed on.
#[derive(Debug, Default)]
struct PartitionQueue {
    records: VecDeque<Record>,
    bytes: usize,
    paused: bool,
    /// Whether librdkafka was told to pause.
    stopped: bool,
}

/// The records of all partitions of a member that were fetched and not handed on.
#[derive(Debug, Default)]
pub(super) struct PrefetchBuffer {
    queues: BTreeMap<Partition, PartitionQueue>,
    bytes: usize,
    /// The partition that gave records last.
    turn: Option<Partition>,
}

impl PrefetchBuffer {
    /// Keeps records of this partition from now on, beginning with none.
    pub(super) fn begin(&mut self, partition: Partition) {
        self.end(partition);
        self.queues.insert(partition, PartitionQueue::default());
    }

    /// Drops the records of this partition and keeps none any more.
    pub(super) fn end(&mut self, partition: Partition) {
        if let Some(queue) = self.queues.remove(&partition) {
            self.bytes -= queue.bytes;
        }
    }

    /// Keeps records of this partition back, or lets them come.
    pub(super) fn pause(&mut self, partition: Partition, paused: bool) {
        if let Some(queue) = self.queues.get_mut(&partition) {
            queue.paused = paused;
        }
    }

    /// Takes in a record; one of a partition that is not this member's is dropped.
    pub(super) fn push(&mut self, record: Record) {
        let Some(queue) = self.queues.get_mut(&record.partition) else { return };
        let size = record.size();
        queue.bytes += size;
        self.bytes += size;
        queue.records.push_back(record);
    }

    /// Whether so much is kept that librdkafka is to be stopped.
    pub(super) fn is_full(&self) -> bool {
        self.bytes > KEPT
    }

    /// The records that come next, partitions in turn; none if nothing is there that may come.
    pub(super) fn batch(&mut self) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for partition in self.in_turn() {
            let Some(queue) = self.queues.get_mut(&partition) else { continue };
            while let Some(size) = queue.records.front().map(Record::size) {
                let is_enough = batch.len() == BATCH_RECORDS || bytes + size > BATCH_BYTES;
                if is_enough && !batch.is_empty() {
                    return batch;
                }
                let Some(record) = queue.records.pop_front() else { break };
                bytes += size;
                queue.bytes -= size;
                self.bytes -= size;
                self.turn = Some(partition);
                batch.push(record);
            }
        }
        batch
    }

    /// Partitions that have something to give, beginning after the one that gave last.
    fn in_turn(&self) -> Vec<Partition> {
        let mut ready: Vec<Partition> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.paused && !queue.records.is_empty())
            .map(|(partition, _)| *partition)
            .collect();
        let after = ready.partition_point(|partition| Some(*partition) <= self.turn);
        ready.rotate_left(after);
        ready
    }

    /// What librdkafka is to pause and to resume now.
    pub(super) fn regulate(&mut self) -> (BTreeSet<Partition>, BTreeSet<Partition>) {
        let (mut stop, mut go) = (BTreeSet::new(), BTreeSet::new());
        let (full, roomy) = (self.is_full(), self.bytes <= KEPT / 2);
        for (partition, queue) in &mut self.queues {
            let over = (queue.paused && queue.bytes > KEPT_PAUSED) || (full && queue.bytes > 0);
            let under = queue.bytes == 0 || (roomy && (!queue.paused || queue.bytes <= KEPT_PAUSED / 2));
            if over && !queue.stopped {
                stop.insert(*partition);
            } else if under && !over && queue.stopped {
                go.insert(*partition);
            } else {
                continue;
            }
            queue.stopped = over;
        }
        (stop, go)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::PROMPTS;

    fn partition(index: i32) -> Partition {
        Partition { topic: PROMPTS.name, index }
    }

    fn record(index: i32, offset: i64, size: usize) -> Record {
        let value = Some(vec![0; size].into());
        Record { partition: partition(index), offset, timestamp_ms: 0, key: None, value, headers: vec![] }
    }

    fn offsets(records: &[Record]) -> Vec<(i32, i64)> {
        records.iter().map(|record| (record.partition.index, record.offset)).collect()
    }

    #[test]
    fn a_pause_keeps_records_and_loses_none() {
        let mut buffer = PrefetchBuffer::default();
        (0..2).for_each(|index| buffer.begin(partition(index)));
        buffer.pause(partition(0), true);
        (0..3).for_each(|offset| buffer.push(record(0, offset, 10)));
        buffer.push(record(1, 7, 10));
        assert_eq!(offsets(&buffer.batch()), [(1, 7)]);
        assert!(buffer.batch().is_empty());
        buffer.pause(partition(0), false);
        assert_eq!(offsets(&buffer.batch()), [(0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn a_partition_with_a_backlog_lets_others_through() {
        let mut buffer = PrefetchBuffer::default();
        (0..2).for_each(|index| buffer.begin(partition(index)));
        (0..600).for_each(|offset| buffer.push(record(0, offset, 1)));
        assert_eq!(buffer.batch().len(), BATCH_RECORDS);
        buffer.push(record(1, 0, 1));
        assert_eq!(offsets(&buffer.batch())[0], (1, 0));
    }

    #[test]
    fn an_event_has_one_record_or_no_more_than_its_bytes() {
        let mut buffer = PrefetchBuffer::default();
        (0..2).for_each(|index| buffer.begin(partition(index)));
        let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, BATCH_BYTES * 3, 1];
        sizes.iter().zip(0..).for_each(|(size, offset)| buffer.push(record(0, offset, *size)));
        buffer.push(record(1, 0, 1));
        let batches: Vec<_> =
            std::iter::from_fn(|| Some(buffer.batch()).filter(|batch| !batch.is_empty())).collect();
        let offsets: Vec<_> = batches.iter().map(|batch| offsets(batch)).collect();
        assert_eq!(offsets, [vec![(0, 0), (0, 1)], vec![(1, 0), (0, 2)], vec![(0, 3)], vec![(0, 4)]]);
    }

    #[test]
    fn only_what_is_full_is_stopped() {
        let mut buffer = PrefetchBuffer::default();
        (0..2).for_each(|index| buffer.begin(partition(index)));
        buffer.pause(partition(0), true);
        buffer.push(record(0, 0, KEPT_PAUSED));
        assert_eq!(buffer.regulate(), Default::default(), "there is room yet");
        buffer.push(record(0, 1, 1));
        assert_eq!(buffer.regulate().0, BTreeSet::from([partition(0)]));
        assert_eq!(buffer.regulate(), Default::default(), "said once");
        buffer.push(record(1, 0, KEPT));
        assert_eq!(buffer.regulate().0, BTreeSet::from([partition(1)]));
        assert_eq!(offsets(&buffer.batch()), [(1, 0)]);
        assert_eq!(buffer.regulate().1, BTreeSet::from([partition(1)]), "its own is gone");
        buffer.pause(partition(0), false);
        assert_eq!(offsets(&buffer.batch()), [(0, 0), (0, 1)]);
        assert_eq!(buffer.regulate().1, BTreeSet::from([partition(0)]));
    }

    #[test]
    fn what_another_has_by_now_is_dropped() {
        let mut buffer = PrefetchBuffer::default();
        buffer.begin(partition(0));
        buffer.push(record(0, 0, 1));
        buffer.begin(partition(0));
        buffer.push(record(1, 0, 1));
        assert!(buffer.batch().is_empty());
        assert_eq!(buffer.bytes, 0);
    }

    proptest! {
        #[test]
        fn every_record_comes_once_and_in_order(
            steps in proptest::collection::vec((0..3i32, 0..4u8, 0..(KEPT / 8)), 1..200)
        ) {
            let mut buffer = PrefetchBuffer::default();
            (0..3).for_each(|index| buffer.begin(partition(index)));
            let mut pushed = [0; 3];
            let mut got = Vec::new();
            for (index, step, size) in steps {
                match step {
                    0 => buffer.pause(partition(index), true),
                    1 => buffer.pause(partition(index), false),
                    2 => got.extend(offsets(&buffer.batch())),
                    _ => {
                        let at = usize::try_from(index).expect("small");
                        buffer.push(record(index, pushed[at], size));
                        pushed[at] += 1;
                    }
                }
                buffer.regulate();
            }
            (0..3).for_each(|index| buffer.pause(partition(index), false));
            loop {
                let batch = buffer.batch();
                if batch.is_empty() { break }
                got.extend(offsets(&batch));
            }
            for index in 0..3 {
                let of_it: Vec<i64> = got.iter().filter(|(i, _)| *i == index).map(|(_, offset)| *offset).collect();
                let all: Vec<i64> = (0..pushed[usize::try_from(index).expect("small")]).collect();
                prop_assert_eq!(of_it, all);
            }
            prop_assert_eq!(buffer.bytes, 0);
            buffer.regulate();
            prop_assert!(buffer.queues.values().all(|queue| !queue.stopped), "nothing stays stopped");
        }
    }
}
