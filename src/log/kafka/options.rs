//! How a Kafka cluster is reached and used, as valid values.

use std::{collections::BTreeMap, fmt};

/// How partitions are shared out among the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum GroupProtocol {
    /// The members agree among themselves; works with every broker.
    Classic,
    /// The broker decides (KIP-848, brokers from 4.0 on).
    Consumer,
}

/// What a group does in a partition where it has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingProgress {
    /// Begins at offset 0.
    Begin,
    /// Begins at offset 0 where nothing can have been forgotten: in an empty topic, or in a partition that was added
    /// to a topic of whose others the progress is known. Elsewhere it stops with an error, because a broker forgets
    /// the progress of a group that was away for a week, and to begin anew would make everything twice.
    Refuse,
}

/// A Kafka cluster, and this process in it.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Addresses to begin with, `host:port`; the cluster tells the others.
    pub bootstrap_servers: Vec<String>,
    /// What the names of all topics, groups and transactional ids begin with, so that several pipelines can share a
    /// cluster.
    pub prefix: String,
    /// This process' name among its kind, one running process each: its transactional id follows from it, and with
    /// `static_membership` its place in the groups. None: a name is drawn at every start.
    pub worker: Option<String>,
    /// Whether a worker that comes back under its name within the session time-out finds its partitions again without
    /// a rebalance.
    pub static_membership: bool,
    /// How partitions are shared out.
    pub group_protocol: GroupProtocol,
    /// What a group does in a partition where it has committed nothing.
    pub missing_progress: MissingProgress,
    /// The largest record, in bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// librdkafka's own keys for every client of this process, below those of its kind.
    pub client: BTreeMap<String, String>,
    /// librdkafka's own keys for consumers.
    pub consumer: BTreeMap<String, String>,
    /// librdkafka's own keys for the producer.
    pub producer: BTreeMap<String, String>,
}

/// Of librdkafka's keys the names only: passwords are among them.
impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("prefix", &self.prefix)
            .field("worker", &self.worker)
            .field("static_membership", &self.static_membership)
            .field("group_protocol", &self.group_protocol)
            .field("client", &self.client.keys())
            .field("consumer", &self.consumer.keys())
            .field("producer", &self.producer.keys())
            .finish_non_exhaustive()
    }
}

impl KafkaOptions {
    /// A cluster, and a pipeline in it; everything else as it is without configuration.
    pub fn new(bootstrap_servers: Vec<String>, prefix: impl Into<String>) -> Self {
        Self {
            bootstrap_servers,
            prefix: prefix.into(),
            worker: None,
            static_membership: false,
            group_protocol: GroupProtocol::Classic,
            missing_progress: MissingProgress::Refuse,
            max_record_bytes: 16 << 20,
            client: BTreeMap::new(),
            consumer: BTreeMap::new(),
            producer: BTreeMap::new(),
        }
    }
}
