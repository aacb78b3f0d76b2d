//! Committed progress, as the cluster keeps it: an offset and a text for each partition of a group.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::until_answered;
use crate::log::{LogError, Partition, Progress, kafka::error};

/// How long one try to read may take.
const READ: Duration = Duration::from_secs(5);

/// Our partitions for librdkafka.
pub(crate) fn list_of<'a>(
    prefix: &str,
    partitions: impl IntoIterator<Item = &'a Partition>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for Partition { topic, index } in partitions {
        list.add_partition(&format!("{prefix}{topic}"), *index);
    }
    list
}

/// Progress to be committed, for librdkafka.
pub(crate) fn to_commit(
    prefix: &str,
    partitions: &[(Partition, Progress)],
) -> Result<TopicPartitionList, KafkaError> {
    let list = list_of(prefix, partitions.iter().map(|(partition, _)| partition));
    for (element, (_, progress)) in list.elements().iter_mut().zip(partitions) {
        element.set_offset(Offset::Offset(progress.offset))?;
        element.set_metadata(&progress.text);
    }
    Ok(list)
}

/// Reads what is committed for these partitions of the consumer's group, decided commits only, in the order asked
/// for; none where nothing is.
///
/// A commit under way makes it wait and look again, and so does a cluster that does not answer, until `gives_up`
/// says that nobody wants to know any more.
pub(crate) fn read<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
    context: &str,
    gives_up: impl Fn() -> bool,
) -> Result<Vec<Option<Progress>>, LogError> {
    if partitions.is_empty() {
        return Ok(vec![]);
    }
    until_answered(context, gives_up, || read_once(consumer, prefix, partitions))
        .map_err(|error| error::log_error(context, &error))
}

/// One try to read, see [`read`].
pub(crate) fn read_once<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
) -> Result<Vec<Option<Progress>>, KafkaError> {
    let list = consumer.committed_offsets(list_of(prefix, partitions), READ)?;
    partitions.iter().map(|partition| found_in(&list, prefix, *partition)).collect()
}

fn found_in(
    list: &TopicPartitionList,
    prefix: &str,
    Partition { topic, index }: Partition,
) -> Result<Option<Progress>, KafkaError> {
    // A partition that the answer leaves out is not one without progress.
    let unanswered = || KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition);
    let element = list.find_partition(&format!("{prefix}{topic}"), index).ok_or_else(unanswered)?;
    element.error()?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some(Progress { offset, text: element.metadata().to_owned() }),
        _ => None,
    })
}
