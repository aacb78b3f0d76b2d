//! Everything over a real Kafka cluster of three brokers. Each test has a prefix of its own in it.
//!
//! The tests are ignored by default, because a test that could not run did not pass. See [`cluster`].

mod chaos;
mod cluster;
mod e2e;
mod growth;
mod log;
mod outages;
mod replay;
mod topics;
