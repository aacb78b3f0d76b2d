//! Where partitions begin and end, as the consumer that asks sees them: one that reads committed records sees a
//! partition end where the first undecided transaction begins.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::failure;
use crate::{
    log::{LogError, Partition},
    topic::TopicName,
};

/// How long a question may go without an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The partitions of a topic, ascending.
pub(super) fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
    at_most: Duration,
) -> Result<Vec<Partition>, KafkaError> {
    let name = format!("{prefix}{topic}");
    let metadata = consumer.fetch_metadata(Some(&name), at_most)?;
    let unknown = || KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let found = metadata.topics().iter().find(|found| found.name() == name).ok_or_else(unknown)?;
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let mut indexes: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    indexes.sort_unstable();
    Ok(indexes.into_iter().map(|index| Partition { topic, index }).collect())
}

/// The first offset and the end of every partition of a topic.
pub(super) fn of_topic<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
    at_most: Duration,
) -> Result<BTreeMap<Partition, (i64, i64)>, LogError> {
    let read = || {
        let partitions = partitions(consumer, prefix, topic, at_most)?;
        let low = offsets(consumer, prefix, &partitions, Offset::Beginning, at_most)?;
        let high = offsets(consumer, prefix, &partitions, Offset::End, at_most)?;
        Ok(partitions.into_iter().zip(low.into_iter().zip(high)).collect())
    };
    read().map_err(|error| failure::log_error(format!("reading the ends of topic {topic}"), &error))
}

/// The end of every partition of a topic.
pub(super) fn ends<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
    at_most: Duration,
) -> Result<Vec<(Partition, i64)>, LogError> {
    let read = || {
        let partitions = partitions(consumer, prefix, topic, at_most)?;
        let ends = offsets(consumer, prefix, &partitions, Offset::End, at_most)?;
        Ok(partitions.into_iter().zip(ends).collect())
    };
    read().map_err(|error| failure::log_error(format!("reading the ends of topic {topic}"), &error))
}

/// The offsets where these partitions begin or end, one question to each broker.
pub(super) fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
    side: Offset,
    at_most: Duration,
) -> Result<Vec<i64>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for Partition { topic, index } in partitions {
        list.add_partition_offset(&format!("{prefix}{topic}"), *index, side)?;
    }
    let answered = consumer.offsets_for_times(list, at_most)?;
    let offset = |Partition { topic, index }: &Partition| {
        let element = answered
            .find_partition(&format!("{prefix}{topic}"), *index)
            .ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
        element.error()?;
        match element.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition)),
        }
    };
    partitions.iter().map(offset).collect()
}

/// Tries for a while: a partition whose leader died has another within seconds.
pub(super) fn patiently<T, E>(read: impl Fn() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match read() {
            Err(_) if begun.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
    }
}
