//! The side that looks and takes part in nothing: topics read whole, where partitions begin and end, what groups have
//! committed.
//!
//! Everything here blocks, so it runs on an OS thread that may; see [`blocking`](super::log::blocking).

pub(super) mod committed;
mod offset_readers;
pub(super) mod scan;
pub(super) mod watermarks;

use std::{thread, time::Duration};

pub(super) use offset_readers::OffsetReaders;
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};
pub use watermarks::Watermarks;

use super::error::{self, ErrorClass};

/// How long the cluster may take to answer one question.
pub(super) const CLUSTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a question is asked again: a partition whose leader died has another within seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long after a try without an answer the next one begins.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Asks until there is an answer, until the error is one that does not pass, or until nobody wants to know any more,
/// which `gives_up` tells after each try.
pub(super) fn until_answered<T>(
    context: &str,
    gives_up: impl Fn() -> bool,
    mut ask: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    let mut is_reported = false;
    loop {
        let error = match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if gives_up() || matches!(error::classify(&error), ErrorClass::Permanent | ErrorClass::Fenced) {
            return Err(error);
        }
        // A commit of a process that died is undecided until the broker gives it up, some seconds later.
        let is_undecided = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnstableOffsetCommit);
        if !is_undecided && !is_reported {
            tracing::warn!(%error, "{context}: no answer; asking again");
            is_reported = true;
        }
        thread::sleep(RETRY_PAUSE);
    }
}
