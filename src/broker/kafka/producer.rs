//! The producer of a process: one transaction after the other.
//!
//! Every function here blocks, for seconds where the cluster does not answer, and runs on the committer's thread.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    ClientContext, Message, TopicPartitionList,
    consumer::ConsumerGroupMetadata,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};
use tokio::sync::watch;

use super::{
    KafkaOptions, calls::Calls, client::TRANSACTION_TIMEOUT_MS, member::lock, record, reporter::Reporter,
};
use crate::broker::Output;

/// How long a piece of waiting is.
const GLANCE: Duration = Duration::from_millis(1);
/// How long a transaction may take to begin, which asks nobody.
const BEGIN: Duration = Duration::from_secs(1);
/// How long one try to become the producer of a name may take.
const INIT: Duration = Duration::from_secs(5);
/// How long offsets may take to be taken into a transaction.
const OFFSETS: Duration = Duration::from_secs(10);
/// How long after its own limit a call of librdkafka's is given up.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// How long records may take to arrive, all of them: longer than librdkafka tries.
const DELIVERY: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS - 1000);
/// How long the end of a transaction may take.
const END: Duration = Duration::from_secs(10);

/// What becomes of the records of the transaction under way.
#[derive(Debug)]
struct Deliveries {
    reporter: Reporter,
    arrived: AtomicUsize,
    /// The first that failed: its topic, and why.
    failed: Mutex<Option<(String, KafkaError)>>,
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
        match result {
            Ok(_) => {
                self.arrived.fetch_add(1, Ordering::AcqRel);
            }
            Err((error, message)) => {
                lock(&self.failed).get_or_insert_with(|| (message.topic().to_owned(), error.clone()));
            }
        }
    }
}

type Native = BaseProducer<Deliveries>;

/// A transactional producer.
pub(super) struct Producer {
    // Before its calls: who is last to let go of it waits until it is taken down, and that is the thread of the calls.
    native: Arc<Native>,
    calls: Calls<Native>,
    begun: Instant,
}

impl Producer {
    /// A producer of the name `id`, which is not yet one that may write.
    /// Calls of its that never return are counted.
    pub(super) fn new(
        options: &KafkaOptions,
        id: &str,
        lost_calls: watch::Sender<u64>,
    ) -> Result<Self, KafkaError> {
        let reporter = Reporter::new("committer");
        let context = Deliveries { reporter, arrived: AtomicUsize::new(0), failed: Mutex::default() };
        let native: Arc<Native> = Arc::new(options.producer_config(id).create_with_context(context)?);
        let calls = Calls::of(Arc::clone(&native), "kafka-calls", lost_calls)
            .map_err(|error| KafkaError::ClientCreation(format!("no thread for it: {error}")))?;
        Ok(Self { native, calls, begun: Instant::now() })
    }

    /// Makes a call that has a limit of its own, which librdkafka does not always keep.
    fn call(
        &self,
        limit: Duration,
        call: impl FnOnce(&Native) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), KafkaError> {
        let made = self.calls.make(limit + FORGOTTEN, call);
        made.unwrap_or(Err(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut)))
    }

    /// Becomes the one that may write under its name. Whatever an earlier one left undecided is decided then. After
    /// a time-out the same call goes on where it was.
    pub(super) fn init(&self) -> Result<(), KafkaError> {
        self.call(INIT, |native| native.init_transactions(INIT))
    }

    /// Serves what librdkafka has to say while nothing is under way.
    pub(super) fn serve(&self) {
        self.native.poll(Duration::ZERO);
    }

    pub(super) fn begin(&mut self) -> Result<(), KafkaError> {
        *lock(&self.native.context().failed) = None;
        self.native.context().arrived.store(0, Ordering::Release);
        self.begun = Instant::now();
        self.call(BEGIN, Native::begin_transaction)
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
            match self.native.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _))
                    if self.age() < DELIVERY =>
                {
                    self.native.poll(GLANCE);
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Adds the progress of one group.
    pub(super) fn add_offsets(
        &self,
        offsets: TopicPartitionList,
        member: Arc<ConsumerGroupMetadata>,
    ) -> Result<(), KafkaError> {
        self.call(OFFSETS, move |native| native.send_offsets_to_transaction(&offsets, &member, OFFSETS))
    }

    /// Waits until every record has arrived or failed, and fails as the first that did.
    pub(super) fn settle(&self) -> Result<(), (String, KafkaError)> {
        while self.native.in_flight_count() > 0 {
            if self.age() > DELIVERY {
                let timed_out = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
                return Err(("any".to_owned(), timed_out));
            }
            self.native.poll(GLANCE);
        }
        let failed = lock(&self.native.context().failed).take();
        failed.map_or(Ok(()), |(topic, error)| Err((topic, self.cause().unwrap_or(error))))
    }

    /// Why the transaction cannot go on. Records on their way are purged for it, and tell no more than that.
    fn cause(&self) -> Option<KafkaError> {
        match self.call(BEGIN, Native::begin_transaction) {
            Err(error) if error.rdkafka_error_code() != Some(RDKafkaErrorCode::State) => Some(error),
            _ => None,
        }
    }

    pub(super) fn commit(&self) -> Result<(), KafkaError> {
        self.call(END, |native| native.commit_transaction(END))
    }

    /// Gives the transaction up. Records must be settled: librdkafka may ask the broker to end a transaction that
    /// has not heard of its partitions yet, and break over the answer.
    pub(super) fn abort(&self) -> Result<(), KafkaError> {
        self.call(END, |native| native.abort_transaction(END))
    }
}
