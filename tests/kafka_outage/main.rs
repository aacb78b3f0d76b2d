//! The Kafka log while brokers die and workers freeze: nothing is lost and nothing is there twice.
//!
//! A target of its own, because it does to the cluster what other tests could not bear. Its tests run one at a time.

#[path = "../kafka_support/mod.rs"]
mod kafka_support;
#[path = "../log_suite/mod.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "only the smallest worker is used here")]
mod log_suite;
mod outages;
#[path = "../e2e_kafka/pipeline.rs"]
#[expect(dead_code, reason = "each target uses its part")]
mod pipeline;
mod stops;
#[path = "../e2e/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "each target uses its part")]
mod support;
mod writer;

use kafka_support::address;
