//! The records of a log in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use avr::{
    log::{Output, Partition, Record},
    topic::TopicName,
};
use bytes::Bytes;

/// One partition's records and the offset that the next one has.
#[derive(Debug, Default)]
struct PartitionLog {
    records: Vec<Record>,
    end: i64,
}

/// Every topic's records.
#[derive(Debug)]
pub(super) struct Topics {
    partitions: BTreeMap<Partition, PartitionLog>,
    counts: BTreeMap<TopicName, i32>,
    written: i64,
}

impl Topics {
    pub(super) fn new(topics: &[(TopicName, i32)]) -> Self {
        let counts: BTreeMap<TopicName, i32> = topics.iter().copied().collect();
        let all = counts.iter().flat_map(|(&topic, &count)| partitions(topic, count));
        let partitions = all.map(|partition| (partition, PartitionLog::default())).collect();
        Self { partitions, counts, written: 0 }
    }

    /// The partitions of a topic, none if there is no such topic.
    pub(super) fn partitions_of(&self, topic: TopicName) -> Vec<Partition> {
        partitions(topic, self.counts.get(&topic).copied().unwrap_or(0)).collect()
    }

    pub(super) fn knows(&self, topic: TopicName) -> bool {
        self.counts.contains_key(&topic)
    }

    /// Appends a transaction. `gaps` draws what lies between offsets: holes, and a marker at the end.
    pub(super) fn append(&mut self, outputs: Vec<Output>, rng: &mut fastrand::Rng, gaps: bool) {
        let mut touched = BTreeSet::new();
        for output in outputs {
            let partition = self.place(&output, rng);
            touched.insert(partition);
            self.written += 1;
            let timestamp_ms = self.written;
            let log = self.log(partition);
            if gaps && rng.u8(..8) == 0 {
                log.end += rng.i64(1..=5);
            }
            let Output { key, value, headers, .. } = output;
            log.records.push(Record { partition, offset: log.end, timestamp_ms, key, value, headers });
            log.end += 1;
        }
        if gaps {
            self.mark(&touched);
        }
    }

    /// An aborted transaction: its records and markers take offsets, and nobody sees them.
    pub(super) fn abort(&mut self, outputs: &[Output], rng: &mut fastrand::Rng) {
        let mut touched = BTreeSet::new();
        for output in outputs {
            let partition = self.place(output, rng);
            touched.insert(partition);
            self.log(partition).end += 1;
        }
        self.mark(&touched);
    }

    fn mark(&mut self, touched: &BTreeSet<Partition>) {
        for partition in touched {
            self.log(*partition).end += 1;
        }
    }

    fn log(&mut self, partition: Partition) -> &mut PartitionLog {
        self.partitions.get_mut(&partition).expect("the partition is one of a topic that is known")
    }

    fn place(&self, output: &Output, rng: &mut fastrand::Rng) -> Partition {
        let count = self.counts.get(&output.topic).copied().unwrap_or(1).max(1);
        let index = match &output.key {
            Some(key) => i32::try_from(hash_of(key) % u64::from(count.unsigned_abs())).unwrap_or(0),
            None => rng.i32(0..count),
        };
        Partition { topic: output.topic, index }
    }

    /// Up to `most` records of a partition from `next` on.
    pub(super) fn read(&self, partition: Partition, next: i64, most: usize) -> &[Record] {
        let Some(log) = self.partitions.get(&partition) else { return &[] };
        let from = log.records.partition_point(|record| record.offset < next);
        let to = log.records.len().min(from.saturating_add(most));
        &log.records[from..to]
    }

    /// A topic's records, by partition and offset.
    pub(super) fn records(&self, topic: TopicName) -> Vec<Record> {
        self.partitions_of(topic).into_iter().flat_map(|p| self.read(p, 0, usize::MAX)).cloned().collect()
    }

    /// A topic's ends.
    pub(super) fn ends(&self, topic: TopicName) -> Vec<(Partition, i64)> {
        let end = |partition| self.partitions.get(&partition).map_or(0, |log| log.end);
        self.partitions_of(topic).into_iter().map(|partition| (partition, end(partition))).collect()
    }

    /// Keeps of each key only the latest record, as compaction does.
    pub(super) fn compact(&mut self, topic: TopicName) {
        for partition in self.partitions_of(topic) {
            let log = self.log(partition);
            let keys = log.records.iter().map(|record| (record.key.clone(), record.offset));
            let latest: BTreeMap<Option<Bytes>, i64> = keys.collect();
            log.records.retain(|r| r.key.is_none() || latest.get(&r.key) == Some(&r.offset));
        }
    }
}

fn partitions(topic: TopicName, count: i32) -> impl Iterator<Item = Partition> {
    (0..count).map(move |index| Partition { topic, index })
}

fn hash_of(key: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
