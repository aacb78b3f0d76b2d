//! The log itself: where consumers and committers come from.

use std::{
    collections::BTreeMap,
    fmt,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::Instant,
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::{mpsc, watch};

use super::{
    KafkaCommitter, KafkaConsumer, KafkaOptions,
    beginning::LOOK,
    failure,
    member::Members,
    progress,
    reporter::Reporter,
    scan::{self, Enough},
    watermarks,
};
use crate::{
    log::{Budget, GroupName, Log, LogError, Partition, Progress, Record, lock},
    topic::TopicName,
};

/// Batches of a scan that may wait for its visitor.
const BATCHES: usize = 4;

/// A Kafka cluster as a log, and this process in it.
#[derive(Clone)]
pub struct KafkaLog {
    options: Arc<KafkaOptions>,
    members: Arc<Members>,
    looker: Arc<BaseConsumer<Reporter>>,
    lookers: Arc<Lookers>,
}

/// Readers of the progress of groups of which this process need be no member, made when they are first needed.
#[derive(Default)]
struct Lookers(Mutex<BTreeMap<GroupName, Arc<BaseConsumer<Reporter>>>>);

impl Lookers {
    fn of(&self, group: GroupName, options: &KafkaOptions) -> Result<Arc<BaseConsumer<Reporter>>, LogError> {
        let mut lookers = lock(&self.0);
        if let Some(looker) = lookers.get(&group) {
            return Ok(Arc::clone(looker));
        }
        let mut config = options.consumer_config(group.0);
        // What is decided by now is enough for one who looks on: it does not wait for a commit under way.
        config.set("isolation.level", "read_uncommitted");
        let looker = config.create_with_context(Reporter::new(format!("looker at {group}")));
        let looker =
            Arc::new(looker.map_err(|error| failure::log_error(format!("looking at {group}"), &error))?);
        lookers.insert(group, Arc::clone(&looker));
        Ok(looker)
    }
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("prefix", &self.options.prefix).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Reaches for the cluster.
    ///
    /// # Errors
    /// If none of the brokers answers within some seconds, or librdkafka does not understand an option.
    pub async fn connect(options: KafkaOptions) -> Result<Self, LogError> {
        let options = Arc::new(options);
        blocking("connecting to Kafka", move || {
            let reach = || {
                let looker: BaseConsumer<Reporter> =
                    options.looker_config().create_with_context(Reporter::new("looker"))?;
                looker.fetch_metadata(Some(&options.name("-")), LOOK)?;
                Ok(looker)
            };
            let looker = reach().map_err(|error| {
                failure::log_error(format!("connecting to {}", options.bootstrap_servers.join(",")), &error)
            })?;
            Ok(Self { options, members: Arc::default(), looker: Arc::new(looker), lookers: Arc::default() })
        })
        .await
    }

    /// How many calls about transactions never returned: each left a thread and a client of librdkafka behind.
    pub fn lost_calls(&self) -> watch::Receiver<u64> {
        self.members.lost_calls().subscribe()
    }

    /// How the cluster is reached and used.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }
}

impl Log for KafkaLog {
    type Consumer = KafkaConsumer;
    type Committer = KafkaCommitter;

    async fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<KafkaConsumer, LogError> {
        let (options, members) = (Arc::clone(&self.options), Arc::clone(&self.members));
        let topics = topics.to_vec();
        let join = move || KafkaConsumer::join(&options, &members, group, &topics, budget);
        blocking("joining a group", join).await
    }

    async fn committer(&self, name: &str) -> Result<KafkaCommitter, LogError> {
        KafkaCommitter::start(Arc::clone(&self.options), Arc::clone(&self.members), name).await
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        let (options, looker) = (Arc::clone(&self.options), Arc::clone(&self.looker));
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let scan = tokio::task::spawn_blocking(move || scan::scan(&options, &looker, topic, &sender));
        while let Some(batch) = batches.recv().await {
            batch.into_iter().for_each(&mut *visit);
        }
        scan.await.map_err(|error| failure::ours(format!("reading topic {topic}"), error.to_string()))?
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        let (options, looker) = (Arc::clone(&self.options), Arc::clone(&self.looker));
        let enough = Arc::new(Enough::default());
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let told = Arc::clone(&enough);
        let scan =
            tokio::task::spawn_blocking(move || scan::scan_from(&options, &looker, &starts, &sender, &told));
        while let Some(batch) = batches.recv().await {
            for record in batch {
                let partition = record.partition;
                if !enough.has(partition) && visit(record).is_break() {
                    enough.add(partition);
                }
            }
        }
        scan.await.map_err(|error| failure::ours("reading partitions", error.to_string()))?
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let (lookers, options) = (Arc::clone(&self.lookers), Arc::clone(&self.options));
        let context = format!("reading the progress of {group}");
        blocking(&context.clone(), move || {
            let looker = lookers.of(group, &options)?;
            let begun = Instant::now();
            progress::read(&looker, &options.prefix, &partitions, &context, || begun.elapsed() > LOOK)
        })
        .await
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        let (looker, prefix) = (Arc::clone(&self.looker), self.options.prefix.clone());
        blocking("reading ends", move || {
            watermarks::patiently(|| watermarks::ends(&*looker, &prefix, topic, LOOK))
        })
        .await
    }

    fn max_record_bytes(&self) -> usize {
        self.options.max_record_bytes
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    doing: &str,
    run: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let ran = tokio::task::spawn_blocking(run).await;
    ran.map_err(|error| failure::ours(doing, error.to_string()))?
}
