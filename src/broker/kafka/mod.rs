//! A Kafka cluster as the log.

mod client;
mod options;

pub use options::{GroupProtocol, KafkaOptions};
