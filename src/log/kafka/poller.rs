//! The thread of one member: it polls librdkafka at all times, and answers what that asks about partitions.
//!
//! ```text
//!   librdkafka ─▶ note ─▶ Assign  read the progress (a thread of its own) ─▶ incremental_assign ─▶ Event::Assigned
//!                         Revoke  Event::Revoked ─▶ release of each ─▶ incremental_unassign
//!                         Lose    incremental_unassign ─▶ Event::Lost
//!   librdkafka ─▶ messages ─▶ Ahead ─▶ Event::Records, while the mailbox and the budget have room
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
    KafkaOptions,
    ahead::Ahead,
    beginning, failure,
    failure::Class,
    member::{Fetched, Member, Members, Note, Orders},
    progress, record,
};
use crate::log::{Budget, Event, LogError, Partition};

/// How long librdkafka is waited for when it is looked whether it has more.
const GLANCE: Duration = Duration::from_millis(1);
/// How long a member may take to hear that its session has ended.
const MAY_HAVE_LOST: Duration = Duration::from_secs(30);
/// The thread polls at least this often.
const IDLE: Duration = Duration::from_millis(500);
/// Messages that are taken before orders are looked at again.
const ROUND: usize = 1024;

/// The thread's own state.
pub(super) struct Poller {
    member: Arc<Member>,
    members: Arc<Members>,
    options: Arc<KafkaOptions>,
    ahead: Ahead,
    budget: Arc<Budget>,
    /// Whether librdkafka waits for partitions to be assigned, whose progress is being read.
    fetching: bool,
    /// Partitions that librdkafka wants back, and those of them that are not released yet.
    revoked: Vec<Partition>,
    unreleased: BTreeSet<Partition>,
    /// Since when records that were to be read next are not there any more.
    deleted: Option<(Instant, KafkaError)>,
}

impl Poller {
    /// Starts the thread. It ends when it is told to leave, or its consumer is dropped.
    pub(super) fn start(
        member: Member,
        members: Arc<Members>,
        options: Arc<KafkaOptions>,
        budget: Arc<Budget>,
    ) -> Result<(), std::io::Error> {
        let member = Arc::new(member);
        members.add(&member);
        let name = format!("kafka-{}", member.group);
        let (ahead, revoked, unreleased) = (Ahead::default(), Vec::new(), BTreeSet::new());
        let (fetching, deleted) = (false, None);
        let poller = Self { member, members, options, ahead, budget, fetching, revoked, unreleased, deleted };
        thread::Builder::new().name(name).spawn(move || poller.run())?;
        Ok(())
    }

    fn run(mut self) {
        loop {
            let orders = self.member.inbox.take();
            if let Some(reply) = orders.leave {
                self.close();
                // Whoever does not wait any more needs no answer.
                let _ = reply.map(|reply| reply.send(()));
                return;
            }
            self.obey(orders);
            let more = self.poll();
            self.hand_over();
            self.regulate();
            self.miss_deleted();
            if !more {
                self.member.inbox.wait(IDLE);
            }
        }
    }

    fn obey(&mut self, orders: Orders) {
        for (partition, paused) in orders.pauses {
            self.ahead.pause(partition, paused);
        }
        if !orders.released.is_empty() {
            self.release(&orders.released);
        }
        if let Some(fetched) = orders.fetched {
            self.fetching = false;
            self.assign(fetched);
        }
    }

    /// Takes what librdkafka has; true if there may be more.
    fn poll(&mut self) -> bool {
        for _ in 0..ROUND {
            let polled = self.poll_one();
            let mut noted = false;
            while let Some(note) = self.member.native.context().note() {
                noted = true;
                self.on_note(note);
            }
            match polled {
                None if noted => {}
                None => return false,
                // What is kept is to be handed on, or librdkafka to be stopped, before more is taken.
                Some(Ok(())) if self.ahead.is_full() => return true,
                Some(Ok(())) => {}
                Some(Err(error)) => self.on_error(&error),
            }
        }
        true
    }

