//! Where partitions begin and end, as the client that asks sees it: one that reads committed records sees a partition
//! end where the first undecided transaction begins.

use std::{collections::BTreeMap, time::Instant};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::{CLUSTER_TIMEOUT, PATIENCE, until_answered};
use crate::{
    log::{LogError, Partition, kafka::error},
    topic::TopicName,
};

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that is kept.
    pub first: i64,
    /// The offset that the next record will at least have.
    pub end: i64,
}

/// The partitions of a topic, ascending.
fn partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
) -> Result<Vec<Partition>, KafkaError> {
    let name = format!("{prefix}{topic}");
    let metadata = consumer.fetch_metadata(Some(&name), CLUSTER_TIMEOUT)?;
    let unknown = || KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    let found = metadata.topics().iter().find(|found| found.name() == name).ok_or_else(unknown)?;
    if let Some(error) = found.error() {
        return Err(KafkaError::MetadataFetch(error.into()));
    }
    let mut indexes: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    indexes.sort_unstable();
    Ok(indexes.into_iter().map(|index| Partition { topic, index }).collect())
}

/// Where every partition of a topic begins and ends.
pub(crate) fn of_topic<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
    gives_up: impl Fn() -> bool,
) -> Result<BTreeMap<Partition, Watermarks>, LogError> {
    asked(topic, gives_up, || read_once(consumer, prefix, &partitions(consumer, prefix, topic)?))
}

/// The end of every partition of a topic.
pub(super) fn end_offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    topic: TopicName,
    gives_up: impl Fn() -> bool,
) -> Result<Vec<(Partition, i64)>, LogError> {
    asked(topic, gives_up, || {
        let partitions = partitions(consumer, prefix, topic)?;
        let ends = offsets(consumer, prefix, &partitions, Offset::End)?;
        Ok(partitions.into_iter().zip(ends).collect())
    })
}

/// An answer about a topic, for which the cluster is asked again for a while.
fn asked<T>(
    topic: TopicName,
    gives_up: impl Fn() -> bool,
    ask: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, LogError> {
    let context = format!("reading the watermarks of topic {topic}");
    let begun = Instant::now();
    let answer = until_answered(&context, || gives_up() || begun.elapsed() > PATIENCE, ask);
    answer.map_err(|error| error::log_error(context, &error))
}

/// Where these partitions begin and end.
pub(crate) fn of_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
    gives_up: impl Fn() -> bool,
    context: &str,
) -> Result<BTreeMap<Partition, Watermarks>, LogError> {
    let answer = until_answered(context, gives_up, || read_once(consumer, prefix, partitions));
    answer.map_err(|error| error::log_error(context, &error))
}

fn read_once<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Watermarks>, KafkaError> {
    let first = offsets(consumer, prefix, partitions, Offset::Beginning)?;
    let ends = offsets(consumer, prefix, partitions, Offset::End)?;
    let watermarks = first.into_iter().zip(ends).map(|(first, end)| Watermarks { first, end });
    Ok(partitions.iter().copied().zip(watermarks).collect())
}

/// The offsets where these partitions begin or end, one question to each broker.
fn offsets<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
    side: Offset,
) -> Result<Vec<i64>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for Partition { topic, index } in partitions {
        list.add_partition_offset(&format!("{prefix}{topic}"), *index, side)?;
    }
    let answered = consumer.offsets_for_times(list, CLUSTER_TIMEOUT)?;
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
