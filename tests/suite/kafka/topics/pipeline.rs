//! A pipeline of a test's own in a real cluster, and what others do to it there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use avr::{
    log::{
        GroupName, Partition,
        kafka::{Admin, KafkaOptions},
    },
    provision::{Drift, TopicOverrides, audit},
    topic::{TopicName, catalogue},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, FutureProducer, FutureRecord, Producer as _},
    types::RDKafkaErrorCode,
};
use tokio::task::JoinHandle;

use crate::kafka::cluster::{self, Cluster};

/// How long a cluster may take to do what it was told.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often and how long to look for something that is to come.
const LOOKS: u32 = 600;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A prefix of a cluster.
pub(crate) struct Pipeline {
    pub(crate) admin: Admin,
    options: KafkaOptions,
    _cluster: Cluster,
}

impl Pipeline {
    pub(crate) fn new(test: &str) -> Self {
        let cluster = cluster::shared();
        let servers = cluster.bootstrap.split(',').map(str::to_owned).collect();
        let prefix = format!("{test}-{:08x}.", fastrand::u32(..));
        let options = KafkaOptions::new(servers, &prefix);
        Self { admin: Admin::new(&options).expect("the options are valid"), options, _cluster: cluster }
    }

    /// What fits a cluster of one broker.
    pub(crate) fn overrides(&self) -> TopicOverrides {
        TopicOverrides { partitions: Some(2), replicas: Some(1), ..TopicOverrides::default() }
    }

