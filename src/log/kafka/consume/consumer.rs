//! The engine's side of a member: it hears events and sends commands, and waits for neither.

use std::sync::Arc;

use rdkafka::consumer::Consumer as _;
use tokio::sync::oneshot;

use super::{
    callbacks::{GroupCallbacks, GroupClient},
    member::{GroupMember, TopicNames},
    poller::Poller,
    queues::{CommandQueue, EventQueue},
    registry::GroupRegistry,
};
use crate::{
    log::{
        Budget, Consumer, Event, Generation, GroupName, LogError, Partition,
        kafka::{KafkaOptions, error, reporter::Reporter},
    },
    topic::TopicName,
};

/// A consumer of a Kafka cluster. Dropping it leaves the group.
#[derive(Debug)]
pub struct KafkaConsumer {
    group: GroupName,
    events: Arc<EventQueue>,
    commands: Arc<CommandQueue>,
    generation: Generation,
    has_left: bool,
}

impl KafkaConsumer {
    /// Joins `group`. Does not wait for the cluster; may read files that the options name.
    pub(crate) fn join(
        options: &Arc<KafkaOptions>,
        registry: &Arc<GroupRegistry>,
        group: GroupName,
        names: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<Self, LogError> {
        let context = || format!("joining group {group}");
        let failed = |error| error::log_error(context(), &error);
        let callbacks = GroupCallbacks::new(Reporter::new(format!("consumer {group}")));
        let mut client: GroupClient =
            options.member_config(group.0).create_with_context(callbacks).map_err(failed)?;
        let (events, commands) = (Arc::new(EventQueue::default()), Arc::new(CommandQueue::default()));
        let wakes = Arc::clone(&commands);
        client.set_nonempty_callback(move || wakes.wake());
        let topics = TopicNames::new(&options.prefix, names);
        client.subscribe(&topics.in_cluster()).map_err(failed)?;
        // The poller alone keeps the member and drops it: the end of a librdkafka client takes its time.
        let member = GroupMember::new(group, client, topics, Arc::clone(&events), Arc::clone(&commands));
        let wakes = Arc::clone(&commands);
        budget.on_room(move || wakes.wake());
        Poller::start(member, Arc::clone(registry), Arc::clone(options), budget)
            .map_err(|error| LogError::new(context(), error))?;
        Ok(Self { group, events, commands, generation: Generation::default(), has_left: false })
    }

    fn pause_or_resume(&self, partitions: &[Partition], paused: bool) {
        self.commands
            .send(|commands| commands.pauses.extend(partitions.iter().map(|&partition| (partition, paused))));
    }
}

impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Event, LogError> {
        loop {
            if let Some((generation, event, was_full)) = self.events.pop() {
                if was_full {
                    self.commands.wake();
                }
                self.generation = generation;
                return event;
            }
            self.events.wait().await;
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
        self.commands.send(|commands| commands.released.extend_from_slice(partitions));
        Ok(())
    }

    async fn leave(mut self) -> Result<(), LogError> {
        self.has_left = true;
        let (reply, left) = oneshot::channel();
        self.commands.send(|commands| commands.leave = Some(Some(reply)));
        left.await.map_err(|_| {
            error::ours(format!("leaving group {}", self.group), "the OS thread of the consumer is gone")
        })
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if !self.has_left {
            self.commands.send(|commands| commands.leave = Some(None));
        }
    }
}
