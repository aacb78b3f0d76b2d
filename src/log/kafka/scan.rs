//! Reading partitions from an offset to where they end now, as no member of any group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{
    KafkaOptions, beginning::LOOK, failure, failure::Class, record, reporter::Reporter, watermarks,
    watermarks::patiently,
};
use crate::{
    log::{LogError, Partition, Record, lock},
    topic::TopicName,
};

/// Records that are handed over at once.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long nothing may come before the scan looks whether the topic was cut meanwhile.
const STALLED: Duration = Duration::from_secs(10);
/// How long after it was looked whether all is decided it is looked again.
const UNDECIDED: Duration = Duration::from_millis(10);

/// What is to be read: for each partition from where on, and up to where.
type Ranges = BTreeMap<Partition, (i64, i64)>;

/// Partitions of which the visitor wants no more.
#[derive(Debug, Default)]
pub(super) struct Enough(Mutex<BTreeSet<Partition>>);

impl Enough {
    /// Nothing more of this partition.
    pub(super) fn add(&self, partition: Partition) {
        lock(&self.0).insert(partition);
    }

    /// Whether the visitor wants no more of this partition.
    pub(super) fn has(&self, partition: Partition) -> bool {
        lock(&self.0).contains(&partition)
    }
}

/// Sends every record of `topic` in batches, and returns at the end of it. Blocks.
///
/// The end is where records end now, decided or not: what was committed before is seen, also while the cluster is
/// yet to write down that it was.
pub(super) fn scan(
    options: &KafkaOptions,
    looker: &BaseConsumer<Reporter>,
    topic: TopicName,
    batches: &mpsc::Sender<Vec<Record>>,
) -> Result<(), LogError> {
    let reader = reader(options, topic)?;
    let ends = patiently(|| watermarks::ends(looker, &options.prefix, topic, LOOK))?;
    let ranges = decided(&reader, &options.prefix, topic, &ends, || batches.is_closed())?;
    read(options, &reader, topic, ranges, batches, &Enough::default())
}

/// Sends the records of partitions in batches, each from its offset on, and returns when each has ended or gave
/// enough. Blocks. One topic after the other: an end is told with the partition's number alone.
pub(super) fn scan_from(
    options: &KafkaOptions,
    looker: &BaseConsumer<Reporter>,
    starts: &[(Partition, i64)],
    batches: &mpsc::Sender<Vec<Record>>,
    enough: &Enough,
) -> Result<(), LogError> {
    let topics: BTreeSet<TopicName> = starts.iter().map(|(partition, _)| partition.topic).collect();
    for topic in topics {
        let reader = reader(options, topic)?;
        let ends = patiently(|| watermarks::ends(looker, &options.prefix, topic, LOOK))?;
        let whole = decided(&reader, &options.prefix, topic, &ends, || batches.is_closed())?;
        let range = |(partition, from): &(Partition, i64)| {
            let (low, end) = whole.get(partition)?;
            Some((*partition, ((*from).max(*low), *end)))
        };
        let ranges: Ranges = starts.iter().filter_map(range).filter(|(_, (from, end))| from < end).collect();
        read(options, &reader, topic, ranges, batches, enough)?;
    }
    Ok(())
}

fn reader(options: &KafkaOptions, topic: TopicName) -> Result<BaseConsumer<Reporter>, LogError> {
    let mut config = options.consumer_config("scan");
    // The end is told by an event: markers, compaction and records of aborted transactions may lie before it.
    config.set("enable.partition.eof", "true");
    // The end is near: a broker need not wait for more to come.
    config.set("fetch.wait.max.ms", "50");
    // What was deleted while it was read is not there to be read.
    config.set("auto.offset.reset", "earliest");
    let reader = config.create_with_context(Reporter::new(format!("scan of {topic}")));
    reader.map_err(|error| failure::log_error(format!("reading topic {topic}"), &error))
}

fn read(
    options: &KafkaOptions,
    reader: &BaseConsumer<Reporter>,
    topic: TopicName,
    mut open: Ranges,
    batches: &mpsc::Sender<Vec<Record>>,
    enough: &Enough,
) -> Result<(), LogError> {
    let failed = |error: KafkaError| failure::log_error(format!("reading topic {topic}"), &error);
    reader.assign(&list(options, &open).map_err(failed)?).map_err(failed)?;

    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut last = Instant::now();
    while !open.is_empty() {
        match reader.poll(STALLED / 10) {
            Some(Ok(message)) => {
                last = Instant::now();
                let partition = Partition { topic, index: message.partition() };
                let Some(&(_, end)) = open.get(&partition) else { continue };
                if message.offset() + 1 >= end || enough.has(partition) {
                    open.remove(&partition);
                }
                if message.offset() < end {
                    let record = record::from_message(&message, partition);
                    bytes += record.size();
                    batch.push(record);
                }
            }
            Some(Err(KafkaError::PartitionEOF(index))) => {
                open.remove(&Partition { topic, index });
            }
            Some(Err(error)) if is_final(&error) => return Err(failed(error)),
            Some(Err(error)) => reader.context().warn("scan", &error.to_string()),
            None if last.elapsed() > STALLED => {
                last = Instant::now();
                tracing::warn!(%topic, "a topic is being read and nothing comes; the cluster may not answer");
            }
            None => {}
        }
        if batch.len() >= BATCH || bytes >= BATCH_BYTES {
            bytes = 0;
            if batches.blocking_send(std::mem::take(&mut batch)).is_err() {
                return Ok(());
            }
        }
    }
    // Whoever does not listen any more needs no records.
    let _ = batches.blocking_send(batch);
    Ok(())
}

/// Waits until everything before these ends is decided, and returns where partitions that have anything begin and end. A
/// transaction of a process that died makes it wait until a broker gives that up.
fn decided(
    reader: &BaseConsumer<Reporter>,
    prefix: &str,
    topic: TopicName,
    ends: &[(Partition, i64)],
    gives_up: impl Fn() -> bool,
) -> Result<Ranges, LogError> {
    loop {
        let marks = patiently(|| watermarks::of_topic(reader, prefix, topic, LOOK))?;
        let mark = |partition: &Partition| marks.get(partition).copied().unwrap_or_default();
        if gives_up() || ends.iter().all(|(partition, end)| mark(partition).1 >= *end) {
            let range = |(partition, end): &(Partition, i64)| (*partition, (mark(partition).0, *end));
            return Ok(ends.iter().map(range).filter(|(_, (low, end))| low < end).collect());
        }
        std::thread::sleep(UNDECIDED);
    }
}

fn is_final(error: &KafkaError) -> bool {
    let unknown = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownPartition];
    let is_unknown = error.rdkafka_error_code().is_some_and(|code| unknown.contains(&code));
    is_unknown || failure::class(error) == Class::Lasting
}

fn list(options: &KafkaOptions, open: &Ranges) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (Partition { topic, index }, (from, _)) in open {
        list.add_partition_offset(&options.name(topic.0), *index, Offset::Offset(*from))?;
    }
    Ok(list)
}
