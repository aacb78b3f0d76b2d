//! Reading partitions from an offset to where they end now, as no member of any group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tokio::sync::mpsc;

use super::{OffsetReaders, watermarks};
use crate::{
    log::{
        LogError, Partition, Record,
        kafka::{
            KafkaOptions,
            error::{self, ErrorClass},
            record,
            reporter::Reporter,
        },
        lock,
    },
    topic::TopicName,
};

/// Records that are handed over at once.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// How long one poll waits for a record: so long may it take until a scan notices that nobody listens any more.
const POLL: Duration = Duration::from_millis(250);
/// How long nothing may come before the scan says so.
const STALLED: Duration = Duration::from_secs(10);
/// How long after it was looked whether all is decided it is looked again.
const UNDECIDED: Duration = Duration::from_millis(10);

/// What is to be read: for each partition from where on, and up to where.
type Ranges = BTreeMap<Partition, (i64, i64)>;

/// Partitions of which the visitor wants no more.
#[derive(Debug, Default)]
pub(crate) struct Unwanted(Mutex<BTreeSet<Partition>>);

impl Unwanted {
    /// Nothing more of this partition.
    pub(crate) fn add(&self, partition: Partition) {
        lock(&self.0).insert(partition);
    }

    /// Whether the visitor wants no more of this partition.
    pub(crate) fn has(&self, partition: Partition) -> bool {
        lock(&self.0).contains(&partition)
    }
}

/// A scan, and who listens to it: when the receiver of the batches is dropped, the scan ends.
pub(crate) struct Scan<'a> {
    pub(crate) options: &'a KafkaOptions,
    pub(crate) offsets: &'a OffsetReaders,
    pub(crate) batches: &'a mpsc::Sender<Vec<Record>>,
    pub(crate) unwanted: &'a Unwanted,
}

impl Scan<'_> {
    /// Sends every record of a topic in batches, and returns at the end of it. Blocks.
    ///
    /// The end is where records end now, decided or not: what was committed before is seen, also while the cluster is
    /// yet to write down that it was.
    pub(crate) fn topic(&self, topic: TopicName) -> Result<(), LogError> {
        let reader = reader(self.options, topic)?;
        let ranges = self.decided(&reader, topic)?;
        self.read(&reader, topic, ranges)
    }

    /// Sends the records of partitions in batches, each from its offset on, and returns when each has ended or gave
    /// enough. Blocks. One topic after the other: librdkafka tells the end of a partition by its number alone.
    pub(crate) fn partitions(&self, starts: &[(Partition, i64)]) -> Result<(), LogError> {
        let topics: BTreeSet<TopicName> = starts.iter().map(|(partition, _)| partition.topic).collect();
        for topic in topics {
            let reader = reader(self.options, topic)?;
            let whole = self.decided(&reader, topic)?;
            let range = |(partition, from): &(Partition, i64)| {
                let (first, end) = whole.get(partition)?;
                Some((*partition, ((*from).max(*first), *end)))
            };
            let ranges = starts.iter().filter_map(range).filter(|(_, (from, end))| from < end);
            self.read(&reader, topic, ranges.collect())?;
        }
        Ok(())
    }

    /// Waits until everything before the ends of a topic is decided, and returns where partitions that have anything
    /// begin and end. A transaction of a process that died makes it wait until a broker gives that up.
    fn decided(&self, reader: &BaseConsumer<Reporter>, topic: TopicName) -> Result<Ranges, LogError> {
        let gives_up = || self.batches.is_closed();
        let ends = self.offsets.end_offsets(topic, gives_up)?;
        loop {
            let watermarks = watermarks::of_topic(reader, &self.options.prefix, topic, gives_up)?;
            let watermarks = |partition: &Partition| watermarks.get(partition).copied().unwrap_or_default();
            if gives_up() || ends.iter().all(|(partition, end)| watermarks(partition).end >= *end) {
                let range =
                    |(partition, end): &(Partition, i64)| (*partition, (watermarks(partition).first, *end));
                return Ok(ends.iter().map(range).filter(|(_, (first, end))| first < end).collect());
            }
            thread::sleep(UNDECIDED);
        }
    }

    fn read(
        &self,
        reader: &BaseConsumer<Reporter>,
        topic: TopicName,
        ranges: Ranges,
    ) -> Result<(), LogError> {
        let failed = |error: KafkaError| error::log_error(format!("reading topic {topic}"), &error);
        reader.assign(&list(self.options, &ranges).map_err(failed)?).map_err(failed)?;
        let mut open = ranges;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut last = Instant::now();
        while !open.is_empty() && !self.batches.is_closed() {
            match reader.poll(POLL) {
                Some(Ok(message)) => {
                    last = Instant::now();
                    let partition = Partition { topic, index: message.partition() };
                    let Some(&(_, end)) = open.get(&partition) else { continue };
                    if message.offset() + 1 >= end || self.unwanted.has(partition) {
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
                self.send(std::mem::take(&mut batch));
            }
        }
        self.send(batch);
        Ok(())
    }

    /// Hands a batch over. Who does not listen any more needs none: the scan notices that before its next poll.
    fn send(&self, batch: Vec<Record>) {
        let _ = self.batches.blocking_send(batch);
    }
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
    reader.map_err(|error| error::log_error(format!("reading topic {topic}"), &error))
}

fn is_final(error: &KafkaError) -> bool {
    let unknown = [RDKafkaErrorCode::UnknownTopicOrPartition, RDKafkaErrorCode::UnknownPartition];
    let is_unknown = error.rdkafka_error_code().is_some_and(|code| unknown.contains(&code));
    is_unknown || error::classify(error) == ErrorClass::Permanent
}

fn list(options: &KafkaOptions, ranges: &Ranges) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (Partition { topic, index }, (from, _)) in ranges {
        list.add_partition_offset(&options.name(topic.0), *index, Offset::Offset(*from))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{Arc, mpsc as std_mpsc},
    };

    use super::*;
    use crate::topic::PROMPTS;

    /// How long a test waits for what should come at once.
    const LIMIT: Duration = Duration::from_secs(60);

    /// A broker's port at which every connection is taken and nothing is ever said.
    fn silent_broker() -> (TcpListener, KafkaOptions) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        (listener, KafkaOptions::new(vec![address], "test."))
    }

    #[test]
    fn a_scan_to_which_nobody_listens_ends_though_the_cluster_is_silent() {
        let (_listener, options) = silent_broker();
        let (batches, listens) = mpsc::channel(1);
        let (tell, ended) = std_mpsc::channel();
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        let scan = move || {
            let reader = reader(&options, PROMPTS.name).expect("a client");
            let offsets = OffsetReaders::unconnected(Arc::new(options.clone())).expect("a client");
            let (options, unwanted) = (&options, &Unwanted::default());
            let scan = Scan { options, offsets: &offsets, batches: &batches, unwanted };
            let read = scan.read(&reader, PROMPTS.name, Ranges::from([(partition, (0, 10))]));
            tell.send(read.is_ok()).expect("the test waits");
        };
        thread::spawn(scan);
        drop(listens);
        assert_eq!(ended.recv_timeout(LIMIT), Ok(true));
    }
}
