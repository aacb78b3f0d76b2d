//! Reading a topic from its beginning to where it ends now, as no member of any group.

use std::{collections::BTreeMap, time::Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{KafkaOptions, beginning::LOOK, failure, failure::Class, record, reporter::Reporter, watermarks};
use crate::{
    broker::{LogError, Partition, Record},
    topic::TopicName,
};

/// Records that are handed over at once.
const BATCH: usize = 256;
/// How long nothing may come before the scan looks whether the topic was cut meanwhile.
const STALLED: std::time::Duration = std::time::Duration::from_secs(10);

/// Sends every record of `topic` in batches, and returns at the end of it. Blocks.
pub(super) fn scan(
    options: &KafkaOptions,
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
    let marks = watermarks::of_topic(&reader, &options.prefix, topic, LOOK)?;
    let mut open: BTreeMap<Partition, i64> =
        marks.into_iter().filter(|(_, (low, high))| low < high).map(|(p, (_, high))| (p, high)).collect();
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
