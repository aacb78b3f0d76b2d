//! A Kafka cluster as the log, for many processes.
//!
//! ```text
//!   consume/   KafkaConsumer ◀─▶ Poller (an OS thread) ◀─▶ librdkafka ◀─▶ group coordinator, leaders of partitions
//!                                  │ owns
//!                            GroupRegistry
//!                                  │ whose is a partition?
//!   commit/    KafkaCommitter ─▶ TransactionRunner (an OS thread) ─▶ Producer ◀─▶ transaction coordinator
//!
//!   read/      scans, watermarks, committed progress: looks and takes part in nothing
//!   admin      describes, creates and alters topics, commits first offsets, deletes records
//! ```
//!
//! ## The contract
//!
//! - **Atomicity.** A commit is one transaction. Readers read committed records only.
//! - **Fencing.** A broker refuses a process that its group has moved on without, by the group's generation; what
//!   the generation does not tell, `consume::owned` does. A second committer of a name fences the first.
//! - **Progress** is the group's committed offset, and the text is the offset's metadata. It is read only when it is
//!   decided.
//! - **OS threads.** librdkafka blocks; so nothing of it is called on a thread of the async runtime.
//! - **Names.** Topics, groups and transactional ids bear the prefix here and nowhere else.
//!
//! ## Where to look
//!
//! `options` what can be said of a cluster · `passthrough` which of librdkafka's own keys may be set · `client_config` what
//! librdkafka is told for each kind of client · `log` where consumers and committers come from · `record` records as
//! librdkafka has them · `error` what an error means · `reporter` librdkafka's log lines.

mod admin;
mod client_config;
mod commit;
mod consume;
mod error;
mod log;
mod options;
mod passthrough;
mod read;
mod record;
mod reporter;

pub use admin::{Admin, StartError, TopicDescription};
pub use commit::KafkaCommitter;
pub use consume::{GroupOffsets, KafkaConsumer, LostStart, MissingStart, PartitionOffsets};
pub use log::KafkaLog;
pub use options::{GroupProtocol, KafkaOptions, MissingProgress};
pub use passthrough::{check_client_key, check_group_key, is_secret_key};
pub use read::Watermarks;
