//! What librdkafka is told for each kind of client: our defaults, then what the user set, then what must hold.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

use super::{GroupProtocol, KafkaOptions};
use crate::topic::TopicName;

/// After this time without an end a broker gives a transaction up, so that a dead worker does not hold readers back.
pub(super) const TRANSACTION_TIMEOUT_MS: u64 = 15_000;
/// What a record may take in a request beside its key, value and headers.
const RECORD_OVERHEAD: usize = 64 << 10;
/// What one answer to a fetch may hold beside one record of the largest kind.
const FETCH_BYTES: usize = 8 << 20;

impl KafkaOptions {
    /// The name of a topic or group of ours in the cluster.
    pub(crate) fn name(&self, ours: &str) -> String {
        format!("{}{ours}", self.prefix)
    }

    /// For clients that look, create and alter.
    pub(super) fn admin_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(log_level());
        config.set("client.id", "avr");
        // A broker that is back is to be found again within a second, and one that hangs is to be noticed.
        config.set("reconnect.backoff.max.ms", "1000");
        config.set("socket.timeout.ms", "10000");
        config.set("topic.metadata.refresh.interval.ms", "30000");
        config.extend(self.client.clone());
        config.set("bootstrap.servers", self.bootstrap_servers.join(","));
        config
    }

    /// For a reader of end offsets: what is written counts, decided or not.
    pub(super) fn offset_reader_config(&self) -> ClientConfig {
        let mut config = self.admin_config();
        config.set("isolation.level", "read_uncommitted");
        config
    }

    /// For a member of the group called `group`, or for a reader that joins none.
    pub(super) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.admin_config();
        // What is fetched ahead is memory; the engine bounds its own.
        config.set("queued.min.messages", "1000");
        config.set("queued.max.messages.kbytes", "4096");
        config.set("fetch.queue.backoff.ms", "50");
        config.set("fetch.error.backoff.ms", "100");
        config.set("fetch.message.max.bytes", (256 << 10).to_string());
        config.set("fetch.max.bytes", FETCH_BYTES.to_string());
        config.set("receive.message.max.bytes", (2 * FETCH_BYTES + self.max_message_bytes()).to_string());
        if self.group_protocol == GroupProtocol::Classic {
            config.set("session.timeout.ms", "20000");
        }
        config.extend(self.consumer.clone());
        config.set("group.id", self.name(group));
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        match self.group_protocol {
            GroupProtocol::Classic => config.set("partition.assignment.strategy", "cooperative-sticky"),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        config
    }

    /// For a member of the group called `group`: like the reader, but with a static generation where that is wanted.
    pub(super) fn member_config(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer_config(group);
        if let Some(worker) = self.worker.as_ref().filter(|_| self.static_membership) {
            config.set("group.instance.id", self.name(&format!("{worker}.{group}")));
        }
        config
    }

    /// For the producer whose transactions bear `id`.
    pub(super) fn producer_config(&self, id: &str) -> ClientConfig {
        let mut config = self.admin_config();
        config.set("linger.ms", "2");
        // A transaction that follows right on another finds the brokers still writing down the end of that one, and is
        // asked to come again: with librdkafka's 100 ms every commit would take as long.
        config.set("retry.backoff.ms", "5");
        config.set("compression.type", "zstd");
        config.extend(self.producer.clone());
        config.set("transactional.id", id);
        config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS.to_string());
        config.set("message.timeout.ms", (TRANSACTION_TIMEOUT_MS - 3000).to_string());
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        // Where other clients would put a key, so that they can write to our topics.
        config.set("partitioner", "murmur2_random");
        config.set("message.max.bytes", self.max_message_bytes().to_string());
        config
    }

    fn max_message_bytes(&self) -> usize {
        TopicName::largest_limit(self.max_record_bytes) + RECORD_OVERHEAD
    }
}

fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Warning
    }
}
