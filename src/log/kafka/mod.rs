//! A Kafka cluster as the log, for many processes.
//!
//! ```text
//!   KafkaConsumer ◀─ mailbox ─ Poller (a thread) ◀─▶ librdkafka ◀─▶ group coordinator, leaders of partitions
//!                  ─ inbox ──▶    │ holds
//!                                 ▼
//!                              Members ◀─ whose is it? ─┐
//!   KafkaCommitter ─ tasks ─▶ Transactor (a thread) ────┴─▶ Producer ◀─▶ transaction coordinator
//! ```
//!
//! ## The contract
//!
//! - **Atomicity.** A commit is one transaction. Readers read committed records only.
//! - **Fencing.** A broker refuses a process that its group has moved on without, by the group's generation; what
//!   the generation does not tell, `Members` does, see `holdings`. A second committer of a name fences the first.
//! - **Progress** is the group's committed offset, and the text its metadata. It is read only when it is decided.
//! - **Threads.** librdkafka blocks; so nothing of it is called on a thread of the async runtime.
//! - **Names.** Topics, groups and transactional ids bear the prefix here and nowhere else.
//!
//! ## Where to look
//!
//! `options`, `keys` what can be said · `client` what librdkafka is told · `log` · `member`, `poller`, `consumer`,
//! `ahead`, `holdings` the side that reads · `beginning`, `progress` where it begins · `transactor`, `producer`, `calls`,
//! `committer` the side that writes · `scan`, `watermarks` looking without taking part · `admin`, `topics` setting up
//! and comparing · `failure`, `reporter` what goes wrong.

mod admin;
mod ahead;
mod beginning;
mod calls;
mod client;
mod committer;
mod consumer;
mod failure;
mod holdings;
mod keys;
mod log;
mod member;
mod options;
mod poller;
mod producer;
mod progress;
mod record;
mod reporter;
mod scan;
pub mod topics;
mod transactor;
mod watermarks;

pub use admin::{Admin, Bounds, StartError};
pub use committer::KafkaCommitter;
pub use consumer::KafkaConsumer;
pub use keys::{check_client_key, check_group_key, is_secret_key};
pub use log::KafkaLog;
pub use options::{GroupProtocol, KafkaOptions, MissingProgress};
