//! The side that writes: commits, each one transaction.
//!
//! ```text
//!   KafkaCommitter ─ tasks ─▶ TransactionRunner (an OS thread) ─▶ Producer ─▶ Watchdog (an OS thread) ─▶ librdkafka
//!                               └─ whose is a partition? GroupRegistry
//! ```

mod committer;
mod producer;
mod transaction_runner;
mod watchdog;

pub use committer::KafkaCommitter;
