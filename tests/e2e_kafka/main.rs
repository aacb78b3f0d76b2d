//! A pipeline over a real Kafka cluster, end to end: worker processes, submits and status, with real signals, against a
//! simulated model cluster in a process of its own.
//!
//! The cluster is named in `AVR_TEST_KAFKA` (`scripts/kafka start` prints it). Each test has a prefix of its own in it.

#[path = "../e2e/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each target uses its part")]
mod support;

#[path = "../kafka_support/address.rs"]
mod address;
mod dead_letters;
mod exporters;
#[path = "../chaos/files.rs"]
mod files;
mod foreign;
mod letters;
mod models;
mod pipeline;
mod raw;
mod retries;
mod submits;
mod workers;
