//! A Kafka cluster as the log.

mod admin;
mod client;
mod options;
pub mod topics;

pub use admin::{Admin, Bounds, StartError};
pub use options::{GroupProtocol, KafkaOptions};
