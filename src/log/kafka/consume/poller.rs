//! The OS thread of one member: it polls librdkafka at all times, and answers its rebalances.
//!
//! ```text
//!   librdkafka ─▶ Rebalance ─▶ Assign  read the progress (an OS thread of its own) ─▶ incremental_assign ─▶ Event::Assigned
//!                              Revoke  Event::Revoked ─▶ release of each ─▶ incremental_unassign
//!                              Lose    incremental_unassign ─▶ Event::Lost
//!   librdkafka ─▶ messages ─▶ PrefetchBuffer ─▶ Event::Records, while the event queue and the budget have room
//! ```
//!
//! Nothing here waits for the engine or for the cluster: a member that is not polled is taken for dead.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::Consumer as _,
    error::{KafkaError, KafkaResult},
    types::RDKafkaErrorCode,
};

use super::{
    callbacks::Rebalance,
    member::GroupMember,
    prefetch::PrefetchBuffer,
    queues::{Commands, FetchedProgress},
    registry::GroupRegistry,
    start_offsets,
};
use crate::{
    log::{
        Budget, Event, LogError, Partition,
        kafka::{
            KafkaOptions,
            error::{self, ErrorClass},
            read::committed,
            record,
        },
    },
    topic::TopicName,
};

/// How long librdkafka is waited for when it is looked whether it has more.
const GLANCE: Duration = Duration::from_millis(1);
/// How long a member may take to hear that its session has ended.
const MAY_HAVE_LOST: Duration = Duration::from_secs(30);
/// The poller polls at least this often.
const IDLE: Duration = Duration::from_millis(500);
/// Messages that are taken before commands are looked at again.
const ROUND: usize = 1024;

/// The state of the OS thread.
pub(super) struct Poller {
    member: Arc<GroupMember>,
    registry: Arc<GroupRegistry>,
    options: Arc<KafkaOptions>,
    buffer: PrefetchBuffer,
    budget: Arc<Budget>,
    /// Whether librdkafka waits for partitions to be assigned, whose progress is being read.
    fetching: bool,
    /// Partitions that librdkafka wants back.
    revoked: Vec<Partition>,
    /// The revoked partitions that the engine has not released yet.
    unreleased: BTreeSet<Partition>,
    /// Since when the records to be read next are missing from the log, and how librdkafka says so.
    deleted: Option<(Instant, KafkaError)>,
}

impl Poller {
    /// Starts the OS thread. It ends when it is told to leave, or its consumer is dropped.
    pub(super) fn start(
        member: GroupMember,
        registry: Arc<GroupRegistry>,
        options: Arc<KafkaOptions>,
        budget: Arc<Budget>,
    ) -> Result<(), std::io::Error> {
        let member = Arc::new(member);
        registry.add(&member);
        let name = format!("kafka-{}", member.group);
        let poller = Self {
            member,
            registry,
            options,
            buffer: PrefetchBuffer::default(),
            budget,
            fetching: false,
            revoked: Vec::new(),
            unreleased: BTreeSet::new(),
            deleted: None,
        };
        thread::Builder::new().name(name).spawn(move || poller.run())?;
        Ok(())
    }

    fn run(mut self) {
        loop {
            let commands = self.member.commands.take();
            if let Some(reply) = commands.leave {
                self.close();
                // Whoever does not wait any more needs no answer.
                let _ = reply.map(|reply| reply.send(()));
                return;
            }
            self.obey(commands);
            let more = self.poll();
            self.hand_over();
            self.regulate();
            self.report_deleted();
            if !more {
                self.member.commands.wait(IDLE);
            }
        }
    }

    fn obey(&mut self, commands: Commands) {
        for (partition, paused) in commands.pauses {
            self.buffer.pause(partition, paused);
        }
        if !commands.released.is_empty() {
            self.release(&commands.released);
        }
        if let Some(fetched) = commands.fetched {
            self.fetching = false;
            self.assign(fetched);
        }
    }

