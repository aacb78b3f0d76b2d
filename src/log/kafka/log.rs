//! The log itself: where consumers and committers come from.

use std::{fmt, ops::ControlFlow, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::{
    KafkaCommitter, KafkaConsumer, KafkaOptions,
    consume::GroupRegistry,
    error,
    read::{
        OffsetReaders,
        scan::{Scan, Unwanted},
    },
};
use crate::{
    log::{Budget, GroupName, Log, LogError, Partition, Progress, Record},
    topic::TopicName,
};

/// Batches of a scan that may wait for its visitor.
const BATCHES: usize = 4;

/// A Kafka cluster as a log, and this process in it.
#[derive(Clone)]
pub struct KafkaLog {
    options: Arc<KafkaOptions>,
    registry: Arc<GroupRegistry>,
    offsets: Arc<OffsetReaders>,
    hung_calls: watch::Sender<u64>,
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
        let for_readers = Arc::clone(&options);
        let offsets = blocking("connecting to Kafka", move || OffsetReaders::connect(for_readers)).await?;
        let (registry, offsets) = (Arc::default(), Arc::new(offsets));
        Ok(Self { options, registry, offsets, hung_calls: watch::Sender::new(0) })
    }

    /// How many calls about transactions have hung: each left two OS threads and a client of librdkafka behind.
    pub fn hung_calls(&self) -> watch::Receiver<u64> {
        self.hung_calls.subscribe()
    }

    /// How the cluster is reached and used.
    pub fn options(&self) -> &KafkaOptions {
        &self.options
    }

    /// Runs a scan on an OS thread that may block, and visits its records here. When this is cancelled the receiver of
    /// the batches is dropped, and the scan ends.
    async fn read(
        &self,
        doing: String,
        scan: impl FnOnce(Scan<'_>) -> Result<(), LogError> + Send + 'static,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        let (options, offsets) = (Arc::clone(&self.options), Arc::clone(&self.offsets));
        let unwanted = Arc::new(Unwanted::default());
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let known = Arc::clone(&unwanted);
        let scan = tokio::task::spawn_blocking(move || {
            scan(Scan { options: &options, offsets: &offsets, batches: &sender, unwanted: &known })
        });
        while let Some(batch) = batches.recv().await {
            for record in batch {
                let partition = record.partition;
                if !unwanted.has(partition) && visit(record).is_break() {
                    unwanted.add(partition);
                }
            }
        }
        scan.await.map_err(|error| error::ours(doing, error.to_string()))?
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
        let (options, registry) = (Arc::clone(&self.options), Arc::clone(&self.registry));
        let topics = topics.to_vec();
        let join = move || KafkaConsumer::join(&options, &registry, group, &topics, budget);
        blocking("joining a group", join).await
    }

    async fn committer(&self, name: &str) -> Result<KafkaCommitter, LogError> {
        let (options, registry) = (Arc::clone(&self.options), Arc::clone(&self.registry));
        KafkaCommitter::start(options, registry, name, self.hung_calls.clone()).await
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        let mut visit = |record| {
            visit(record);
            ControlFlow::Continue(())
        };
        self.read(format!("reading topic {topic}"), move |scan| scan.topic(topic), &mut visit).await
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        self.read("reading partitions".to_owned(), move |scan| scan.partitions(&starts), visit).await
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let offsets = Arc::clone(&self.offsets);
        blocking("reading progress", move || offsets.committed(group, &partitions)).await
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        let offsets = Arc::clone(&self.offsets);
        blocking("reading the ends of a topic", move || offsets.end_offsets(topic, || false)).await
    }

    fn max_record_bytes(&self) -> usize {
        self.options.max_record_bytes
    }
}

/// Runs what blocks on an OS thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    doing: &str,
    run: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let ran = tokio::task::spawn_blocking(run).await;
    ran.map_err(|error| error::ours(doing, error.to_string()))?
}
