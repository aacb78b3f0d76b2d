//! What the handles, the consumers, the committers and the writer of one open log share.
//!
//! One lock guards the memory of it all. It is held for lookups only: never while the disk is read or written,
//! and never across an await.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    EmbeddedLogError, Options,
    folder::Folder,
    group::{Group, MemberId, ProcessId},
    partition::PartitionLog,
    store::{Partitions, Store},
};
use crate::{
    log::{Generation, GroupName, LogErrorKind, Partition, lock},
    topic::TopicName,
};

/// One open log.
pub(super) struct Shared {
    /// The database; closed before the folder is freed.
    pub(super) store: Store,
    /// How the log was opened.
    pub(super) options: Options,
    topics: BTreeMap<TopicName, Vec<Partition>>,
    state: Mutex<LogState>,
    ids: AtomicU64,
    unsynced: AtomicBool,
    _folder: Folder,
}

impl Shared {
    /// A log that was just loaded.
    pub(super) fn new(folder: Folder, store: Store, partitions: Partitions, options: Options) -> Self {
        let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for partition in partitions.keys() {
            topics.entry(partition.topic).or_default().push(*partition);
        }
        let partitions = partitions.into_iter().collect();
        let state =
            Mutex::new(LogState { partitions, tail_limit: options.tail_bytes, ..LogState::default() });
        let (ids, unsynced) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { store, options, topics, state, ids, unsynced, _folder: folder }
    }

    /// The memory. A panic elsewhere leaves it whole, because no change to it stops halfway.
    pub(super) fn state(&self) -> MutexGuard<'_, LogState> {
        lock(&self.state)
    }

    /// The partitions of a topic.
    pub(super) fn partitions(&self, topic: TopicName) -> Result<&[Partition], EmbeddedLogError> {
        self.topics.get(&topic).map(Vec::as_slice).ok_or(EmbeddedLogError::UnknownTopic(topic))
    }

    /// A number that nothing else of this log has.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that something was written that a loss of power could undo.
    pub(super) fn note_unsynced(&self) {
        self.unsynced.store(true, Ordering::Release);
    }

    /// Puts on disk what is not there yet.
    pub(super) fn sync(&self) -> Result<(), LogErrorKind> {
        if self.unsynced.swap(false, Ordering::AcqRel) { self.store.sync() } else { Ok(()) }
    }
}

/// A member's subscription, for waking it.
struct Listener {
    group: GroupName,
    topics: BTreeSet<TopicName>,
    wake: Arc<Notify>,
}

/// What changes.
#[derive(Default)]
pub(super) struct LogState {
    /// Every partition of the topics that the log was opened with.
    pub(super) partitions: HashMap<Partition, PartitionLog>,
    /// Progress on its way to the database: its partitions are handed to nobody until it is there.
    pub(super) committing: HashSet<(GroupName, Partition)>,
    /// The latest committer of each name.
    pub(super) committers: HashMap<String, u64>,
    groups: HashMap<GroupName, Group>,
    listeners: BTreeMap<MemberId, Listener>,
    tail_bytes: usize,
    tail_limit: usize,
    broken: Option<String>,
}

impl LogState {
    /// Takes a member into a group. It is woken through `wake`.
    pub(super) fn join(
        &mut self,
        (group, member, process): (GroupName, MemberId, ProcessId),
        partitions: &[Partition],
        wake: Arc<Notify>,
    ) {
        let topics = partitions.iter().map(|partition| partition.topic).collect();
        self.listeners.insert(member, Listener { group, topics, wake });
        self.groups.entry(group).or_default().join(member, process, partitions);
        self.wake_group(group);
    }

    /// Takes a member out of its group.
    pub(super) fn leave(&mut self, group: GroupName, member: MemberId) {
        self.listeners.remove(&member);
        if let Some(members) = self.groups.get_mut(&group) {
            members.leave(member);
        }
        self.wake_group(group);
    }

    /// Frees partitions of a member.
    pub(super) fn release(&mut self, group: GroupName, member: MemberId, partitions: &[Partition]) {
        if let Some(members) = self.groups.get_mut(&group) {
            members.release(member, partitions);
        }
        self.wake_group(group);
    }

    /// What is announced to a member about its partitions.
    pub(super) fn announce(
        &mut self,
        group: GroupName,
        member: MemberId,
    ) -> Option<super::group::AssignmentChange> {
        let committing = &self.committing;
        self.groups.get_mut(&group)?.announce(member, |partition| !committing.contains(&(group, partition)))
    }

    /// Whether `process` may commit progress of this partition.
    pub(super) fn may_commit(
        &self,
        group: GroupName,
        process: ProcessId,
        partition: Partition,
        generation: Generation,
    ) -> bool {
        self.groups.get(&group).is_some_and(|members| members.may_commit(process, partition, generation))
    }

    /// What a member knows of its group.
    pub(super) fn generation(&self, group: GroupName, member: MemberId) -> Generation {
        self.groups.get(&group).map_or(Generation(0), |members| members.generation(member))
    }

    /// Makes a record visible; the oldest of the longest tail go where all tails together grow too large.
    pub(super) fn append(&mut self, partition: Partition, offset: i64, encoded: Bytes) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        self.tail_bytes += encoded.len();
        state.append(offset, encoded);
        while self.tail_bytes > self.tail_limit {
            self.evict();
        }
    }

    /// Forgets what lies before `first`.
    pub(super) fn cut(&mut self, partition: Partition, first: i64) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            let before = state.tail_bytes();
            state.cut(first);
            self.tail_bytes -= before - state.tail_bytes();
        }
    }

    /// Wakes the readers of these topics.
    pub(super) fn wake_readers(&self, topics: &BTreeSet<TopicName>) {
        for listener in self.listeners.values().filter(|listener| !listener.topics.is_disjoint(topics)) {
            listener.wake.notify_one();
        }
    }

    /// Ends the waiting for progress on its way.
    pub(super) fn end_committing(&mut self) {
        let groups: BTreeSet<_> = self.committing.drain().map(|(group, _)| group).collect();
        groups.into_iter().for_each(|group| self.wake_group(group));
    }

    /// Ends everything: nobody can say any more what is in the database.
    pub(super) fn break_down(&mut self, why: &LogErrorKind) {
        self.broken.get_or_insert_with(|| why.to_string());
        self.listeners.values().for_each(|listener| listener.wake.notify_one());
    }

    /// An error if the log is broken.
    pub(super) fn check(&self) -> Result<(), LogErrorKind> {
        self.broken.as_ref().map_or(Ok(()), |why| Err(EmbeddedLogError::Broken(why.clone()).into()))
    }

    fn evict(&mut self) {
        let Some(largest) = self.partitions.values_mut().max_by_key(|state| state.tail_bytes()) else {
            return;
        };
        let before = largest.tail_bytes();
        largest.evict();
        self.tail_bytes -= before - largest.tail_bytes();
    }

    fn wake_group(&self, group: GroupName) {
        let Some(members) = self.groups.get(&group) else { return };
        for member in members.unannounced() {
            if let Some(listener) = self.listeners.get(&member).filter(|listener| listener.group == group) {
                listener.wake.notify_one();
            }
        }
    }
}
