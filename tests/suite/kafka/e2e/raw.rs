//! Topics as any other program writes and reads them: plain librdkafka, and nothing of avr's.

use std::collections::{BTreeMap, BTreeSet};

use avr::topic::TopicName;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    groups::GroupInfo,
    message::{Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use super::pipeline::Pipeline;
use crate::{
    kafka::cluster::{answered, partitions},
    support::PATIENCE,
};

/// A header: its name, and its value if it has one.
pub(crate) type RawHeader = (String, Option<Vec<u8>>);

/// A record, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<RawHeader>,
}

impl RawRecord {
    pub(crate) fn new(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.as_bytes().to_vec()), value: Some(value.into()), ..Self::default() }
    }

    /// The key as text; empty where there is none.
    pub(crate) fn key(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value of a header as text; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.clone());
        String::from_utf8(found.unwrap_or_default()).expect("UTF-8")
    }

    /// The payload as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_deref().expect("a payload")).expect("JSON")
    }
}

/// One pipeline's part of the cluster.
pub(crate) struct Raw {
    config: ClientConfig,
    prefix: String,
}

impl Raw {
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &pipeline.cluster.bootstrap);
        Self { config, prefix: pipeline.prefix.clone() }
    }

    fn name(&self, topic: TopicName) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// Writes records, each into the partition that it names; no transaction is around them.
    pub(crate) fn write(&self, topic: TopicName, records: &[RawRecord]) {
        let producer: BaseProducer = self.config.clone().set("acks", "all").create().expect("a producer");
        let name = self.name(topic);
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut sent = BaseRecord::<[u8], [u8]>::to(&name).partition(record.partition).headers(headers);
            sent.key = record.key.as_deref();
            sent.payload = record.value.as_deref();
            producer.send(sent).map_err(|(error, _)| error).expect("there is room");
        }
        producer.flush(PATIENCE).expect("the cluster takes it");
    }

    /// Every committed record of a topic, partition by partition.
    pub(crate) fn read(&self, topic: TopicName) -> Vec<RawRecord> {
        let mut config = self.config.clone();
        config
            .set("group.id", "nobody")
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer =
            config.set("isolation.level", "read_committed").create().expect("a consumer");
        let name = self.name(topic);
        let mut open: BTreeSet<i32> = partitions(&consumer, &name).into_keys().collect();
        let mut list = TopicPartitionList::new();
        for partition in &open {
            list.add_partition_offset(&name, *partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("its partitions");
        let mut records: BTreeMap<(i32, i64), RawRecord> = BTreeMap::new();
        while !open.is_empty() {
            match consumer.poll(PATIENCE).expect("a record or an end") {
                Ok(message) => {
                    let record = raw_of(&message);
                    records.insert((record.partition, record.offset), record);
                }
                Err(KafkaError::PartitionEOF(partition)) => drop(open.remove(&partition)),
                // A broker that does not answer for a while; the client goes on by itself.
                Err(_) => {}
            }
        }
        records.into_values().collect()
    }

    /// The groups of these names: the members of each, by the ids that its coordinator gave them when they joined.
    pub(crate) fn groups(&self, names: &[&str]) -> Vec<Group> {
        answered("all of its groups", || self.groups_once(names))
    }

    /// The same, as one look tells it: none where a broker did not tell in time, or where a group is not there yet.
    pub(crate) fn groups_once(&self, names: &[&str]) -> Option<Vec<Group>> {
        let consumer: BaseConsumer = self.config.create().expect("a consumer");
        let list = consumer.fetch_group_list(None, PATIENCE).ok()?;
        let group = |name: &&str| {
            let name = format!("{}{name}", self.prefix);
            let is_told = |found: &&GroupInfo| found.name() == name && !found.state().is_empty();
            let found = list.groups().iter().find(is_told)?;
            let members = found.members().iter().map(|member| member.id().to_owned()).collect();
            Some(Group { members, is_stable: found.state() == "Stable" })
        };
        names.iter().map(group).collect()
    }
}

/// A group of consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) members: BTreeSet<String>,
    /// Whether nobody comes or goes.
    pub(crate) is_stable: bool,
}

fn raw_of(message: &rdkafka::message::BorrowedMessage<'_>) -> RawRecord {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    RawRecord {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec))).collect(),
    }
}