    fn poll_one(&mut self) -> Option<KafkaResult<()>> {
        let member = Arc::clone(&self.member);
        let message = match member.native.poll(GLANCE)? {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        if let Some(partition) = member.topics.partition(message.topic(), message.partition()) {
            self.ahead.push(record::from_message(&message, partition));
        }
        Some(Ok(()))
    }

    fn hand_over(&mut self) {
        while !self.member.mailbox.is_full() {
            let Some(turn) = self.budget.turn() else { return };
            let batch = self.ahead.batch();
            if batch.is_empty() {
                return;
            }
            turn.take(&batch);
            self.tell(Ok(Event::Records(batch)));
        }
    }

    fn regulate(&mut self) {
        let (stop, go) = self.ahead.regulate();
        let list = |partitions: &BTreeSet<Partition>| progress::list_of(&self.options.prefix, partitions);
        let native = &self.member.native;
        let stopped = if stop.is_empty() { Ok(()) } else { native.pause(&list(&stop)) };
        let gone_on = if go.is_empty() { Ok(()) } else { native.resume(&list(&go)) };
        if let Err(error) = stopped.and(gone_on) {
            self.fail("pausing or resuming", &error);
        }
    }

    fn tell(&self, event: Result<Event, LogError>) {
        self.member.mailbox.put(self.members.latest(), event);
    }

    fn fail(&self, doing: &str, error: &KafkaError) {
        let context = format!("{doing}, group {}", self.member.group);
        self.tell(Err(failure::log_error(context, error)));
    }

    fn on_note(&mut self, note: Note) {
        match note {
            // Nothing new; librdkafka waits for the answer all the same.
            Note::Assign(places) if places.is_empty() => self.assign(Ok(vec![])),
            Note::Assign(places) => {
                self.fetching = true;
                self.fetch(self.member.topics.partitions(&places));
            }
            Note::Revoke(places) => {
                let partitions = self.member.topics.partitions(&places);
                self.revoked.clone_from(&partitions);
                self.unreleased = partitions.iter().copied().collect();
                if partitions.is_empty() {
                    self.unassign(&[]);
                } else {
                    partitions.iter().for_each(|partition| self.ahead.end(*partition));
                    self.tell(Ok(Event::Revoked(partitions)));
                }
            }
            Note::Lose(places) => {
                let partitions = self.member.topics.partitions(&places);
                self.deleted = None;
                self.give_up(&partitions);
                self.unassign(&partitions);
                self.tell(Ok(Event::Lost(partitions)));
            }
        }
    }

    /// Reads where to begin, on a thread of its own: an undecided commit of the one who had the partitions may make
    /// it wait for many seconds.
    fn fetch(&self, partitions: Vec<Partition>) {
        let (member, options) = (Arc::clone(&self.member), Arc::clone(&self.options));
        let read = move || {
            let missing = options.missing_progress;
            let fetched = beginning::progress_of(&member, &options.prefix, &partitions, missing);
            member.inbox.order(|orders| orders.fetched = Some(fetched));
        };
        let name = format!("kafka-{}-progress", self.member.group);
        if let Err(error) = thread::Builder::new().name(name).spawn(read) {
            self.tell(Err(LogError::new("starting a thread", error)));
        }
    }

    fn assign(&mut self, fetched: Fetched) {
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
        // Numbered and held before anybody can hear of it.
        let generation = self.members.next();
        assigned.iter().for_each(|(partition, _)| self.ahead.begin(*partition));
        self.member.holdings().take(assigned.clone(), generation);
        if let Err(error) = self.member.native.incremental_assign(&list) {
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
        self.member.holdings().give_up(partitions);
        self.members.next();
        partitions.iter().for_each(|partition| self.ahead.end(*partition));
    }

    fn unassign(&self, partitions: &[Partition]) {
        let list = progress::list_of(&self.options.prefix, partitions);
        if let Err(error) = self.member.native.incremental_unassign(&list) {
            self.fail("giving up partitions", &error);
        }
    }

    /// A member that slept while others went on finds deleted what they did, and hears a moment later that it has lost
    /// its partitions. One that hears nothing of the kind has lost records.
    fn miss_deleted(&mut self) {
        if self.deleted.as_ref().is_some_and(|(since, _)| since.elapsed() > MAY_HAVE_LOST)
            && let Some((_, error)) = self.deleted.take()
        {
            self.fail("reading", &error);
        }
    }

    fn on_error(&mut self, error: &KafkaError) {
        let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
        let deleted = [RDKafkaErrorCode::AutoOffsetReset, RDKafkaErrorCode::OffsetOutOfRange];
        let is_deleted = error.rdkafka_error_code().is_some_and(|code| deleted.contains(&code));
        if is_deleted && !fatal {
            self.deleted.get_or_insert_with(|| (Instant::now(), error.clone()));
        } else if fatal || failure::class(error) == Class::Lasting {
            self.fail("reading", error);
        } else {
            self.member.native.context().reporter.warn("poll", &error.to_string());
        }
    }

    /// Gives up all partitions and leaves the group.
    fn close(&mut self) {
        let all = self.member.holdings().partitions();
        self.give_up(&all);
        let native = &self.member.native;
        native.context().close();
        // What librdkafka waits for an answer to it gets one to; the partitions are given up a moment later.
        if self.fetching {
            let _ = native.incremental_assign(&TopicPartitionList::new());
        }
        if !self.unreleased.is_empty() {
            let revoked = std::mem::take(&mut self.revoked);
            self.unassign(&revoked);
        }
        if let Err(error) = native.close_queue() {
            native.context().reporter.warn("close", &error.to_string());
            return;
        }
        while !native.closed() {
            native.poll(Duration::from_millis(100));
        }
    }
}
