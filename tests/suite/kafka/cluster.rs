//! The cluster that tests of the Kafka log use, and topics of their own in it.
//!
//! `scripts/test` starts the cluster and names it in `AVR_TEST_KAFKA`, its bootstrap address, and
//! `AVR_TEST_KAFKA_DIR`, its folder, by which `scripts/kafka` knows it. By hand:
//!
//! ```text
//!   export AVR_KAFKA_DIR=/tmp/kafka AVR_KAFKA_PORT=any AVR_TEST_KAFKA_DIR=/tmp/kafka
//!   export AVR_TEST_KAFKA=$(scripts/kafka start 3)
//!   cargo test --test suite -- --include-ignored kafka::
//! ```
//!
//! Tests that share the cluster run side by side, under prefixes of their own. A test that stops brokers has the cluster
//! [`alone`].
//!
//! `RUST_LOG` shows what the log and librdkafka say, for instance `RUST_LOG=avr=debug,librdkafka=debug`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use avr::{
    log::kafka::{GroupProtocol, KafkaLog, KafkaOptions, MissingProgress},
    topic::TopicName,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataPartition,
    types::RDKafkaErrorCode,
};

use crate::support::look_until;

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(10);

/// The largest record of the tests' logs.
pub(crate) const MAX_RECORD: usize = 1 << 20;

/// The cluster of this run, for as long as a test has it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) bootstrap: String,
    folder: Option<PathBuf>,
    _turn: Arc<Turn>,
}

/// The cluster, beside other tests. Waits while one has it alone.
pub(crate) fn shared() -> Cluster {
    Cluster::for_a_turn(Turn::WithOthers)
}

/// The cluster with all its brokers and without other tests, whose ends are waited for.
pub(crate) fn alone() -> Cluster {
    let cluster = Cluster::for_a_turn(Turn::Alone);
    // A test that failed may have left brokers dead or frozen.
    cluster.script(&["start"]);
    cluster
}

/// What a test may do while it has the cluster.
#[derive(Debug)]
enum Turn {
    WithOthers,
    Alone,
}

/// The tests that have the cluster.
#[derive(Debug)]
struct Turns {
    with_others: usize,
    alone: bool,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns { with_others: 0, alone: false });
static TURN_ENDED: Condvar = Condvar::new();

/// A test that fails holds the lock for no longer than another.
fn turns() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Waits for this turn. It blocks the thread, which has nothing else to do: each test has one of its own. A test may
    /// take several turns with others, so nobody who waits to be alone keeps it from that.
    fn take(self) -> Arc<Self> {
        let is_taken =
            |turns: &mut Turns| turns.alone || (matches!(self, Self::Alone) && turns.with_others > 0);
        let mut turns = TURN_ENDED.wait_while(turns(), is_taken).unwrap_or_else(PoisonError::into_inner);
        match self {
            Self::WithOthers => turns.with_others += 1,
            Self::Alone => turns.alone = true,
        }
        drop(turns);
        Arc::new(self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = turns();
        match self {
            Self::WithOthers => turns.with_others -= 1,
            Self::Alone => turns.alone = false,
        }
        TURN_ENDED.notify_all();
    }
}

/// What `look` finds once it finds something. A look that failed, or that saw but a part, is no answer: on a machine that
/// has much else to do a broker may be slow to tell what it leads.
pub(crate) fn answered<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_until(look).unwrap_or_else(|| panic!("the cluster does not tell {what}"))
}

/// The partitions of a topic, each with the broker that leads it; every one of them, so `none` while one has no leader.
fn partitions_once(consumer: &BaseConsumer, topic: &str) -> Option<BTreeMap<i32, i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), LOOK).ok()?;
    let found = metadata.topics().iter().find(|found| found.name() == topic)?;
    let is_led = |partition: &&MetadataPartition| partition.error().is_none() && partition.leader() >= 0;
    let led = found.partitions().iter().filter(is_led).map(|partition| (partition.id(), partition.leader()));
    let led: BTreeMap<i32, i32> = led.collect();
    let is_whole = found.error().is_none() && !led.is_empty() && led.len() == found.partitions().len();
    is_whole.then_some(led)
}

/// The partitions of a topic, each with the broker that leads it.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, i32> {
    answered(&format!("who leads {topic}"), || partitions_once(consumer, topic))
}

impl Cluster {
    fn for_a_turn(turn: Turn) -> Self {
        let bootstrap = std::env::var("AVR_TEST_KAFKA").unwrap_or_default();
        assert!(!bootstrap.is_empty(), "AVR_TEST_KAFKA names no cluster; scripts/test starts one");
        let folder = std::env::var_os("AVR_TEST_KAFKA_DIR").map(PathBuf::from);
        Self { bootstrap, folder, _turn: turn.take() }
    }

