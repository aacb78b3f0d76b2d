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

/// What is kept of one partition.
#[derive(Debug, Default)]
struct Lane {
    records: VecDeque<Record>,
    bytes: usize,
    paused: bool,
    /// Whether librdkafka was told to pause.
    stopped: bool,
}

/// What is kept of all partitions of a member.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    lanes: BTreeMap<Partition, Lane>,
    bytes: usize,
    /// The partition that gave records last.
    turn: Option<Partition>,
}

impl Ahead {
    /// A partition that is this member's from now on.
    pub(super) fn begin(&mut self, partition: Partition) {
        self.end(partition);
        self.lanes.insert(partition, Lane::default());
    }

    /// A partition of which nothing more is wanted.
    pub(super) fn end(&mut self, partition: Partition) {
        if let Some(lane) = self.lanes.remove(&partition) {
            self.bytes -= lane.bytes;
        }
    }

    /// Keeps records of this partition back, or lets them come.
    pub(super) fn pause(&mut self, partition: Partition, paused: bool) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.paused = paused;
        }
    }

    /// Takes in a record; one of a partition that is not this member's is dropped.
    pub(super) fn push(&mut self, record: Record) {
        let Some(lane) = self.lanes.get_mut(&record.partition) else { return };
        let size = record.size();
        lane.bytes += size;
        self.bytes += size;
        lane.records.push_back(record);
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
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            while let Some(size) = lane.records.front().map(Record::size) {
                let is_enough = batch.len() == BATCH_RECORDS || bytes + size > BATCH_BYTES;
                if is_enough && !batch.is_empty() {
                    return batch;
                }
                let Some(record) = lane.records.pop_front() else { break };
                bytes += size;
                lane.bytes -= size;
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
            .lanes
            .iter()
            .filter(|(_, lane)| !lane.paused && !lane.records.is_empty())
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
        for (partition, lane) in &mut self.lanes {
            let over = (lane.paused && lane.bytes > KEPT_PAUSED) || (full && lane.bytes > 0);
            let under = lane.bytes == 0 || (roomy && (!lane.paused || lane.bytes <= KEPT_PAUSED / 2));
            if over && !lane.stopped {
                stop.insert(*partition);
            } else if under && !over && lane.stopped {
                go.insert(*partition);
            } else {
                continue;
            }
            lane.stopped = over;
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
        let mut ahead = Ahead::default();
        (0..2).for_each(|index| ahead.begin(partition(index)));
        ahead.pause(partition(0), true);
        (0..3).for_each(|offset| ahead.push(record(0, offset, 10)));
        ahead.push(record(1, 7, 10));
        assert_eq!(offsets(&ahead.batch()), [(1, 7)]);
        assert!(ahead.batch().is_empty());
        ahead.pause(partition(0), false);
        assert_eq!(offsets(&ahead.batch()), [(0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn a_partition_with_a_backlog_lets_others_through() {
        let mut ahead = Ahead::default();
        (0..2).for_each(|index| ahead.begin(partition(index)));
        (0..600).for_each(|offset| ahead.push(record(0, offset, 1)));
        assert_eq!(ahead.batch().len(), BATCH_RECORDS);
        ahead.push(record(1, 0, 1));
        assert_eq!(offsets(&ahead.batch())[0], (1, 0));
    }

    #[test]
    fn an_event_has_one_record_or_no_more_than_its_bytes() {
        let mut ahead = Ahead::default();
        (0..2).for_each(|index| ahead.begin(partition(index)));
        let sizes = [BATCH_BYTES / 2, BATCH_BYTES / 2, 1, BATCH_BYTES * 3, 1];
        sizes.iter().zip(0..).for_each(|(size, offset)| ahead.push(record(0, offset, *size)));
        ahead.push(record(1, 0, 1));
        let batches: Vec<_> =
            std::iter::from_fn(|| Some(ahead.batch()).filter(|batch| !batch.is_empty())).collect();
        let offsets: Vec<_> = batches.iter().map(|batch| offsets(batch)).collect();
        assert_eq!(offsets, [vec![(0, 0), (0, 1)], vec![(1, 0), (0, 2)], vec![(0, 3)], vec![(0, 4)]]);
    }

    #[test]
    fn only_what_is_full_is_stopped() {
        let mut ahead = Ahead::default();
        (0..2).for_each(|index| ahead.begin(partition(index)));
        ahead.pause(partition(0), true);
        ahead.push(record(0, 0, KEPT_PAUSED));
        assert_eq!(ahead.regulate(), Default::default(), "there is room yet");
        ahead.push(record(0, 1, 1));
        assert_eq!(ahead.regulate().0, BTreeSet::from([partition(0)]));
        assert_eq!(ahead.regulate(), Default::default(), "said once");
        ahead.push(record(1, 0, KEPT));
        assert_eq!(ahead.regulate().0, BTreeSet::from([partition(1)]));
        assert_eq!(offsets(&ahead.batch()), [(1, 0)]);
        assert_eq!(ahead.regulate().1, BTreeSet::from([partition(1)]), "its own is gone");
        ahead.pause(partition(0), false);
        assert_eq!(offsets(&ahead.batch()), [(0, 0), (0, 1)]);
        assert_eq!(ahead.regulate().1, BTreeSet::from([partition(0)]));
    }

    #[test]
    fn what_another_has_by_now_is_dropped() {
        let mut ahead = Ahead::default();
        ahead.begin(partition(0));
        ahead.push(record(0, 0, 1));
        ahead.begin(partition(0));
        ahead.push(record(1, 0, 1));
        assert!(ahead.batch().is_empty());
        assert_eq!(ahead.bytes, 0);
    }

    proptest! {
        #[test]
        fn every_record_comes_once_and_in_order(
            steps in proptest::collection::vec((0..3i32, 0..4u8, 0..(KEPT / 8)), 1..200)
        ) {
            let mut ahead = Ahead::default();
            (0..3).for_each(|index| ahead.begin(partition(index)));
            let mut pushed = [0; 3];
            let mut got = Vec::new();
            for (index, step, size) in steps {
                match step {
                    0 => ahead.pause(partition(index), true),
                    1 => ahead.pause(partition(index), false),
                    2 => got.extend(offsets(&ahead.batch())),
                    _ => {
                        let at = usize::try_from(index).expect("small");
                        ahead.push(record(index, pushed[at], size));
                        pushed[at] += 1;
                    }
                }
                ahead.regulate();
            }
            (0..3).for_each(|index| ahead.pause(partition(index), false));
            loop {
                let batch = ahead.batch();
                if batch.is_empty() { break }
                got.extend(offsets(&batch));
            }
            for index in 0..3 {
                let of_it: Vec<i64> = got.iter().filter(|(i, _)| *i == index).map(|(_, offset)| *offset).collect();
                let all: Vec<i64> = (0..pushed[usize::try_from(index).expect("small")]).collect();
                prop_assert_eq!(of_it, all);
            }
            prop_assert_eq!(ahead.bytes, 0);
            ahead.regulate();
            prop_assert!(ahead.lanes.values().all(|lane| !lane.stopped), "nothing stays stopped");
        }
    }
}
