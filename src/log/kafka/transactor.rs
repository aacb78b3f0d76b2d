//! Commits, one after the other, on a thread that may block.
//!
//! ```text
//!   checked ─▶ begin ─▶ offsets of each group, records ─▶ all arrived ─▶ commit ─▶ Ok
//!      │         └────────── any error: nothing is written ────────┘         ├─ fenced ─▶ Fatal
//!      ├─ Fatal: above a limit      Refused · Retriable · Fatal              │
//!      └─ Refused: moved                                                     └─ anything else ─▶ Doubtful
//! ```
//!
//! **Certainty.** A transaction is written by one request, which only [`Producer::commit`] makes. Whatever fails
//! before it has written nothing and never will: the producer gives the transaction up, or is thrown away, and then
//! its successor of the same name, or a time-out of the broker's, does. Whatever fails in it
//! is unknown, unless another took over.
//!
//! **Throwing away.** After a time-out a producer's requests may still be on their way, and arrive after those that
//! it makes next. So it makes none: a new one of the same name begins where the broker says, and the old one's
//! requests are fenced. The new one fences a namesake as well, of which nothing was heard; so it is made by
//! [`Transactor::recover`] alone, whose caller knows what that means.
//!
//! **Fencing.** A broker fences a producer when a namesake took over, and when its transaction took too long. The
//! two look alike but for the time: [`TRANSACTION_TIMEOUT_MS`] is ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    consumer::{Consumer as _, ConsumerGroupMetadata},
    error::KafkaError,
};

use super::{
    GroupProtocol, KafkaOptions,
    client::TRANSACTION_TIMEOUT_MS,
    failure::{self, Class},
    member::{Member, Members},
    producer::Producer,
    progress,
};
use crate::{
    log::{
        CommitError, Generation, GroupName, GroupProgress, LogError, LogErrorKind, MAX_PROGRESS_TEXT, Output,
        Partition, Progress,
    },
    topic::TopicName,
};

/// How long after a failed try the next one begins.
const AGAIN: Duration = Duration::from_millis(200);
/// A transaction of this age may have been given up by the broker.
const MAY_BE_OVER: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS - 2000);

/// What was asked and cannot be.
#[derive(Debug, thiserror::Error)]
enum Mistake {
    #[error(
        "a record for topic {topic} has {size} bytes; with kafka.max_record_bytes as it is the topic takes {limit}"
    )]
    RecordTooLarge { topic: TopicName, size: usize, limit: usize },
    #[error("the progress text of {0} is longer than {MAX_PROGRESS_TEXT} UTF-16 units")]
    TextTooLong(Partition),
    #[error("this process is no member of group {0}")]
    NoMember(GroupName),
    #[error("the commit before was not made or is in doubt: the committer must recover first")]
    NotRecovered,
}

/// Progress of one member, ready to be added to a transaction.
struct Share {
    member: Arc<Member>,
    metadata: Arc<ConsumerGroupMetadata>,
    partitions: Vec<(Partition, Progress)>,
}

/// Why a transaction was not made; nothing of it is written.
enum Undone {
    Refused(GroupName),
    Failed(LogError, Class),
}

/// Makes commits under one name.
pub(super) struct Transactor {
    options: Arc<KafkaOptions>,
    members: Arc<Members>,
    id: String,
    producer: Option<Producer>,
    /// Whether nobody waits for anything any more.
    abandoned: Arc<AtomicBool>,
}