    /// Runs `scripts/kafka` on this cluster.
    pub(crate) fn script(&self, arguments: &[&str]) {
        let folder = self.folder.as_ref().expect("AVR_TEST_KAFKA_DIR names the folder of the cluster");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka");
        let ran = Command::new(script).args(arguments).env("AVR_KAFKA_DIR", folder).output();
        let output = ran.expect("scripts/kafka can be run");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The options of a process of the pipeline with this prefix.
    pub(crate) fn options(&self, prefix: &str, group_protocol: GroupProtocol) -> KafkaOptions {
        let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let consumer = match group_protocol {
            GroupProtocol::Classic => {
                texts(&[("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")])
            }
            GroupProtocol::Consumer => texts(&[]),
        };
        let servers = self.bootstrap.split(',').map(str::to_owned).collect();
        KafkaOptions {
            group_protocol,
            missing_progress: MissingProgress::Begin,
            max_record_bytes: MAX_RECORD,
            client: texts(&[("topic.metadata.refresh.interval.ms", "1000")]),
            consumer,
            ..KafkaOptions::new(servers, prefix)
        }
    }

    /// A fresh pipeline: a prefix that nobody else has, with these topics.
    pub(crate) async fn fresh(&self, topics: &[(TopicName, i32)]) -> Pipeline {
        let prefix = format!("test-{:08x}.", fastrand::u32(..));
        let pipeline = Pipeline { cluster: self.clone(), prefix };
        pipeline.create(topics).await;
        pipeline
    }

    /// The broker that coordinates a group, or the transactions of an id: the leader of the partition of `topic`, one
    /// of Kafka's own, to which its name belongs.
    pub(crate) fn coordinator(&self, topic: &str, name: &str) -> i32 {
        let reader: BaseConsumer = self.config().create().expect("a consumer can be made");
        let leaders = partitions(&reader, topic);
        // As Java hashes a text.
        let hash =
            name.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
        let count = i32::try_from(leaders.len()).expect("few partitions");
        leaders[&((hash & i32::MAX) % count)]
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an admin client can be made")
    }
}

/// One pipeline's part of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) cluster: Cluster,
    pub(crate) prefix: String,
}

impl Pipeline {
    /// The log, as a process of its own has it.
    pub(crate) async fn process(&self, options: KafkaOptions) -> KafkaLog {
        KafkaLog::connect(options).await.expect("the cluster answers")
    }

    pub(crate) fn options(&self, protocol: GroupProtocol) -> KafkaOptions {
        self.cluster.options(&self.prefix, protocol)
    }

    async fn create(&self, topics: &[(TopicName, i32)]) {
        let admin = self.cluster.admin();
        let limit = (MAX_RECORD + (64 << 10)).to_string();
        let names: Vec<String> = topics.iter().map(|(name, _)| format!("{}{name}", self.prefix)).collect();
        let new = |(name, (_, partitions)): (&'_ String, &(TopicName, i32))| (name.clone(), *partitions);
        let wanted: Vec<(String, i32)> = names.iter().zip(topics).map(new).collect();
        let topics: Vec<NewTopic<'_>> = wanted
            .iter()
            .map(|(name, partitions)| {
                NewTopic::new(name, *partitions, TopicReplication::Fixed(3)).set("max.message.bytes", &limit)
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for topic in &topics {
            // A broker that was just started is not yet counted by all.
            let made =
                async || admin.create_topics([topic], &options).await.expect("the cluster answers").remove(0);
            while let Err((name, error)) = made().await {
                let waits = error == RDKafkaErrorCode::InvalidReplicationFactor;
                assert!(waits, "topic {name} cannot be made: {error}");
            }
        }
        for (name, partitions) in wanted {
            self.await_partitions(&name, partitions);
        }
    }

    /// Adds partitions to a topic, up to so many.
    pub(crate) async fn grow(&self, topic: TopicName, partitions: i32) {
        let name = format!("{}{topic}", self.prefix);
        let count = usize::try_from(partitions).expect("a number of partitions");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let grown =
            self.cluster.admin().create_partitions(&[NewPartitions::new(&name, count)], &options).await;
        grown.expect("partitions can be added").into_iter().for_each(|topic| {
            topic.expect("partitions can be added");
        });
        self.await_partitions(&name, partitions);
    }

    /// Waits until every partition has a leader that the cluster tells of.
    fn await_partitions(&self, name: &str, partitions: i32) {
        let reader: BaseConsumer = self.cluster.config().create().expect("a consumer can be made");
        let count = usize::try_from(partitions).expect("a number of partitions");
        answered(&format!("of all partitions of {name}"), || {
            partitions_once(&reader, name).filter(|led| led.len() == count)
        });
    }
}
