//! The engine's side of a member: it hears events and gives orders, and waits for neither.

use std::sync::Arc;

use rdkafka::consumer::Consumer as _;
use tokio::sync::oneshot;

use super::{
    KafkaOptions, failure,
    member::{Inbox, Mailbox, Member, MemberContext, Members, Native, Topics},
    poller::Poller,
    reporter::Reporter,
};
use crate::{
    log::{Budget, Consumer, Event, Generation, GroupName, LogError, Partition},
    topic::TopicName,
};

/// A consumer of a Kafka cluster. Dropping it leaves the group.
#[derive(Debug)]
pub struct KafkaConsumer {
    group: GroupName,
    mailbox: Arc<Mailbox>,
    inbox: Arc<Inbox>,
    generation: Generation,
    left: bool,
}

impl KafkaConsumer {
    /// Joins `group`. Does not wait for the cluster; may read files that the options name.
    pub(super) fn join(
        options: &Arc<KafkaOptions>,
        members: &Arc<Members>,
        group: GroupName,
        names: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<Self, LogError> {
        let context = || format!("joining group {group}");
        let failed = |error| failure::log_error(context(), &error);
        let client = MemberContext::new(Reporter::new(format!("consumer {group}")));
        let mut native: Native =
            options.member_config(group.0).create_with_context(client).map_err(failed)?;
        let inbox = Arc::new(Inbox::default());
        let waker = Arc::clone(&inbox);
        native.set_nonempty_callback(move || waker.wake());
        let topics = Topics::new(&options.prefix, names);
        native.subscribe(&topics.in_cluster()).map_err(failed)?;
        // The thread alone keeps the member, and ends it: librdkafka's clients take their time over that.
        let mailbox = Arc::new(Mailbox::default());
        let member = Member::new(group, native, topics, Arc::clone(&mailbox), Arc::clone(&inbox));
        let waker = Arc::clone(&inbox);
        budget.on_room(move || waker.wake());
        Poller::start(member, Arc::clone(members), Arc::clone(options), budget)
            .map_err(|error| LogError::new(context(), error))?;
        Ok(Self { group, mailbox, inbox, generation: Generation::default(), left: false })
    }

    fn pause_or_resume(&self, partitions: &[Partition], paused: bool) {
        self.inbox
            .order(|orders| orders.pauses.extend(partitions.iter().map(|&partition| (partition, paused))));
    }
}

impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Event, LogError> {
        loop {
            if let Some((generation, event, was_full)) = self.mailbox.take() {
                if was_full {
                    self.inbox.wake();
                }
                self.generation = generation;
                return event;
            }
            self.mailbox.wait().await;
        }
    }

    fn generation(&self) -> Generation {
        self.generation
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.pause_or_resume(partitions, true);
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.pause_or_resume(partitions, false);
        Ok(())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.inbox.order(|orders| orders.released.extend_from_slice(partitions));
        Ok(())
    }

    async fn leave(mut self) -> Result<(), LogError> {
        self.left = true;
        let (reply, left) = oneshot::channel();
        self.inbox.order(|orders| orders.leave = Some(Some(reply)));
        left.await.map_err(|_| {
            failure::ours(format!("leaving group {}", self.group), "the thread of the consumer is gone")
        })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if !self.left {
            self.inbox.order(|orders| orders.leave = Some(None));
        }
    }
}
