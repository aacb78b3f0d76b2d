//! A log in memory that behaves as Kafka does, and as badly as a seed wants it to.
//!
//! ```text
//!   MemoryLog ── process(name) ─▶ MemoryProcess ─▶ Consumer · Committer        the lock is held for a moment only,
//!       │                          kill · kill_after · silence                 never over an await
//!       └── records · progress · ends · set_faults · compact
//! ```
//!
//! ## What is modelled
//!
//! - Transactions: all outputs and all progress of a commit, or nothing; markers and aborted records take offsets.
//! - A commit in doubt may be decided at once or only later: by [`Committer::recover`], by a namesake, or by a
//!   time-out. Until then nobody is assigned the partitions whose progress it carries.
//! - Cooperative rebalances: revoked, released or lost, then assigned to another; members that were silent.
//! - Processes that die between any two steps: before an operation, or after it and before its answer.
//!
//! [`Committer::recover`]: avr::log::Committer::recover

mod committer;
mod consumer;
mod group;
mod options;
mod state;
#[cfg(test)]
mod tests;
mod topics;

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use avr::{
    log::{Budget, GroupName, Log, LogError, Partition, Progress, Record},
    topic::TopicName,
};
use tokio::{sync::Notify, time::Instant};

pub(crate) use options::{Faults, Options};

use self::{
    committer::MemoryCommitter,
    consumer::MemoryConsumer,
    state::{ProcessId, State},
};

/// A log in memory: the brokers' side. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

impl Shared {
    /// Does something to the state, and wakes who waits if that concerns others.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        if std::mem::take(&mut state.changed) {
            self.changed.notify_waiters();
        }
        result
    }
}

impl MemoryLog {
    /// A log with these topics, each with its number of partitions.
    pub(crate) fn new(topics: &[(TopicName, i32)], options: Options) -> Self {
        let state = Mutex::new(State::new(topics, options));
        Self { shared: Arc::new(Shared { state, changed: Notify::new() }) }
    }

    /// A new process with a handle of its own; one of the same name is another process.
    pub(crate) fn process(&self, name: &str) -> MemoryProcess {
        let id = self.shared.with(|state| state.start_process(name));
        MemoryProcess { shared: Arc::clone(&self.shared), id }
    }

    /// Kills every process, as when the machine goes down.
    pub(crate) fn kill_all(&self) {
        self.shared.with(State::kill_all);
    }

    /// From now on this goes wrong.
    pub(crate) fn set_faults(&self, faults: Faults) {
        self.shared.with(|state| state.options.faults = faults);
    }

    /// From now on it gives nobody a committer, or does again and to those who wait, too.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.shared.with(|state| {
            state.is_away = is_away;
            state.changed = true;
        });
    }

    /// From now on it takes no larger record.
    pub(crate) fn set_max_record_bytes(&self, max: usize) {
        self.shared.with(|state| state.options.max_record_bytes = max);
    }

    /// A topic's records, by partition and offset.
    pub(crate) fn records(&self, topic: TopicName) -> Vec<Record> {
        self.shared.with(|state| state.topics.records(topic))
    }

    /// The committed progress of a group in a partition.
    pub(crate) fn progress(&self, group: GroupName, partition: Partition) -> Option<Progress> {
        self.shared.with(|state| state.progress_of(group, partition))
    }

    /// Bytes of records that members of a group were given, over all time.
    pub(crate) fn handed_out(&self, group: GroupName) -> usize {
        self.shared.with(|state| state.handed_out.get(&group).copied().unwrap_or(0))
    }

    /// The ends of a topic's partitions.
    pub(crate) fn ends(&self, topic: TopicName) -> Vec<(Partition, i64)> {
        self.shared.with(|state| state.topics.ends(topic))
    }

    /// Keeps of each key only the latest record.
    pub(crate) fn compact(&self, topic: TopicName) {
        self.shared.with(|state| state.topics.compact(topic));
    }
}

