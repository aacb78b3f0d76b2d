//! A member of a group that keeps what it is told.

use std::{collections::BTreeMap, sync::Arc};

use avr::{
    log::{Budget, Consumer, Event, GroupName, GroupProgress, Log, Partition, Progress, Record},
    topic::TopicName,
};

use super::{PATIENCE, text};

/// A member of a group that keeps what it is told, and gives up what it is asked for only when the test does.
pub(super) struct Reader<C> {
    pub(super) consumer: C,
    group: GroupName,
    /// What it holds, with the progress that it was told.
    pub(super) held: BTreeMap<Partition, Progress>,
    /// What it was asked to give up and has not.
    pub(super) revoked: Vec<Partition>,
    /// Everything it read, in order.
    pub(super) records: Vec<Record>,
}

impl<C: Consumer> Reader<C> {
    pub(super) async fn join<L: Log<Consumer = C>>(log: &L, group: GroupName, topics: &[TopicName]) -> Self {
        Self::join_within(log, group, topics, Budget::unlimited().into()).await
    }

    /// With a budget for what it is given.
    pub(super) async fn join_within<L: Log<Consumer = C>>(
        log: &L,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Self {
        let consumer = log.consumer_within(group, topics, budget).await.expect("a group can be joined");
        Self { consumer, group, held: BTreeMap::new(), revoked: Vec::new(), records: Vec::new() }
    }

    /// Progress to be committed, made with what it knows now.
    pub(super) fn progress(&self, partitions: Vec<(Partition, Progress)>) -> Vec<GroupProgress> {
        vec![GroupProgress { group: self.group, generation: self.consumer.generation(), partitions }]
    }

    /// Takes in one event.
    pub(super) fn take(&mut self, event: Event) {
        match event {
            Event::Assigned(assigned) => self.held.extend(assigned),
            Event::Records(records) => self.records.extend(records),
            Event::Revoked(partitions) => self.revoked.extend(partitions),
            Event::Lost(partitions) => self.held.retain(|partition, _| !partitions.contains(partition)),
        }
    }

    /// Reads on until `done`, or fails and says what it waited for.
    pub(super) async fn until(&mut self, awaited: &str, done: impl Fn(&Self) -> bool) {
        let reading = async {
            while !done(self) {
                let event = self.consumer.next().await.expect("the log goes on");
                self.take(event);
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reading).await;
        assert!(in_time.is_ok(), "waited in vain for {awaited}");
    }

    /// Reads on until it holds so many partitions.
    pub(super) async fn until_held(&mut self, count: usize) {
        self.until(&format!("{count} partitions"), |reader| reader.held.len() == count).await;
    }

    /// Reads on until it has so many records.
    pub(super) async fn until_read(&mut self, count: usize) {
        self.until(&format!("{count} records"), |reader| reader.records.len() >= count).await;
    }

    /// Gives up what it was asked for.
    pub(super) async fn release(&mut self) -> Vec<Partition> {
        let released = std::mem::take(&mut self.revoked);
        self.held.retain(|partition, _| !released.contains(partition));
        self.consumer.release(&released).await.expect("revoked partitions can be released");
        released
    }

    /// The values read, in order.
    pub(super) fn texts(&self) -> Vec<String> {
        self.records.iter().map(text).collect()
    }
}
