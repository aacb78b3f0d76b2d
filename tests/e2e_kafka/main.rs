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
mod deaths;
#[path = "../chaos/files.rs"]
mod files;
mod growth;
mod kills;
mod membership;
#[path = "../chaos/past.rs"]
mod past;
mod pipeline;
mod protocol;
mod recipes;
mod result;
mod shares;
mod submits;
mod workers;