    /// The same for the command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let prefix = format!("--set=kafka.prefix={}", self.options.prefix);
        let servers = self.options.bootstrap_servers.iter().map(|address| format!("--kafka={address}"));
        let sets = [prefix, "--set=kafka.replicas=1".into(), "--set=kafka.partitions=2".into()];
        servers.chain(sets).collect()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.options.bootstrap_servers.join(","));
        config
    }

    fn client(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("a client")
    }

    /// Replaces a topic's own settings, as an operator's tool does.
    pub(crate) async fn alter(&self, topic: TopicName, settings: &[(&str, &str)]) {
        let name = self.admin.name(topic.0);
        let mut alter = AlterConfig::new(ResourceSpecifier::Topic(&name));
        for (key, value) in settings {
            alter = alter.set(key, value);
        }
        let altered = self.client().alter_configs([&alter], &AdminOptions::new()).await;
        assert!(altered.expect("the cluster answers")[0].is_ok());
    }

    /// The drifts, once they are as awaited: brokers learn of alterations one after another.
    pub(crate) async fn drifts_once(
        &self,
        overrides: &TopicOverrides,
        awaited: impl Fn(&[Drift]) -> bool,
    ) -> Vec<Drift> {
        for _ in 0..LOOKS {
            let found = audit(&self.admin, overrides).await.expect("the cluster answers").drifts;
            if awaited(&found) {
                return found;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("it never came to the drifts that were awaited");
    }

    /// What `look` finds once it finds something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("it never came to it that {what}");
    }

    /// Puts an offset of a group into a transaction and never ends it.
    pub(crate) async fn die_in_a_commit(&self, group: GroupName, partition: Partition, offset: i64) {
        let mut config = self.config();
        config.set("transactional.id", self.admin.name("test"));
        config.set("transaction.timeout.ms", "2000");
        let producer: BaseProducer = config.create().expect("a producer");
        let mut group_config = self.config();
        group_config.set("group.id", self.admin.name(group.0));
        let group: BaseConsumer = group_config.create().expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        let name = self.admin.name(partition.topic.0);
        offsets.add_partition_offset(&name, partition.index, Offset::Offset(offset)).expect("it is one");
        let begin = move || {
            producer.init_transactions(PATIENCE)?;
            producer.begin_transaction()?;
            let metadata = group.group_metadata().expect("it names a group");
            producer.send_offsets_to_transaction(&offsets, &metadata, PATIENCE)
        };
        tokio::task::spawn_blocking(begin).await.expect("it ends").expect("the cluster does it");
    }

    /// Writes so many records to a partition.
    pub(crate) async fn produce(&self, partition: Partition, count: usize) {
        let mut config = self.config();
        config.set("acks", "all");
        let producer: FutureProducer = config.create().expect("a producer");
        let name = self.admin.name(partition.topic.0);
        for _ in 0..count {
            self.write(&producer, &name, partition.index).await;
        }
    }

    /// Writes a record. A broker may learn of a partition a moment later than another.
    async fn write(&self, producer: &FutureProducer, topic: &str, partition: i32) {
        for _ in 0..LOOKS {
            let record = FutureRecord::to(topic).partition(partition).key("key").payload("{}");
            match producer.send(record, PATIENCE).await {
                Ok(_) => return,
                Err((error, _)) => {
                    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownPartition));
                }
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        panic!("partition {partition} of {topic} never became known");
    }

    /// Writes a record of so many bytes that no compression makes smaller.
    pub(crate) async fn produce_large(
        &self,
        partition: Partition,
        bytes: usize,
    ) -> Result<(), RDKafkaErrorCode> {
        let mut config = self.config();
        config.set("message.max.bytes", (64 << 20).to_string());
        config.set("compression.type", "zstd");
        let producer: FutureProducer = config.create().expect("a producer");
        let (name, key) = (self.admin.name(partition.topic.0), "key");
        let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes - key.len()).collect();
        let record = FutureRecord::to(&name).partition(partition.index).key(key).payload(&value);
        let sent = producer.send(record, PATIENCE).await;
        sent.map(drop).map_err(|(error, _)| error.rdkafka_error_code().expect("the broker says why"))
    }

    /// Makes the cluster forget a group's offsets.
    pub(crate) async fn forget(&self, group: GroupName) {
        let name = self.admin.name(group.0);
        let deleted = self.client().delete_groups(&[&name], &AdminOptions::new()).await;
        assert!(deleted.expect("the cluster answers")[0].is_ok(), "nobody is at work");
    }

    /// A member of a group, once it has partitions.
    pub(crate) async fn member(&self, group: GroupName, topic: TopicName, protocol: &str) -> Member {
        let mut config = self.config();
        config.set("group.id", self.admin.name(group.0));
        config.set("enable.auto.commit", "false");
        config.set("group.protocol", protocol);
        let consumer: BaseConsumer = config.create().expect("a consumer");
        consumer.subscribe(&[&self.admin.name(topic.0)]).expect("it joins");
        let stop = Arc::new(AtomicBool::new(false));
        let (told, has_partitions) = tokio::sync::oneshot::channel();
        let stopped = Arc::clone(&stop);
        let polling = tokio::task::spawn_blocking(move || {
            let mut told = Some(told);
            while !stopped.load(Ordering::Relaxed) {
                drop(consumer.poll(Duration::from_millis(100)));
                if consumer.assignment().is_ok_and(|list| list.count() > 0) {
                    told.take().map(|told| told.send(()));
                }
            }
        });
        tokio::time::timeout(PATIENCE, has_partitions).await.expect("it gets partitions").expect("it lives");
        Member { stop, polling }
    }

    /// Takes away what the test made.
    pub(crate) async fn end(self) {
        let client = self.client();
        let names: Vec<String> = catalogue().iter().map(|(topic, _)| self.admin.name(topic.0)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let groups = catalogue().iter().flat_map(|(_, info)| info.groups());
        let groups: Vec<String> = groups.map(|group| self.admin.name(group)).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        // Some are not there in some tests; what is there goes.
        let _ = client.delete_groups(&groups, &AdminOptions::new()).await;
        let _ = client.delete_topics(&names, &AdminOptions::new()).await;
    }
}

/// A member of a group, at work until it leaves.
pub(crate) struct Member {
    stop: Arc<AtomicBool>,
    polling: JoinHandle<()>,
}

impl Member {
    pub(crate) async fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.polling.await.expect("it leaves");
    }
}
