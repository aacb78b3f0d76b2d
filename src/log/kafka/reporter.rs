//! What librdkafka has to say, as log lines: each kind at most once in a while, because a broker that is away makes
//! it say the same many times a second.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::log::lock;

/// How long a kind of message is kept to `debug` after it was shown.
const QUIET: Duration = Duration::from_secs(10);

/// The log lines of one client.
#[derive(Debug)]
pub(super) struct Reporter {
    client: String,
    shown: Mutex<BTreeMap<String, Instant>>,
}

impl Reporter {
    /// For the client that is called so in the log.
    pub(super) fn new(client: impl Into<String>) -> Self {
        Self { client: client.into(), shown: Mutex::default() }
    }

    /// Whether a message of this kind is to be shown now.
    fn is_due(&self, kind: &str) -> bool {
        let mut shown = lock(&self.shown);
        if shown.get(kind).is_some_and(|at| at.elapsed() < QUIET) {
            return false;
        }
        shown.insert(kind.to_owned(), Instant::now());
        true
    }

    /// Says something that is not an error of ours and may repeat itself.
    pub(super) fn warn(&self, kind: &str, message: &str) {
        let client = &self.client;
        if self.is_due(kind) {
            tracing::warn!(target: "librdkafka", client, kind, "{message}");
        } else {
            tracing::debug!(target: "librdkafka", client, kind, "{message}");
        }
    }
}

impl ClientContext for Reporter {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let client = &self.client;
        match level {
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", client, facility, "{message}");
            }
            _ => self.warn(facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error to those who asked to be told, and others are not told.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let kind = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| format!("{code:?}"));
        self.warn(&kind, reason);
    }
}

impl ConsumerContext for Reporter {}
