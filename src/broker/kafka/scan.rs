//! Reading a topic from its beginning to where it ends now, as no member of any group.

use std::{
    collections::BTreeMap,
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
    broker::{LogError, Partition, Record},
    topic::TopicName,
};

/// Records that are handed over at once.
const BATCH: usize = 256;
/// How long nothing may come before the scan looks whether the topic was cut meanwhile.
const STALLED: Duration = Duration::from_secs(10);
/// How long after it was looked whether all is decided it is looked again.
const UNDECIDED: Duration = Duration::from_millis(10);

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
    let context = || format!("reading topic {topic}");
    let failed = |error: KafkaError| failure::log_error(context(), &error);
    let mut config = options.consumer_config("scan");
    // The end is told by an event: markers, compaction and records of aborted transactions may lie before it.
    config.set("enable.partition.eof", "true");
    // What was deleted while it was read is not there to be read.
    config.set("auto.offset.reset", "earliest");
    let reader: BaseConsumer<Reporter> =
        config.create_with_context(Reporter::new(format!("scan of {topic}"))).map_err(failed)?;
    let ends = patiently(|| watermarks::ends(looker, &options.prefix, topic, LOOK))?;
    let mut open = decided(&reader, &options.prefix, topic, &ends, || batches.is_closed())?;
    reader.assign(&list(options, &open).map_err(failed)?).map_err(failed)?;

    let mut batch = Vec::new();
    let mut last = Instant::now();
    while !open.is_empty() {
        match reader.poll(STALLED / 10) {
            Some(Ok(message)) => {
                last = Instant::now();
                let partition = Partition { topic, index: message.partition() };
                let Some(&end) = open.get(&partition) else { continue };
                if message.offset() + 1 >= end {
                    open.remove(&partition);
                }
                if message.offset() < end {
                    batch.push(record::from_message(&message, partition));
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
        if batch.len() >= BATCH && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    // Whoever does not listen any more needs no records.
    let _ = batches.blocking_send(batch);
    Ok(())
}

/// Waits until everything before these ends is decided, and returns the ends of partitions that have anything. A
/// transaction of a process that died makes it wait until a broker gives that up.
fn decided(
    reader: &BaseConsumer<Reporter>,
    prefix: &str,
    topic: TopicName,
    ends: &[(Partition, i64)],
    gives_up: impl Fn() -> bool,
) -> Result<BTreeMap<Partition, i64>, LogError> {
    loop {
        let marks = patiently(|| watermarks::of_topic(reader, prefix, topic, LOOK))?;
        let mark = |partition: &Partition| marks.get(partition).copied().unwrap_or_default();
        if gives_up() || ends.iter().all(|(partition, end)| mark(partition).1 >= *end) {
            let has_any = |(partition, end): &&(Partition, i64)| mark(partition).0 < *end;
            return Ok(ends.iter().filter(has_any).copied().collect());
        }
        std::thread::sleep(UNDECIDED);
    }
}

fn is_final(error: &KafkaError) -> bool {
    let unknown = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownPartition];
    let is_unknown = error.rdkafka_error_code().is_some_and(|code| unknown.contains(&code));
    is_unknown || failure::class(error) == Class::Lasting
}

fn list(options: &KafkaOptions, open: &BTreeMap<Partition, i64>) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for Partition { topic, index } in open.keys() {
        list.add_partition_offset(&options.name(topic.0), *index, Offset::Beginning)?;
    }
    Ok(list)
}