impl Transactor {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        members: Arc<Members>,
        name: &str,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        let id = options.name(name);
        Self { options, members, id, producer: None, abandoned }
    }

    /// Becomes the committer of its name, and decides what the last one left.
    pub(super) fn recover(&mut self) -> Result<(), LogError> {
        self.producer = None;
        let mut told = false;
        loop {
            let error = match self.become_the_one() {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let context = format!("becoming the committer {}", self.id);
            match failure::class(&error) {
                Class::Fenced => return Err(LogError::new(context, LogErrorKind::Fenced)),
                Class::Lasting => return Err(failure::log_error(context, &error)),
                _ if self.abandoned.load(Ordering::Acquire) => {
                    return Err(failure::log_error(context, &error));
                }
                _ => {}
            }
            if !told {
                tracing::warn!(%error, "{context}: no answer; asking again");
                told = true;
            }
            thread::sleep(AGAIN);
        }
    }

    /// One try. A producer that ran out of time goes on with the next try where it was.
    fn become_the_one(&mut self) -> Result<(), KafkaError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => Producer::new(&self.options, &self.id, self.members.lost_calls())?,
        };
        let begun = producer.init();
        let goes_on = match &begun {
            Ok(()) => true,
            Err(KafkaError::Transaction(error)) => error.is_retriable(),
            Err(_) => false,
        };
        self.producer = goes_on.then_some(producer);
        begun
    }

    /// Makes a commit; see the module.
    pub(super) fn commit(
        &mut self,
        outputs: &[Output],
        progress: &[GroupProgress],
    ) -> Result<(), CommitError> {
        self.check(outputs, progress)?;
        let refused = self.refused(progress);
        if !refused.is_empty() {
            return Err(CommitError::Refused(refused));
        }
        let Some(mut producer) = self.producer.take() else {
            return Err(CommitError::Fatal(failure::ours("committing", Mistake::NotRecovered.to_string())));
        };
        match self.fill(&mut producer, outputs, progress) {
            Ok(shares) => self.finish(producer, shares),
            Err(undone) => Err(self.undo(producer, undone)),
        }
    }

    fn check(&self, outputs: &[Output], progress: &[GroupProgress]) -> Result<(), CommitError> {
        let limit = |output: &Output| output.topic.size_limit(self.options.max_record_bytes);
        let too_large = outputs.iter().find(|output| output.size() > limit(output));
        let mut texts = progress.iter().flat_map(|progress| &progress.partitions);
        let too_long = texts.find(|(_, progress)| is_too_long(&progress.text));
        let mistake = match (too_large, too_long) {
            (Some(output), _) => {
                let (topic, size, limit) = (output.topic, output.size(), limit(output));
                Mistake::RecordTooLarge { topic, size, limit }
            }
            (_, Some((partition, _))) => Mistake::TextTooLong(*partition),
            (None, None) => return Ok(()),
        };
        Err(CommitError::Fatal(failure::ours("committing", mistake.to_string())))
    }

    /// The groups that have given partitions away since their progress was made.
    fn refused(&self, progress: &[GroupProgress]) -> Vec<GroupName> {
        let moved = |of: &&GroupProgress| {
            let members = self.members.of(of.group);
            let holds =
                |(partition, _): &(Partition, _)| holder(&members, *partition, of.generation).is_some();
            !of.partitions.iter().all(holds)
        };
        progress.iter().filter(moved).map(|of| of.group).collect()
    }

    /// Everything but the end of a transaction.
    fn fill(
        &self,
        producer: &mut Producer,
        outputs: &[Output],
        progress: &[GroupProgress],
    ) -> Result<Vec<Share>, Undone> {
        let failed = |doing: &str, error: KafkaError| {
            let class = match &error {
                KafkaError::Transaction(_) | KafkaError::MessageProduction(_) => failure::class(&error),
                _ => Class::Passing,
            };
            Undone::Failed(failure::log_error(doing, &error), class)
        };
        producer.begin().map_err(|error| failed("beginning a transaction", error))?;
        // Progress first. The brokers take one change of a transaction at a time and refuse others until it is written
        // down: librdkafka comes again for progress after some milliseconds, for the first records after twenty.
        let mut shares = Vec::new();
        for of in progress {
            for share in self.shares(of)? {
                let offsets = progress::to_commit(&self.options.prefix, &share.partitions)
                    .map_err(|error| failed("listing offsets", error))?;
                producer.add_offsets(offsets, Arc::clone(&share.metadata)).map_err(|error| {
                    match failure::class(&error) {
                        Class::Refused => Undone::Refused(of.group),
                        _ => failed(&format!("adding the progress of {}", of.group), error),
                    }
                })?;
                shares.push(share);
            }
        }
        for output in outputs {
            let topic = self.options.name(output.topic.0);
            producer.send(&topic, output).map_err(|error| failed(&format!("writing to {topic}"), error))?;
        }
        producer.settle().map_err(|(topic, error)| failed(&format!("writing to {topic}"), error))?;
        Ok(shares)
    }

    /// The progress of a group, by the member that holds each partition.
    ///
    /// What the broker is to check is taken before it is looked who holds what: whoever takes a partition after the
    /// look has made the group's generation another one.
    fn shares(&self, of: &GroupProgress) -> Result<Vec<Share>, Undone> {
        let mut shares: Vec<Share> = Vec::new();
        let members = self.members.of(of.group);
        for (partition, progress) in &of.partitions {
            let known = shares.iter_mut().find(|share| share.member.holdings().has(*partition));
            if let Some(share) = known {
                share.partitions.push((*partition, progress.clone()));
                continue;
            }
            let member = holder(&members, *partition, of.generation).ok_or(Undone::Refused(of.group))?;
            let metadata = member.native.group_metadata().ok_or_else(|| {
                let mistake = Mistake::NoMember(of.group);
                Undone::Failed(failure::ours("committing", mistake.to_string()), Class::Lasting)
            })?;
            let metadata = Arc::new(metadata);
            shares.push(Share { member, metadata, partitions: vec![(*partition, progress.clone())] });
        }
        let moved = shares.iter().any(|share| {
            let holdings = share.member.holdings();
            !share.partitions.iter().all(|(partition, _)| holdings.has_since(*partition, of.generation))
        });
        if moved {
            return Err(Undone::Refused(of.group));
        }
        shares.iter().try_for_each(|share| self.verify(of.group, share))?;
        Ok(shares)
    }

    /// A member with a fixed place can lose its partitions and have them again without a word from librdkafka, where
    /// its session ends in the middle of a rebalance. What others committed meanwhile tells.
    fn verify(&self, group: GroupName, share: &Share) -> Result<(), Undone> {
        if !self.options.static_membership || self.options.group_protocol != GroupProtocol::Classic {
            return Ok(());
        }
        let doing = format!("looking whether the progress of {group} is as it was");
        let partitions: Vec<Partition> = share.partitions.iter().map(|(partition, _)| *partition).collect();
        let found = progress::read_once(&share.member.native, &self.options.prefix, &partitions);
        let found =
            found.map_err(|error| Undone::Failed(failure::log_error(&doing, &error), Class::Passing))?;
        let holdings = share.member.holdings();
        let is_as_it_was = |(partition, found): (&Partition, &Option<Progress>)| {
            holdings.known(*partition) == found.as_ref()
        };
        if partitions.iter().zip(&found).all(is_as_it_was) {
            return Ok(());
        }
        let text =
            "another member has worked on partitions of this one, which did not hear of it; start it again";
        Err(Undone::Failed(failure::ours(doing, text), Class::Lasting))
    }

    /// Ends a transaction in which everything is.
    fn finish(&mut self, producer: Producer, shares: Vec<Share>) -> Result<(), CommitError> {
        let Err(error) = producer.commit() else {
            self.producer = Some(producer);
            for Share { member, partitions, .. } in shares {
                let mut holdings = member.holdings();
                partitions
                    .into_iter()
                    .for_each(|(partition, progress)| holdings.learn(partition, Some(progress)));
            }
            return Ok(());
        };
        let failed = failure::log_error(format!("committing as {}", self.id), &error);
        // Whatever librdkafka takes it for, the request may have been on its way.
        Err(match failure::class(&error) {
            Class::Fenced if producer.age() < MAY_BE_OVER => fenced(&self.id),
            Class::Lasting => CommitError::Fatal(failed),
            _ => CommitError::Doubtful(failed),
        })
    }

    /// Gives up a transaction of which nothing is written.
    fn undo(&mut self, producer: Producer, undone: Undone) -> CommitError {
        match undone {
            Undone::Failed(_, Class::Fenced) if producer.age() < MAY_BE_OVER => fenced(&self.id),
            Undone::Failed(error, Class::Lasting) => {
                // A transaction that is not given up now ends with its time-out.
                let _ = self.keep_if_aborted(producer);
                CommitError::Fatal(error)
            }
            Undone::Failed(error, _) => CommitError::Retriable(error),
            Undone::Refused(group) => match self.keep_if_aborted(producer) {
                Ok(()) => CommitError::Refused(vec![group]),
                // It is refused again, by a producer that can go on.
                Err(error) => CommitError::Retriable(failure::log_error("giving a commit up", &error)),
            },
        }
    }

    /// A producer whose records have arrived and that can give its transaction up is as good as new.
    fn keep_if_aborted(&mut self, producer: Producer) -> Result<(), KafkaError> {
        producer.settle().map_err(|(_, error)| error)?;
        producer.abort()?;
        self.producer = Some(producer);
        Ok(())
    }
}

fn fenced(id: &str) -> CommitError {
    CommitError::Fatal(LogError::new(format!("committing as {id}"), LogErrorKind::Fenced))
}

/// The member that has held a partition ever since.
fn holder(members: &[Arc<Member>], partition: Partition, since: Generation) -> Option<Arc<Member>> {
    members.iter().find(|member| member.holdings().has_since(partition, since)).cloned()
}

/// UTF-16 never has more units than UTF-8 has bytes, so the units of a short text need no counting.
fn is_too_long(text: &str) -> bool {
    text.len() > MAX_PROGRESS_TEXT && text.encode_utf16().count() > MAX_PROGRESS_TEXT
}
