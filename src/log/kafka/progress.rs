//! Committed progress, as the cluster keeps it: an offset and a text for each partition of a group.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};

use super::failure::{self, Class};
use crate::log::{LogError, Partition, Progress};

/// How long one try to read may take.
const READ: Duration = Duration::from_secs(5);
/// How long after a try without an answer the next one begins.
const AGAIN: Duration = Duration::from_millis(50);

/// Our partitions for librdkafka.
pub(super) fn list_of<'a>(
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
pub(super) fn to_commit(
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
pub(super) fn read<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    prefix: &str,
    partitions: &[Partition],
    context: &str,
    gives_up: impl Fn() -> bool,
) -> Result<Vec<Option<Progress>>, LogError> {
    if partitions.is_empty() {
        return Ok(vec![]);
    }
    let mut told = false;
    loop {
        match read_once(consumer, prefix, partitions) {
            Ok(progress) => return Ok(progress),
            Err(error) if gives_up() || failure::class(&error) == Class::Lasting => {
                return Err(failure::log_error(context, &error));
            }
            Err(error) => {
                // A commit of a process that died is undecided until the broker gives it up, some seconds later.
                let is_pending = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnstableOffsetCommit);
                if !is_pending && !told {
                    tracing::warn!(%error, "{context}: no answer; asking again");
                    told = true;
                }
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// One try to read, see [`read`].
pub(super) fn read_once<C: ConsumerContext>(
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
    let Some(element) = list.find_partition(&format!("{prefix}{topic}"), index) else { return Ok(None) };
    element.error()?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some(Progress { offset, text: element.metadata().to_owned() }),
        _ => None,
    })
}
