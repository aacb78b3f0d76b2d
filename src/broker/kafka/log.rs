//! The log itself: where consumers and committers come from.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::mpsc;

use super::{
    KafkaCommitter, KafkaConsumer, KafkaOptions,
    beginning::LOOK,
    failure::{self},
    member::Members,
    reporter::Reporter,
    scan, watermarks,
};
use crate::{
    broker::{GroupName, Log, LogError, Partition, Record},
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
            let mut config = options.admin_config();
            config.extend(options.consumer.clone());
            config.set("isolation.level", "read_committed");
            let reach = || {
                let looker: BaseConsumer<Reporter> = config.create_with_context(Reporter::new("looker"))?;
                looker.fetch_metadata(Some(&options.name("-")), LOOK)?;
                Ok(looker)
            };
            let looker = reach().map_err(|error| {
                failure::log_error(format!("connecting to {}", options.bootstrap_servers.join(",")), &error)
            })?;
            Ok(Self { options, members: Arc::default(), looker: Arc::new(looker) })
        })
        .await
    }

    /// How the cluster is reached and used.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }
}

impl Log for KafkaLog {
    type Consumer = KafkaConsumer;
    type Committer = KafkaCommitter;

    async fn consumer(&self, group: GroupName, topics: &[TopicName]) -> Result<KafkaConsumer, LogError> {
        let (options, members) = (Arc::clone(&self.options), Arc::clone(&self.members));
        let topics = topics.to_vec();
        blocking("joining a group", move || KafkaConsumer::join(&options, &members, group, &topics)).await
    }

    async fn committer(&self, name: &str) -> Result<KafkaCommitter, LogError> {
        KafkaCommitter::start(Arc::clone(&self.options), Arc::clone(&self.members), name).await
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        let options = Arc::clone(&self.options);
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let scan = tokio::task::spawn_blocking(move || scan::scan(&options, topic, &sender));
        while let Some(batch) = batches.recv().await {
            batch.into_iter().for_each(&mut *visit);
        }
        scan.await.map_err(|error| failure::ours(format!("reading topic {topic}"), error.to_string()))?
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        let (looker, prefix) = (Arc::clone(&self.looker), self.options.prefix.clone());
        blocking("reading ends", move || patiently(|| watermarks::ends(&*looker, &prefix, topic, LOOK))).await
    }

    fn max_record_bytes(&self) -> usize {
        self.options.max_record_bytes
    }
}

/// Tries for a while: a partition whose leader died has another within seconds.
fn patiently<T>(read: impl Fn() -> Result<T, LogError>) -> Result<T, LogError> {
    let begun = Instant::now();
    loop {
        match read() {
            Err(_) if begun.elapsed() < LOOK => std::thread::sleep(Duration::from_millis(100)),
            result => return result,
        }
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
