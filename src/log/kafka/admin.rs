//! Asks a cluster about topics and groups, and changes them. Knows nothing of what they should be.
//!
//! librdkafka's calls block, so each runs on an OS thread that may.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic,
        OwnedResourceSpecifier, ResourceSpecifier, TopicReplication, TopicResult,
    },
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::MetadataTopic,
};

use super::{
    KafkaOptions,
    error::{self, ErrorClass, log_error},
    log::blocking,
    read::{CLUSTER_TIMEOUT, Watermarks, committed, watermarks},
};
use crate::{
    log::{GroupName, LogError, Partition},
    topic::TopicName,
};

/// How long it may take to do something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A topic as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDescription {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many copies the partition with the fewest has.
    pub replicas: u16,
    /// Every setting that is in force, under Kafka's names.
    pub config: BTreeMap<String, String>,
    /// Those of the settings that are the topic's own, and not the cluster's.
    pub own: BTreeSet<String>,
}

/// A client that looks, creates and alters. Clones are the same client.
#[derive(Clone)]
pub struct Admin {
    client: Arc<AdminClient<DefaultClientContext>>,
    options: Arc<KafkaOptions>,
}

/// Why a group's offsets were not committed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Members of the group are at work, and only they may commit.
    #[error("the group {0} is at work")]
    Active(GroupName),
    /// The cluster cannot do it.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Admin {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Keys for clients that librdkafka does not know.
    pub fn new(options: &KafkaOptions) -> Result<Self, LogError> {
        let client = options.admin_config().create();
        let client = client.map_err(|error| log_error("making a client for the cluster", &error))?;
        Ok(Self { client: Arc::new(client), options: Arc::new(options.clone()) })
    }

    /// The name of a topic or group of ours in the cluster.
    pub fn name(&self, ours: &str) -> String {
        self.options.name(ours)
    }

    /// How many partitions each of these topics has, and how many replicas; those that are missing are left out.
    ///
    /// # Errors
    /// The cluster does not answer, or has no leader for a topic.
    pub async fn shapes(&self, topics: &[TopicName]) -> Result<BTreeMap<TopicName, (u32, u16)>, LogError> {
        let client = Arc::clone(&self.client);
        let context = format!("asking {} for its topics", self.options.bootstrap_servers.join(", "));
        // All of the cluster's: asking for one by name would create it, where the cluster does that.
        let ask = move || client.inner().fetch_metadata(None, CLUSTER_TIMEOUT);
        let metadata = asked(&context, ask).await?;
        let mut shapes = BTreeMap::new();
        for topic in topics {
            let name = self.name(topic.0);
            if let Some(found) = metadata.topics().iter().find(|found| found.name() == name) {
                let shape = shape(found).map_err(|error| failed(format!("{context}: {name}"), error))?;
                shapes.insert(*topic, shape);
            }
        }
        Ok(shapes)
    }

    /// These topics as the cluster has them; those that are missing are left out.
    ///
    /// # Errors
    /// The cluster does not answer, or does not let us see a topic's settings.
    pub async fn describe(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, TopicDescription>, LogError> {
        let shapes = self.shapes(topics).await?;
        if shapes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: BTreeMap<String, TopicName> =
            shapes.keys().map(|topic| (self.name(topic.0), *topic)).collect();
        let wanted: Vec<_> = names.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        let context = "reading the settings of topics";
        let described = self.client.describe_configs(&wanted, &request()).await;
        let mut found = BTreeMap::new();
        for resource in described.map_err(|error| log_error(context, &error))? {
            let resource = resource.map_err(|code| failed(context, code))?;
            let OwnedResourceSpecifier::Topic(name) = &resource.specifier else { continue };
            // librdkafka hides why: a topic without a single setting is one that we may not look at.
            if resource.entries.is_empty() {
                let advice = "the cluster tells nothing of it: allow DescribeConfigs on the topic";
                return Err(error::ours(format!("{context}: {name}"), advice));
            }
            if let Some((topic, &(partitions, replicas))) =
                names.get(name).and_then(|topic| shapes.get_key_value(topic))
            {
                let (config, own) = settings(&resource);
                found.insert(*topic, TopicDescription { partitions, replicas, config, own });
            }
        }
        Ok(found)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The cluster refuses; the message says what may help.
    pub async fn create(
        &self,
        topic: TopicName,
        partitions: u32,
        replicas: u16,
        config: &BTreeMap<String, String>,
    ) -> Result<(), LogError> {
        let name = self.name(topic.0);
        let mut new = NewTopic::new(&name, count(partitions), TopicReplication::Fixed(i32::from(replicas)));
        for (key, value) in config {
            new = new.set(key, value);
        }
        let created = self.client.create_topics([&new], &request()).await;
        let context = format!("creating {name}");
        each(&context, created, |code| create_advice(code, replicas))
    }

    /// Gives a topic as many partitions as it is to have.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn add_partitions(&self, topic: TopicName, partitions: u32) -> Result<(), LogError> {
        let name = self.name(topic.0);
        let asked = NewPartitions::new(&name, partitions as usize);
        let added = self.client.create_partitions([&asked], &request()).await;
        each(&format!("adding partitions to {name}"), added, |_| None)
    }

    /// Alters settings of a topic and keeps its other ones.
    ///
    /// The request replaces all that the topic has of its own, so those of others are read first and sent with it;
    /// who alters the topic in the same moment loses. The client library does not tell whether the cluster refused: only
    /// another look at the topic does.
    ///
    /// # Errors
    /// The cluster does not answer, or does not let us see the topic's settings.
    pub async fn alter(&self, topic: TopicName, changes: &BTreeMap<String, String>) -> Result<(), LogError> {
        let name = self.name(topic.0);
        let found = self.describe(&[topic]).await?.remove(&topic).unwrap_or_default();
        let kept =
            found.config.iter().filter(|(key, _)| found.own.contains(*key) && !changes.contains_key(*key));
        let mut request_of = AlterConfig::new(ResourceSpecifier::Topic(&name));
        for (key, value) in kept.chain(changes) {
            request_of = request_of.set(key, value);
        }
        let altered = self.client.alter_configs([&request_of], &request()).await;
        altered.map(drop).map_err(|error| log_error(format!("altering {name}"), &error))
    }

    /// Where each partition begins and ends: the end is that of records whose transactions are decided.
    ///
    /// # Errors
    /// The cluster does not answer, or has no leader for a partition.
    pub async fn watermarks(
        &self,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, Watermarks>, LogError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let context = "reading where partitions begin and end";
        let (reader, prefix) = (self.reader(None)?, self.options.prefix.clone());
        let partitions = partitions.to_vec();
        blocking(context, move || {
            watermarks::of_partitions(&reader, &prefix, &partitions, is_over(PATIENCE), context)
        })
        .await
    }

    /// Up to where a group is done in each partition; those for which the cluster knows nothing are left out.
    ///
    /// # Errors
    /// The cluster does not answer, or the group may not be looked at.
    pub async fn committed(
        &self,
        group: GroupName,
        partitions: &[Partition],
    ) -> Result<BTreeMap<Partition, i64>, LogError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let context = format!("reading the offsets of the group {}", self.name(group.0));
        let (reader, prefix, asked) =
            (self.reader(Some(group))?, self.options.prefix.clone(), partitions.to_vec());
        let read = move || committed::read(&reader, &prefix, &asked, &context, is_over(PATIENCE));
        let read = blocking("reading offsets", read).await?;
        let known = partitions.iter().zip(read).filter_map(|(at, progress)| Some((*at, progress?.offset)));
        Ok(known.collect())
    }

    /// Commits where a group begins.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn commit_start(
        &self,
        group: GroupName,
        starts: &[(Partition, i64)],
    ) -> Result<(), StartError> {
        let context = format!("committing where the group {} begins", self.name(group.0));
        let offsets = starts.iter().map(|&(partition, offset)| (partition, Offset::Offset(offset)));
        let offsets = self.list(offsets, &context)?;
        let reader = self.reader(Some(group))?;
        let commit = move || Ok(reader.commit(&offsets, CommitMode::Sync));
        match blocking(&context, commit).await? {
            Ok(()) => Ok(()),
            Err(error) if error::classify(&error) == ErrorClass::Refused => Err(StartError::Active(group)),
            Err(error) => Err(log_error(context, &error).into()),
        }
    }

    /// Deletes the records below these offsets; the first offset of each partition afterwards.
    ///
    /// # Errors
    /// The cluster does not answer or does not allow it. Other partitions may have lost their records.
    pub async fn delete_below(
        &self,
        offsets: &BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, i64>, LogError> {
        if offsets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let context = "deleting records that every group is past";
        let partitions: Vec<Partition> = offsets.keys().copied().collect();
        let list = self.list(offsets.iter().map(|(at, offset)| (*at, Offset::Offset(*offset))), context)?;
        let deleted = self.client.delete_records(&list, &request()).await;
        self.offsets(&deleted.map_err(|error| log_error(context, &error))?, &partitions, context)
    }

    /// A client that reads as a member of no group. It joins none either where it asks in a group's name.
    fn reader(&self, group: Option<GroupName>) -> Result<BaseConsumer, LogError> {
        let mut config = self.options.admin_config();
        if let Some(group) = group {
            config.set("group.id", self.name(group.0));
        }
        config.set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed");
        config.create().map_err(|error| log_error("making a client for the cluster", &error))
    }

    fn list(
        &self,
        offsets: impl Iterator<Item = (Partition, Offset)>,
        context: &str,
    ) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let added = list.add_partition_offset(&self.name(partition.topic.0), partition.index, offset);
            added.map_err(|error| log_error(context, &error))?;
        }
        Ok(list)
    }

    /// The offsets that the cluster tells of these partitions; those of which it knows none are left out.
    fn offsets(
        &self,
        list: &TopicPartitionList,
        partitions: &[Partition],
        context: &str,
    ) -> Result<BTreeMap<Partition, i64>, LogError> {
        let mut offsets = BTreeMap::new();
        for partition in partitions {
            let name = self.name(partition.topic.0);
            let Some(element) = list.find_partition(&name, partition.index) else { continue };
            let place = || format!("{context}: {name}, partition {}", partition.index);
            element.error().map_err(|error| log_error(place(), &error))?;
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(*partition, offset);
            }
        }
        Ok(offsets)
    }
}

