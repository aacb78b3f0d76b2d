//! The producer of a process: one transaction after the other.
//!
//! Every function here blocks, for seconds where the cluster does not answer, and runs on the committer's thread.

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

use super::{KafkaOptions, calls::Calls, client::TRANSACTION_TIMEOUT_MS, record, reporter::Reporter};
use crate::log::{Output, lock};

/// How long a piece of waiting is where nothing tells of the end.
const GLANCE: Duration = Duration::from_micros(100);
/// How long a record waits for a place before it is tried again.
const NO_PLACE: Duration = Duration::from_millis(5);
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
#[derive(Debug, Default)]
struct Fate {
    /// Records that have neither arrived nor failed.
    open: usize,
    /// The first that failed: its topic, and why.
    failed: Option<(String, KafkaError)>,
}

/// Hears what becomes of records, on librdkafka's thread.
#[derive(Debug)]
struct Deliveries {
    reporter: Reporter,
    fate: Mutex<Fate>,
    /// Rung when no record is open any more.
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
        let mut fate = lock(&self.fate);
        if let Err((error, message)) = result {
            fate.failed.get_or_insert_with(|| (message.topic().to_owned(), error.clone()));
        }
        fate.open = fate.open.saturating_sub(1);
        if fate.open == 0 {
            self.settled.notify_all();
        }
    }
}

/// With a thread that listens: asking for deliveries with a time limit would burn a core until the limit, because
/// what is left of it below a millisecond is no time at all to librdkafka.
type Native = ThreadedProducer<Deliveries>;

/// A transactional producer.
pub(super) struct Producer {
    // Before its calls: who is last to let go of it waits until it is taken down, and that is the thread of the calls.
    native: Arc<Native>,
    calls: Calls<Native>,
    begun: Instant,
}

impl Producer {
    /// A producer of the name `id`, which is not yet one that may write. `lost_calls` counts those of its calls that
    /// never return.
    pub(super) fn new(
        options: &KafkaOptions,
        id: &str,
        lost_calls: watch::Sender<u64>,
    ) -> Result<Self, KafkaError> {
        let reporter = Reporter::new("committer");
        let context = Deliveries { reporter, fate: Mutex::default(), settled: Condvar::new() };
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

    pub(super) fn begin(&mut self) -> Result<(), KafkaError> {
        *lock(&self.deliveries().fate) = Fate::default();
        self.begun = Instant::now();
        self.call(BEGIN, Native::begin_transaction)
    }

    fn deliveries(&self) -> &Deliveries {
        self.native.client().context()
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
            lock(&self.deliveries().fate).open += 1;
            let Err((error, _)) = self.native.send(record) else { return Ok(()) };
            lock(&self.deliveries().fate).open -= 1;
            match error {
                KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) if self.age() < DELIVERY => {
                    thread::sleep(NO_PLACE);
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
        self.call(OFFSETS, move |native| native.send_offsets_to_transaction(&offsets, &member, OFFSETS))
    }

    /// Waits until every record has arrived or failed, and fails as the first that did.
    pub(super) fn settle(&self) -> Result<(), (String, KafkaError)> {
        let Deliveries { fate, settled, .. } = self.deliveries();
        let left = DELIVERY.saturating_sub(self.age());
        let timed_out = || {
            let error = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
            Err(("any".to_owned(), error))
        };
        let waited = settled.wait_timeout_while(lock(fate), left, |fate| fate.open > 0);
        let (mut fate, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return timed_out();
        }
        let failed = fate.failed.take();
        drop(fate);
        // The listener lets go of what it has told a moment later.
        while self.native.in_flight_count() > 0 {
            if self.age() > DELIVERY {
                return timed_out();
            }
            thread::sleep(GLANCE);
        }
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
