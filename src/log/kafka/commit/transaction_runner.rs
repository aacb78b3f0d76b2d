//! Makes commits, one transaction after the other, on an OS thread that may block.
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
//! [`TransactionRunner::recover`] alone, whose caller knows what that means.
//!
//! **Fencing.** A broker fences a producer when a namesake took over, and when its transaction took too long. The
//! two look alike but for the time: [`TRANSACTION_TIMEOUT_MS`] is ours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    consumer::{Consumer as _, ConsumerGroupMetadata},
    error::KafkaError,
};

use tokio::sync::watch;

use super::producer::Producer;
use crate::{
    log::{
        CommitError, Generation, GroupName, GroupProgress, LogError, LogErrorKind, MAX_PROGRESS_TEXT, Output,
        Partition, Progress,
        kafka::{
            GroupProtocol, KafkaOptions,
            client_config::TRANSACTION_TIMEOUT_MS,
            consume::{GroupMember, GroupRegistry},
            error::{self, ErrorClass},
            read::{committed, until_answered},
        },
    },
    topic::TopicName,
};

/// A transaction of this age may have been given up by the broker.
const MAY_BE_OVER: Duration = Duration::from_millis(TRANSACTION_TIMEOUT_MS - 2000);

/// Why a commit cannot be made as it was asked for.
#[derive(Debug, thiserror::Error)]
enum InvalidCommit {
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

/// The progress of one member, ready to be added to a transaction.
struct MemberProgress {
    member: Arc<GroupMember>,
    metadata: Arc<ConsumerGroupMetadata>,
    partitions: Vec<(Partition, Progress)>,
}

/// Why a transaction was not filled; nothing of it is written.
enum FillError {
    Refused(GroupName),
    Failed(LogError, ErrorClass),
}

/// Makes commits under one transactional id.
pub(super) struct TransactionRunner {
    options: Arc<KafkaOptions>,
    registry: Arc<GroupRegistry>,
    id: String,
    /// None after a commit that must be recovered from.
    producer: Option<Producer>,
    hung_calls: watch::Sender<u64>,
    /// Whether nobody waits for a result any more.
    abandoned: Arc<AtomicBool>,
}

impl TransactionRunner {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        registry: Arc<GroupRegistry>,
        name: &str,
        hung_calls: watch::Sender<u64>,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        let id = options.name(name);
        Self { options, registry, id, producer: None, hung_calls, abandoned }
    }

    /// Becomes the committer of its name, and decides what the one before left undecided.
    pub(super) fn recover(&mut self) -> Result<(), LogError> {
        self.producer = None;
        let context = format!("becoming the committer {}", self.id);
        let abandoned = Arc::clone(&self.abandoned);
        let gives_up = || abandoned.load(Ordering::Acquire);
        until_answered(&context, gives_up, || self.init_producer()).map_err(|error| {
            match error::classify(&error) {
                ErrorClass::Fenced => LogError::new(&context, LogErrorKind::Fenced),
                _ => error::log_error(&context, &error),
            }
        })
    }

