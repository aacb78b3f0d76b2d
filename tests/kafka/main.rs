//! The Kafka log over a real cluster of three brokers.

mod growth;
#[path = "../kafka_support/mod.rs"]
mod kafka_support;
mod log;
#[path = "../log_suite/mod.rs"]
mod log_suite;
mod replay;