fn request() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn count(partitions: u32) -> i32 {
    i32::try_from(partitions).unwrap_or(i32::MAX)
}

/// Partitions of a topic, and the copies of the one with the fewest.
fn shape(topic: &MetadataTopic) -> Result<(u32, u16), RDKafkaErrorCode> {
    if let Some(code) = topic.error() {
        return Err(code.into());
    }
    let partitions = topic.partitions();
    let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    Ok((u32::try_from(partitions.len()).unwrap_or(u32::MAX), u16::try_from(replicas).unwrap_or(u16::MAX)))
}

/// What is in force, and which of it is the topic's own.
fn settings(resource: &ConfigResource) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let valued = |entry: &rdkafka::admin::ConfigEntry| Some((entry.name.clone(), entry.value.clone()?));
    let own = resource.entries.iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
    (resource.entries.iter().filter_map(valued).collect(), own.map(|entry| entry.name.clone()).collect())
}

/// What may help where a topic was refused.
fn create_advice(code: RDKafkaErrorCode, replicas: u16) -> Option<String> {
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => Some(format!(
            "the cluster has no {replicas} brokers to keep a copy each; start more, or say so: kafka.replicas = 1"
        )),
        RDKafkaErrorCode::PolicyViolation => {
            Some("the cluster has a rule for topics; ask who runs it which numbers it allows".to_owned())
        }
        _ => None,
    }
}

/// The result of a request about one topic.
fn each(
    context: &str,
    results: KafkaResult<Vec<TopicResult>>,
    advice: impl Fn(RDKafkaErrorCode) -> Option<String>,
) -> Result<(), LogError> {
    for result in results.map_err(|error| log_error(context, &error))? {
        result.map_err(|(_, code)| match advice(code) {
            Some(advice) => error::ours(context, format!("{code}: {advice}")),
            None => failed(context, code),
        })?;
    }
    Ok(())
}

fn failed(context: impl Into<String>, code: RDKafkaErrorCode) -> LogError {
    log_error(context, &KafkaError::AdminOp(code))
}

/// The answer of a call of librdkafka's that blocks.
async fn asked<T: Send + 'static>(
    context: &str,
    call: impl FnOnce() -> KafkaResult<T> + Send + 'static,
) -> Result<T, LogError> {
    blocking(context, move || Ok(call())).await?.map_err(|error| log_error(context, &error))
}

/// Tells, when it is asked, whether so much time has passed since now.
fn is_over(limit: Duration) -> impl Fn() -> bool {
    let begun = Instant::now();
    move || begun.elapsed() > limit
}