    /// Takes what librdkafka has; true if there may be more.
    fn poll(&mut self) -> bool {
        for _ in 0..ROUND {
            let polled = self.poll_one();
            let mut is_rebalanced = false;
            while let Some(rebalance) = self.member.client.context().next_rebalance() {
                is_rebalanced = true;
                self.on_rebalance(rebalance);
            }
            match polled {
                None if is_rebalanced => {}
                None => return false,
                // The buffer is full: records are handed on, or librdkafka is paused, before more is taken.
                Some(Ok(())) if self.buffer.is_full() => return true,
                Some(Ok(())) => {}
                Some(Err(error)) => self.on_error(&error),
            }
        }
        true
    }

    fn poll_one(&mut self) -> Option<KafkaResult<()>> {
        let member = Arc::clone(&self.member);
        let message = match member.client.poll(GLANCE)? {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        if let Some(partition) = member.topics.partition(message.topic(), message.partition()) {
            self.buffer.push(record::from_message(&message, partition));
        }
        Some(Ok(()))
    }

    fn hand_over(&mut self) {
        while !self.member.events.is_full() {
            let Some(turn) = self.budget.turn() else { return };
            let batch = self.buffer.batch();
            if batch.is_empty() {
                return;
            }
            turn.take(&batch);
            self.tell(Ok(Event::Records(batch)));
        }
    }

    fn regulate(&mut self) {
        let (stop, go) = self.buffer.regulate();
        let list = |partitions: &BTreeSet<Partition>| committed::list_of(&self.options.prefix, partitions);
        let client = &self.member.client;
        let stopped = if stop.is_empty() { Ok(()) } else { client.pause(&list(&stop)) };
        let gone_on = if go.is_empty() { Ok(()) } else { client.resume(&list(&go)) };
        if let Err(error) = stopped.and(gone_on) {
            self.fail("pausing or resuming", &error);
        }
    }

    fn tell(&self, event: Result<Event, LogError>) {
        self.member.events.push(self.registry.latest(), event);
    }

    fn fail(&self, doing: &str, error: &KafkaError) {
        let context = format!("{doing}, group {}", self.member.group);
        self.tell(Err(error::log_error(context, error)));
    }

    fn on_rebalance(&mut self, rebalance: Rebalance) {
        match rebalance {
            // Nothing new, and librdkafka waits for the answer all the same.
            Rebalance::Assign(named) if named.is_empty() => self.assign(Ok(vec![])),
            Rebalance::Assign(named) => {
                self.fetching = true;
                self.fetch(self.member.topics.partitions(&named));
            }
            Rebalance::Revoke(named) => {
                let partitions = self.member.topics.partitions(&named);
                self.revoked.clone_from(&partitions);
                self.unreleased = partitions.iter().copied().collect();
                if partitions.is_empty() {
                    self.unassign(&[]);
                } else {
                    partitions.iter().for_each(|partition| self.buffer.end(*partition));
                    self.tell(Ok(Event::Revoked(partitions)));
                }
            }
            Rebalance::Lose(named) => {
                let partitions = self.member.topics.partitions(&named);
                self.deleted = None;
                self.give_up(&partitions);
                self.unassign(&partitions);
                self.tell(Ok(Event::Lost(partitions)));
            }
        }
    }

    /// Reads where to begin, on an OS thread of its own: an undecided commit of the partitions' previous owner may make
    /// it wait for many seconds.
    fn fetch(&self, partitions: Vec<Partition>) {
        let (member, options) = (Arc::clone(&self.member), Arc::clone(&self.options));
        let read = move || {
            let missing = options.missing_progress;
            let fetched = start_offsets::read_for_assignment(&member, &options.prefix, &partitions, missing);
            member.commands.send(|commands| commands.fetched = Some(fetched));
        };
        let name = format!("kafka-{}-progress", self.member.group);
        if let Err(error) = thread::Builder::new().name(name).spawn(read) {
            self.tell(Err(LogError::new("starting a thread", error)));
        }
    }

    fn assign(&mut self, fetched: FetchedProgress) {
        let assigned = match fetched {
            Ok(assigned) => assigned,
            Err(error) => return self.tell(Err(error)),
        };
        let mut list = TopicPartitionList::new();
        for (partition, known) in &assigned {
            let offset = known.as_ref().map_or(0, |progress| progress.offset);
            let name = self.options.name(partition.topic.0);
            if let Err(error) = list.add_partition_offset(&name, partition.index, Offset::Offset(offset)) {
                return self.fail("assigning partitions", &error);
            }
        }
        // The ownership is on record before anybody can hear of it.
        let generation = self.registry.advance();
        assigned.iter().for_each(|(partition, _)| self.buffer.begin(*partition));
        self.member.owned().take(assigned.clone(), generation);
        if let Err(error) = self.member.client.incremental_assign(&list) {
            return self.fail("assigning partitions", &error);
        }
        if !assigned.is_empty() {
            let progress =
                |(partition, known): (Partition, Option<_>)| (partition, known.unwrap_or_default());
            self.tell(Ok(Event::Assigned(assigned.into_iter().map(progress).collect())));
        }
    }

    /// Partitions may be released a few at a time; librdkafka wants them all at once.
    fn release(&mut self, partitions: &[Partition]) {
        self.give_up(partitions);
        let waited = !self.unreleased.is_empty();
        partitions.iter().for_each(|partition| {
            self.unreleased.remove(partition);
        });
        if waited && self.unreleased.is_empty() {
            let revoked = std::mem::take(&mut self.revoked);
            self.unassign(&revoked);
        }
    }

    /// From now on nothing can be committed for these partitions, and nothing of them comes.
    fn give_up(&mut self, partitions: &[Partition]) {
        self.member.owned().give_up(partitions);
        self.registry.advance();
        partitions.iter().for_each(|partition| self.buffer.end(*partition));
    }

    fn unassign(&self, partitions: &[Partition]) {
        let list = committed::list_of(&self.options.prefix, partitions);
        if let Err(error) = self.member.client.incremental_unassign(&list) {
            self.fail("giving up partitions", &error);
        }
    }

    /// Reports records that are missing from the log, unless the member turns out to have lost its partitions: one that
    /// slept while others went on finds deleted what they are past, and hears of the loss a moment later.
    fn report_deleted(&mut self) {
        if self.deleted.as_ref().is_some_and(|(since, _)| since.elapsed() > MAY_HAVE_LOST)
            && let Some((_, error)) = self.deleted.take()
        {
            let owned = self.member.owned().partitions();
            let topics: BTreeSet<TopicName> = owned.into_iter().map(|partition| partition.topic).collect();
            let prefix = &self.options.prefix;
            let mut found = topics
                .into_iter()
                .filter_map(|topic| start_offsets::outside_in_topic(&self.member, prefix, topic));
            match found.next() {
                Some(outside) => self.tell(Err(outside)),
                None => self.fail("reading", &error),
            }
        }
    }

    fn on_error(&mut self, error: &KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let deleted = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        let is_deleted = error.rdkafka_error_code().is_some_and(|code| deleted.contains(&code));
        if is_deleted && !fatal {
            self.deleted.get_or_insert_with(|| (Instant::now(), error.clone()));
        } else if fatal || error::classify(error) == ErrorClass::Permanent {
            self.fail("reading", error);
        } else {
            self.member.client.context().reporter.warn("poll", &error.to_string());
        }
    }

    /// Gives up all partitions and leaves the group.
    fn close(&mut self) {
        let all = self.member.owned().partitions();
        self.give_up(&all);
        let client = &self.member.client;
        client.context().close();
        // librdkafka waits for an answer to a rebalance; whatever it is assigned now it gives up a moment later.
        if self.fetching {
            let _ = client.incremental_assign(&TopicPartitionList::new());
        }
        if !self.unreleased.is_empty() {
            let revoked = std::mem::take(&mut self.revoked);
            self.unassign(&revoked);
        }
        if let Err(error) = client.close_queue() {
            client.context().reporter.warn("close", &error.to_string());
            return;
        }
        while !client.closed() {
            client.poll(Duration::from_millis(100));
        }
    }
}
