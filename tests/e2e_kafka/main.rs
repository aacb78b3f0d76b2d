//! A pipeline over a real Kafka cluster, end to end: worker processes, submits and status, with real signals, against a
//! simulated model cluster in a process of its own.
//!
//! The cluster is named in `AVR_TEST_KAFKA` (`scripts/kafka start` prints it). Each test has a prefix of its own in it.

#[path = "../e2e/support/mod.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod support;

#[path = "../kafka_support/address.rs"]
mod address;
#[path = "../chaos/calls.rs"]
mod calls;
mod cleanup;
mod dead_letters;
mod deaths;
mod exporters;
#[path = "../chaos/files.rs"]
mod files;
mod foreign;
mod growth;
mod kills;
mod letters;
mod membership;
mod models;
#[path = "../chaos/past.rs"]
mod past;
mod pipeline;
mod protocol;
mod raw;
mod recipes;
mod result;
mod retries;
mod shares;
mod submits;
mod workers;
