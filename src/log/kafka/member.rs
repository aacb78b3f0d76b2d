//! One member of a group, as the thread that polls it, its consumer and the committer share it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use tokio::sync::{Notify, oneshot, watch};

use super::{holdings::Holdings, reporter::Reporter};
use crate::log::{Event, Generation, GroupName, LogError, Partition, Progress, lock};

/// Bytes of records that may wait for the consumer's owner.
const MAILBOX_BYTES: usize = 1 << 20;

/// A partition as the cluster names it.
pub(super) type Place = (String, i32);

/// What librdkafka said of the group, and waits for an answer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// These partitions are to be this member's.
    Assign(Vec<Place>),
    /// These partitions are to be given up.
    Revoke(Vec<Place>),
    /// These partitions are another's already.
    Lose(Vec<Place>),
}

/// What librdkafka calls back.
#[derive(Debug)]
pub(super) struct MemberContext {
    pub(super) reporter: Reporter,
    notes: Mutex<VecDeque<Note>>,
    closing: AtomicBool,
}

impl MemberContext {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self { reporter, notes: Mutex::default(), closing: AtomicBool::new(false) }
    }

    /// The next note, oldest first.
    pub(super) fn note(&self) -> Option<Note> {
        lock(&self.notes).pop_front()
    }

    /// From now on partitions are given up as soon as librdkafka says so: nobody listens any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ConsumerContext for MemberContext {
    /// Only notes what happened. The answer, `incremental_assign` or `incremental_unassign`, is given when the
    /// engine has seen to it; librdkafka waits for it and says nothing more of the group until then.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_closing() {
            let answer =
                if assigns { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answer {
                self.reporter.warn("close", &error.to_string());
            }
            return;
        }
        let places = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let note = match assigns {
            true => Note::Assign(places),
            false if consumer.assignment_lost() => Note::Lose(places),
            false => Note::Revoke(places),
        };
        lock(&self.notes).push_back(note);
    }
}

/// The consumer of librdkafka's behind a member.
pub(super) type Native = BaseConsumer<MemberContext>;

/// One member of a group.
pub(super) struct Member {
    pub(super) group: GroupName,
    pub(super) native: Native,
    pub(super) topics: Topics,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) inbox: Arc<Inbox>,
    holdings: Mutex<Holdings>,
}

impl Member {
    pub(super) fn new(
        group: GroupName,
        native: Native,
        topics: Topics,
        mailbox: Arc<Mailbox>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self { group, native, topics, mailbox, inbox, holdings: Mutex::default() }
    }

    /// Whether it leaves its group, and answers no more.
    pub(super) fn is_leaving(&self) -> bool {
        self.native.context().is_closing()
    }

    pub(super) fn holdings(&self) -> MutexGuard<'_, Holdings> {
        lock(&self.holdings)
    }
}

/// The names of topics, ours and the cluster's.
#[derive(Clone, Debug)]
pub(super) struct Topics(Vec<(String, crate::topic::TopicName)>);

impl Topics {
    pub(super) fn new(prefix: &str, names: &[crate::topic::TopicName]) -> Self {
        Self(names.iter().map(|name| (format!("{prefix}{name}"), *name)).collect())
    }

    /// The names in the cluster.
    pub(super) fn in_cluster(&self) -> Vec<&str> {
        self.0.iter().map(|(full, _)| full.as_str()).collect()
    }

    /// The partition that the cluster names so, if it is of one of these topics.
    pub(super) fn partition(&self, topic: &str, index: i32) -> Option<Partition> {
        let (_, topic) = self.0.iter().find(|(full, _)| full == topic)?;
        Some(Partition { topic: *topic, index })
    }

    /// The partitions that the cluster names so.
    pub(super) fn partitions(&self, places: &[Place]) -> Vec<Partition> {
        places.iter().filter_map(|(topic, index)| self.partition(topic, *index)).collect()
    }
}