    /// One try to become the committer. A producer that ran out of time stays, and the next try goes on where it was.
    fn init_producer(&mut self) -> Result<(), KafkaError> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => Producer::new(&self.options, &self.id, self.hung_calls.clone())?,
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
            return Err(CommitError::Fatal(error::ours(
                "committing",
                InvalidCommit::NotRecovered.to_string(),
            )));
        };
        match self.fill(&mut producer, outputs, progress) {
            Ok(shares) => self.finish(producer, shares),
            Err(error) => Err(self.give_up(producer, error)),
        }
    }

    fn check(&self, outputs: &[Output], progress: &[GroupProgress]) -> Result<(), CommitError> {
        let limit = |output: &Output| output.topic.size_limit(self.options.max_record_bytes);
        let too_large = outputs.iter().find(|output| output.size() > limit(output));
        let mut texts = progress.iter().flat_map(|progress| &progress.partitions);
        let too_long = texts.find(|(_, progress)| progress.is_too_long());
        let invalid = match (too_large, too_long) {
            (Some(output), _) => {
                let (topic, size, limit) = (output.topic, output.size(), limit(output));
                InvalidCommit::RecordTooLarge { topic, size, limit }
            }
            (_, Some((partition, _))) => InvalidCommit::TextTooLong(*partition),
            (None, None) => return Ok(()),
        };
        Err(CommitError::Fatal(error::ours("committing", invalid.to_string())))
    }

    /// The groups that have given partitions away since their progress was made.
    fn refused(&self, progress: &[GroupProgress]) -> Vec<GroupName> {
        let moved = |of: &&GroupProgress| {
            let members = self.registry.members_of(of.group);
            let owns = |(partition, _): &(Partition, _)| owner(&members, *partition, of.generation).is_some();
            !of.partitions.iter().all(owns)
        };
        progress.iter().filter(moved).map(|of| of.group).collect()
    }

    /// Everything but the end of a transaction.
    fn fill(
        &self,
        producer: &mut Producer,
        outputs: &[Output],
        progress: &[GroupProgress],
    ) -> Result<Vec<MemberProgress>, FillError> {
        let failed = |doing: &str, error: KafkaError| {
            let class = match &error {
                KafkaError::Transaction(_) | KafkaError::MessageProduction(_) => error::classify(&error),
                _ => ErrorClass::Transient,
            };
            FillError::Failed(error::log_error(doing, &error), class)
        };
        producer.begin().map_err(|error| failed("beginning a transaction", error))?;
        // Progress first. The brokers take one change of a transaction at a time and refuse others until it is written
        // down: librdkafka comes again for progress after some milliseconds, for the first records after twenty.
        let mut shares = Vec::new();
        for of in progress {
            for share in self.by_member(of)? {
                let offsets = committed::to_commit(&self.options.prefix, &share.partitions)
                    .map_err(|error| failed("listing offsets", error))?;
                producer.add_offsets(offsets, Arc::clone(&share.metadata)).map_err(|error| {
                    match error::classify(&error) {
                        ErrorClass::Refused => FillError::Refused(of.group),
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

    /// The progress of a group, by the member that owns each partition.
    ///
    /// The metadata that the broker is to check is taken before it is looked who owns what: a member that takes a
    /// partition after the look has changed the group's generation.
    fn by_member(&self, of: &GroupProgress) -> Result<Vec<MemberProgress>, FillError> {
        let mut shares: Vec<MemberProgress> = Vec::new();
        let members = self.registry.members_of(of.group);
        for (partition, progress) in &of.partitions {
            let known = shares.iter_mut().find(|share| share.member.owned().has(*partition));
            if let Some(share) = known {
                share.partitions.push((*partition, progress.clone()));
                continue;
            }
            let member = owner(&members, *partition, of.generation).ok_or(FillError::Refused(of.group))?;
            let metadata = member.client.group_metadata().ok_or_else(|| {
                let invalid = InvalidCommit::NoMember(of.group);
                FillError::Failed(error::ours("committing", invalid.to_string()), ErrorClass::Permanent)
            })?;
            let metadata = Arc::new(metadata);
            shares.push(MemberProgress {
                member,
                metadata,
                partitions: vec![(*partition, progress.clone())],
            });
        }
        let moved = shares.iter().any(|share| {
            let owned = share.member.owned();
            !share.partitions.iter().all(|(partition, _)| owned.has_since(*partition, of.generation))
        });
        if moved {
            return Err(FillError::Refused(of.group));
        }
        shares.iter().try_for_each(|share| self.verify(of.group, share))?;
        Ok(shares)
    }

    /// A member with a fixed place can lose its partitions and have them again without a word from librdkafka, where
    /// its session ends in the middle of a rebalance. What others committed meanwhile tells.
    fn verify(&self, group: GroupName, share: &MemberProgress) -> Result<(), FillError> {
        if !self.options.static_membership || self.options.group_protocol != GroupProtocol::Classic {
            return Ok(());
        }
        let doing = format!("looking whether the progress of {group} is as it was");
        let partitions: Vec<Partition> = share.partitions.iter().map(|(partition, _)| *partition).collect();
        let found = committed::read_once(&share.member.client, &self.options.prefix, &partitions);
        let found = found
            .map_err(|error| FillError::Failed(error::log_error(&doing, &error), ErrorClass::Transient))?;
        let owned = share.member.owned();
        let is_as_it_was = |(partition, found): (&Partition, &Option<Progress>)| {
            owned.committed(*partition) == found.as_ref()
        };
        if partitions.iter().zip(&found).all(is_as_it_was) {
            return Ok(());
        }
        let text =
            "another member has worked on partitions of this one, which did not hear of it; start it again";
        Err(FillError::Failed(error::ours(doing, text), ErrorClass::Permanent))
    }

    /// Ends a transaction in which everything is.
    fn finish(&mut self, producer: Producer, shares: Vec<MemberProgress>) -> Result<(), CommitError> {
        let Err(error) = producer.commit() else {
            self.producer = Some(producer);
            for MemberProgress { member, partitions, .. } in shares {
                let mut owned = member.owned();
                partitions
                    .into_iter()
                    .for_each(|(partition, progress)| owned.note_committed(partition, Some(progress)));
            }
            return Ok(());
        };
        let failed = error::log_error(format!("committing as {}", self.id), &error);
        // Whatever librdkafka takes it for, the request may have been on its way.
        Err(match error::classify(&error) {
            ErrorClass::Fenced if producer.age() < MAY_BE_OVER => fenced(&self.id),
            ErrorClass::Permanent => CommitError::Fatal(failed),
            _ => CommitError::Doubtful(failed),
        })
    }

    /// Gives up a transaction of which nothing is written.
    fn give_up(&mut self, producer: Producer, error: FillError) -> CommitError {
        match error {
            FillError::Failed(_, ErrorClass::Fenced) if producer.age() < MAY_BE_OVER => fenced(&self.id),
            FillError::Failed(error, ErrorClass::Permanent) => {
                // A transaction that is not given up now ends with its time-out.
                let _ = self.keep_if_aborted(producer);
                CommitError::Fatal(error)
            }
            FillError::Failed(error, _) => CommitError::Retriable(error),
            FillError::Refused(group) => match self.keep_if_aborted(producer) {
                Ok(()) => CommitError::Refused(vec![group]),
                // It is refused again, by a producer that can go on.
                Err(error) => CommitError::Retriable(error::log_error("giving a commit up", &error)),
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

/// The member that has owned a partition ever since.
fn owner(members: &[Arc<GroupMember>], partition: Partition, since: Generation) -> Option<Arc<GroupMember>> {
    members.iter().find(|member| member.owned().has_since(partition, since)).cloned()
}