/// The log as one process sees it. Cloning stays within the process.
#[derive(Clone, Debug)]
pub(crate) struct MemoryProcess {
    shared: Arc<Shared>,
    id: ProcessId,
}

impl MemoryProcess {
    /// Ends the process: every later operation fails, its members leave. What is committed stays.
    pub(crate) fn kill(&self) {
        self.shared.with(|state| state.kill(self.id));
    }

    /// Ends the process after so many steps; an operation has a step before it and one after it.
    pub(crate) fn kill_after(&self, steps: u64) {
        self.shared.with(|state| state.plan_death(self.id, steps));
    }

    /// Waits until the process is dead.
    pub(crate) async fn killed(&self) {
        let dead = || self.shared.with(|state| !state.lives(self.id)).then_some(());
        self.shared.wait_for(dead).await;
    }

    /// The process' members of a group are taken for dead: they lose everything, and take part again once they
    /// are heard of.
    pub(crate) fn silence(&self, group: GroupName) {
        self.shared.with(|state| {
            state.change(group, |group| {
                group.members_of(self.id).into_iter().for_each(|member| group.silence(member));
            });
        });
    }

    /// Now and then its members of a group were silent for too long.
    fn draw_silence(&self, group: GroupName) {
        let silent = self.shared.with(|state| {
            let lost = state.options.faults.lost;
            state.chance(lost)
        });
        if silent {
            self.silence(group);
        }
    }

    /// Lets others run and time pass, as the faults have it, then takes a step.
    async fn step(&self) -> Result<(), LogError> {
        let (yields, sleep) = self.shared.with(State::draw_pauses);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        if !sleep.is_zero() {
            tokio::time::sleep(sleep).await;
        }
        self.shared.with(|state| state.step(self.id))
    }
}

impl Shared {
    /// Waits until `look` finds something, looking whenever the state changes or time brings something about.
    async fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look() {
                return found;
            }
            let deadline = self.with(|state| {
                state.pass(Instant::now());
                state.deadline()
            });
            match deadline {
                // Either way it is time to look again.
                Some(deadline) => drop(tokio::time::timeout_at(deadline, changed).await),
                None => changed.await,
            }
        }
    }
}

impl Log for MemoryProcess {
    type Consumer = MemoryConsumer;
    type Committer = MemoryCommitter;

    async fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<MemoryConsumer, LogError> {
        self.step().await?;
        let member = self.shared.with(|state| state.join(self.id, group, topics))?;
        let shared = Arc::downgrade(&self.shared);
        budget.on_room(move || _ = shared.upgrade().map(|shared| shared.changed.notify_waiters()));
        Ok(MemoryConsumer::new(self.clone(), group, member, budget))
    }

    async fn committer(&self, name: &str) -> Result<MemoryCommitter, LogError> {
        self.step().await?;
        self.shared.wait_for(|| self.shared.with(|state| (!state.is_away).then_some(()))).await;
        let identity = self.shared.with(|state| state.identify(self.id, name));
        Ok(MemoryCommitter::new(self.clone(), identity))
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        self.step().await?;
        let records = self.shared.with(|state| state.topics.records(topic));
        records.into_iter().for_each(visit);
        Ok(())
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        self.step().await?;
        for (partition, from) in starts {
            let records = self.shared.with(|state| state.topics.records(partition.topic));
            let mut wanted =
                records.into_iter().filter(|record| record.partition == partition && record.offset >= from);
            wanted.all(|record| visit(record).is_continue());
        }
        Ok(())
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        self.step().await?;
        let of = |partition: &Partition| self.shared.with(|state| state.progress_of(group, *partition));
        Ok(partitions.iter().map(of).collect())
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        self.step().await?;
        Ok(self.shared.with(|state| state.topics.ends(topic)))
    }

    fn max_record_bytes(&self) -> usize {
        self.shared.with(|state| state.options.max_record_bytes)
    }
}