/// Events on their way to a consumer's owner.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<(Generation, Result<Event, LogError>)>,
    bytes: usize,
}

impl Mailbox {
    /// Whether records have to wait.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.letters).bytes >= MAILBOX_BYTES
    }

    pub(super) fn put(&self, generation: Generation, event: Result<Event, LogError>) {
        let mut letters = lock(&self.letters);
        letters.bytes += size(&event);
        letters.waiting.push_back((generation, event));
        drop(letters);
        self.arrived.notify_one();
    }

    /// Takes the oldest, and says whether there was no room before.
    pub(super) fn take(&self) -> Option<(Generation, Result<Event, LogError>, bool)> {
        let mut letters = lock(&self.letters);
        let (generation, event) = letters.waiting.pop_front()?;
        let was_full = letters.bytes >= MAILBOX_BYTES;
        letters.bytes -= size(&event);
        Some((generation, event, was_full))
    }

    /// Waits until something may be there.
    pub(super) async fn wait(&self) {
        self.arrived.notified().await;
    }
}

/// What an event weighs; a batch without content weighs something, too.
fn size(event: &Result<Event, LogError>) -> usize {
    match event {
        Ok(Event::Records(records)) => records.iter().map(|record| record.size() + 1).sum(),
        _ => 0,
    }
}

/// What the thread that polls is told.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    orders: Mutex<Orders>,
    woken: Condvar,
}

/// What has come since the last look.
#[derive(Debug, Default)]
pub(super) struct Orders {
    woken: bool,
    /// Partitions to be paused, or not: the last word of each.
    pub(super) pauses: BTreeMap<Partition, bool>,
    pub(super) released: Vec<Partition>,
    pub(super) fetched: Option<Fetched>,
    pub(super) leave: Option<Option<oneshot::Sender<()>>>,
}

/// The committed progress of partitions that are to be assigned.
pub(super) type Fetched = Result<Vec<(Partition, Option<Progress>)>, LogError>;

impl Inbox {
    /// Changes the orders and wakes the thread.
    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        change(&mut orders);
        orders.woken = true;
        self.woken.notify_one();
    }

    /// Wakes the thread.
    pub(super) fn wake(&self) {
        self.order(|_| {});
    }

    /// Takes the orders that are there.
    pub(super) fn take(&self) -> Orders {
        std::mem::take(&mut *lock(&self.orders))
    }

    /// Waits until the thread is woken, or for so long.
    pub(super) fn wait(&self, at_most: Duration) {
        let orders = lock(&self.orders);
        if !orders.woken {
            drop(self.woken.wait_timeout(orders, at_most).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// The members of one process, for its committers, and what these lost.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Mutex<Vec<(GroupName, Weak<Member>)>>,
    /// Counts what becomes known about groups, see [`Generation`].
    count: AtomicU64,
    lost_calls: watch::Sender<u64>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Members {
    pub(super) fn add(&self, member: &Arc<Member>) {
        let mut all = lock(&self.all);
        all.retain(|(_, member)| member.strong_count() > 0);
        all.push((member.group, Arc::downgrade(member)));
    }

    /// The members of a group that do not leave it, the latest first.
    pub(super) fn of(&self, group: GroupName) -> Vec<Arc<Member>> {
        let all = lock(&self.all);
        let of_group = all.iter().rev().filter(|(of, _)| *of == group);
        of_group.filter_map(|(_, member)| member.upgrade()).filter(|member| !member.is_leaving()).collect()
    }

    /// Counts the calls of the process' committers that never return.
    pub(super) fn lost_calls(&self) -> watch::Sender<u64> {
        self.lost_calls.clone()
    }

    /// A number above all before.
    pub(super) fn next(&self) -> Generation {
        Generation(self.count.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The latest number.
    pub(super) fn latest(&self) -> Generation {
        Generation(self.count.load(Ordering::Acquire))
    }
}
