//! An independent reader of the cluster: reads committed records of every topic from their beginning, with a client
//! of its own, and keeps what the threads have come through. Workers delete what they are past, perhaps before it is
//! read here; then a thread is found further on, at the latest in `scored`, of which nothing is deleted.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use avr::topic::{CRITIQUED, DEAD_LETTERS, DRAFTED, IMPROVED, PROMPTS, SCORED, TopicName};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::{
    kafka::cluster::{answered, partitions},
    support::log_state::{Reached, calls_of},
};

/// The topics in the order in which a thread of stage 1 passes them: standing in the nth means that n + 1 steps are
/// committed.
const WAY: [TopicName; 4] = [DRAFTED.name, CRITIQUED.name, IMPROVED.name, SCORED.name];

/// How long a poll waits for a record.
const POLL: Duration = Duration::from_millis(100);

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was read so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// How often each thread has ended, by its id: in `scored`, or as a dead letter.
    pub(crate) ended: BTreeMap<String, u32>,
    reached: Reached,
    /// How the ids of a thread's calls begin, by where the thread lies: topic, partition and offset.
    places: HashMap<(String, i32, i64), String>,
}

impl Seen {
    /// What is committed.
    pub(crate) fn reached(&self) -> &Reached {
        &self.reached
    }

    /// How the ids of a thread's calls begin that has a record at a place; none where the record was not read.
    pub(crate) fn thread_at(&self, topic: &str, partition: i32, offset: i64) -> Option<String> {
        self.places.get(&(topic.to_owned(), partition, offset)).cloned()
    }

    fn note(&mut self, (topic, partition, offset): (&str, i32, i64), key: &str) {
        if topic != DEAD_LETTERS.0 {
            self.places.insert((topic.to_owned(), partition, offset), calls_of(key));
        }
        if topic == DEAD_LETTERS.0 || topic == SCORED.name.0 {
            *self.ended.entry(key.to_owned()).or_default() += 1;
        }
        let Some(place) = WAY.iter().position(|name| name.0 == topic) else { return };
        self.reached.note(&calls_of(key), place + 1);
    }
}

/// The reader; it ends when it is dropped.
pub(crate) struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Observer {
    pub(crate) fn start(bootstrap: &str, prefix: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", format!("{prefix}observer"))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            // What was deleted before it was read is passed over.
            .set("auto.offset.reset", "earliest")
            .set("reconnect.backoff.max.ms", "500")
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .expect("a consumer");
        consumer.assign(&everything(&consumer, prefix)).expect("assigned");
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (to, until, prefix) = (Arc::clone(&seen), Arc::clone(&stop), prefix.to_owned());
        let reader = std::thread::spawn(move || read(&consumer, &prefix, &to, &until));
        Self { seen, stop, reader: Some(reader) }
    }

    /// What was read by now.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("the reader does not panic")
    }

    /// How many threads have ended by now.
    pub(crate) fn ended(&self) -> usize {
        self.seen().ended.len()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // Its panic was seen where the test waited for it.
            drop(reader.join());
        }
    }
}

/// Offsets of prompts that were deleted so far.
pub(crate) fn deleted(bootstrap: &str, prefix: &str) -> i64 {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a consumer");
    let name = format!("{prefix}{}", PROMPTS.name);
    let first = |partition| {
        let look = || consumer.fetch_watermarks(&name, partition, PATIENCE).ok();
        answered(&format!("where partition {partition} of {name} begins"), look).0
    };
    partitions(&consumer, &name).into_keys().map(first).sum()
}

/// Every partition of the topics that are read, from its first record.
fn everything(consumer: &BaseConsumer, prefix: &str) -> TopicPartitionList {
    let mut all = TopicPartitionList::new();
    for topic in WAY.into_iter().chain([PROMPTS.name, DEAD_LETTERS]) {
        let name = format!("{prefix}{topic}");
        for partition in partitions(consumer, &name).into_keys() {
            all.add_partition_offset(&name, partition, Offset::Beginning).expect("an offset");
        }
    }
    all
}

fn read(consumer: &BaseConsumer, prefix: &str, seen: &Mutex<Seen>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // Errors are of brokers that are down; the client goes on by itself.
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let topic = message.topic().strip_prefix(prefix).expect("a topic that was asked for");
        let key = message.key().and_then(|key| std::str::from_utf8(key).ok()).expect("a thread's id");
        let place = (topic, message.partition(), message.offset());
        seen.lock().expect("nobody panics with it").note(place, key);
    }
}
