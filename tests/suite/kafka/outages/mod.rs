//! The Kafka log while brokers die and workers freeze: nothing is lost and nothing is there twice.
//!
//! Each test has the cluster for itself, because it does to it what other tests could not bear.

mod brokers;
mod frozen;
mod stops;
mod writer;
