//! The producer of a process: one transaction after the other.
//!
//! Every function here blocks, for seconds where the cluster does not answer, and runs on the committer's OS thread.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use tokio::sync::watch;

use super::watchdog::Watchdog;
use crate::log::{
    Output,
    kafka::{KafkaOptions, client_config::TRANSACTION_TIMEOUT_MS, record, reporter::Reporter},
    lock,
};

/// How long one wait is where nothing wakes at the end of it.
const GLANCE: Duration = Duration::from_micros(100);
/// How long a record waits that found the queue of librdkafka full.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// How long a transaction may take to begin, which asks nobody.
const BEGIN: Duration = Duration::from_secs(1);
/// How long one try to become the producer of a name may take.
const INIT: Duration = Duration::from_secs(5);
/// How long offsets may take to be taken into a transaction.
const OFFSETS: Duration = Duration::from_secs(10);
/// How long after its own limit a call of librdkafka's is taken for hung.
const HUNG: Duration = Duration::from_secs(2);
/// How long records may take to arrive, all of them: longer than librdkafka tries.
const DELIVERY: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS - 1000);
/// How long the end of a transaction may take.
const END: Duration = Duration::from_secs(10);

/// The delivery of the records of the transaction under way.
#[derive(Debug, Default)]
struct DeliveryStatus {
    /// Records that have neither arrived nor failed.
    pending: usize,
    /// The topic of the first record that failed, and why it did.
    failed: Option<(String, KafkaError)>,
}

/// Takes delivery reports, on an OS thread of librdkafka's.
#[derive(Debug)]
struct Deliveries {
    reporter: Reporter,
    status: Mutex<DeliveryStatus>,
    /// Notified when no record is pending any more.
    settled: Condvar,
}

impl ClientContext for Deliveries {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut status = lock(&self.status);
        if let Err((error, message)) = result {
            status.failed.get_or_insert_with(|| (message.topic().to_owned(), error.clone()));
        }
        status.pending = status.pending.saturating_sub(1);
        if status.pending == 0 {
            self.settled.notify_all();
        }
    }
}

/// The producer with an OS thread that takes delivery reports: polling for them with a time limit would burn a core until
/// the limit, because librdkafka takes less than a millisecond for no time at all.
type ProducerClient = ThreadedProducer<Deliveries>;

/// A transactional producer.
pub(super) struct Producer {
    // Declared before the watchdog: the last one to let go of the client waits until that is taken down, and the last one
    // must be the watchdog's OS thread.
    client: Arc<ProducerClient>,
    watchdog: Watchdog<ProducerClient>,
    begun: Instant,
}

impl Producer {
    /// A producer of the name `id`, which may write after [`Self::init`] only. `hung_calls` counts those of its calls that
    /// never return.
    pub(super) fn new(
        options: &KafkaOptions,
        id: &str,
        hung_calls: watch::Sender<u64>,
    ) -> Result<Self, KafkaError> {
        let reporter = Reporter::new("committer");
        let context = Deliveries { reporter, status: Mutex::default(), settled: Condvar::new() };
        let client: Arc<ProducerClient> = Arc::new(options.producer_config(id).create_with_context(context)?);
        let watchdog = Watchdog::over(Arc::clone(&client), "kafka-producer", hung_calls)
            .map_err(|error| KafkaError::ClientCreation(format!("no OS thread for it: {error}")))?;
        Ok(Self { client, watchdog, begun: Instant::now() })
    }

    /// Makes a call that has a limit of its own, which librdkafka does not always keep.
    fn call(
        &self,
        limit: Duration,
        call: impl FnOnce(&ProducerClient) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), KafkaError> {
        let made = self.watchdog.call(limit + HUNG, call);
        made.unwrap_or(Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)))
    }

    /// Becomes the one that may write under its name. Whatever an earlier one left undecided is decided then. After
    /// a time-out the same call goes on where it was.
    pub(super) fn init(&self) -> Result<(), KafkaError> {
        self.call(INIT, |client| client.init_transactions(INIT))
    }

    pub(super) fn begin(&mut self) -> Result<(), KafkaError> {
        *lock(&self.deliveries().status) = DeliveryStatus::default();
        self.begun = Instant::now();
        self.call(BEGIN, ProducerClient::begin_transaction)
    }

    fn deliveries(&self) -> &Deliveries {
        self.client.client().context()
    }

    /// How long the transaction has been under way.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes a record on its way to `topic`, as the cluster names it.
    pub(super) fn send(&self, topic: &str, output: &Output) -> Result<(), KafkaError> {
        loop {
            let record = BaseRecord::<[u8], [u8]> {
                topic,
                partition: None,
                payload: output.value.as_ref().map(Bytes::as_ref),
                key: output.key.as_ref().map(Bytes::as_ref),
                timestamp: None,
                headers: record::to_native(&output.headers),
                delivery_opaque: (),
            };
            lock(&self.deliveries().status).pending += 1;
            let Err((error, _)) = self.client.send(record) else { return Ok(()) };
            lock(&self.deliveries().status).pending -= 1;
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if self.age() < DELIVERY => {
                    thread::sleep(QUEUE_FULL);
                }
                error => return Err(error),
            }
        }
    }

    /// Adds the progress of one group.
    pub(super) fn add_offsets(
        &self,
        offsets: TopicPartitionList,
        member: Arc<ConsumerGroupMetadata>,
    ) -> Result<(), KafkaError> {
        self.call(OFFSETS, move |client| client.send_offsets_to_transaction(&offsets, &member, OFFSETS))
    }

    /// Waits until every record has arrived or failed, and fails as the first that did.
    pub(super) fn settle(&self) -> Result<(), (String, KafkaError)> {
        let Deliveries { status, settled, .. } = self.deliveries();
        let left = DELIVERY.saturating_sub(self.age());
        let timed_out = || {
            let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
            Err(("any".to_owned(), error))
        };
        let waited = settled.wait_timeout_while(lock(status), left, |status| status.pending > 0);
        let (mut status, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return timed_out();
        }
        let failed = status.failed.take();
        drop(status);
        // librdkafka forgets a record a moment after its delivery report.
        while self.client.in_flight_count() > 0 {
            if self.age() > DELIVERY {
                return timed_out();
            }
            thread::sleep(GLANCE);
        }
        failed.map_or(Ok(()), |(topic, error)| Err((topic, self.cause().unwrap_or(error))))
    }

    /// Why the transaction cannot go on. Records on their way are purged for it, and tell no more than that.
    fn cause(&self) -> Option<KafkaError> {
        match self.call(BEGIN, ProducerClient::begin_transaction) {
            Err(error) if error.rdkafka_error_code() != Some(RDKafkaErrorCode::State) => Some(error),
            _ => None,
        }
    }

    pub(super) fn commit(&self) -> Result<(), KafkaError> {
        self.call(END, |client| client.commit_transaction(END))
    }

    /// Gives the transaction up. Records must be settled: librdkafka may ask the broker to end a transaction that
    /// has not heard of its partitions yet, and break over the answer.
    pub(super) fn abort(&self) -> Result<(), KafkaError> {
        self.call(END, |client| client.abort_transaction(END))
    }
}
