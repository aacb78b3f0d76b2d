//! The section `kafka`.

use std::collections::BTreeMap;

use super::Section;
use crate::broker::kafka::{GroupProtocol, KafkaOptions, MissingProgress};

/// The least a log must take: smaller threads are no use.
const LEAST_RECORD: usize = 64 << 10;

/// The cluster, and what a pipeline asks of it.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// The cluster, and this process in it.
    pub options: KafkaOptions,
    /// Partitions of each topic between stages, instead of what the topics' files say.
    pub partitions: Option<u32>,
    /// Copies of each partition, instead of what the topics' files say.
    pub replicas: Option<u16>,
    /// Lag above which the stages before a topic wait, in records.
    pub max_lag: u64,
}

/// Reads the section; none where no cluster is named, and the log is the embedded one.
pub(super) fn read(section: &mut Section<'_>) -> Option<KafkaSettings> {
    let bootstrap_servers = section.texts("bootstrap_servers");
    let protocols = [("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];
    let options = KafkaOptions {
        bootstrap_servers,
        prefix: section.text("prefix", "avr."),
        worker: section.optional_text("worker"),
        static_membership: section.flag("static_membership", false),
        group_protocol: section.choice("group_protocol", &protocols, "classic"),
        missing_progress: MissingProgress::Refuse,
        max_record_bytes: section.count("max_record_bytes", 16 << 20, LEAST_RECORD..=1 << 30),
        client: client_keys(section, "client"),
        consumer: client_keys(section, "consumer"),
        producer: client_keys(section, "producer"),
    };
    let settings = KafkaSettings {
        partitions: optional_number(section, "partitions", 1 << 16),
        replicas: optional_number(section, "replicas", 1 << 10).and_then(|number| u16::try_from(number).ok()),
        max_lag: section.number("max_lag", 10_000, 1..=1 << 40),
        options,
    };
    (!settings.options.bootstrap_servers.is_empty()).then_some(settings)
}

/// A whole number that may be missing.
fn optional_number(section: &mut Section<'_>, name: &'static str, most: u64) -> Option<u32> {
    if !section.has(name) {
        section.know(name);
        return None;
    }
    u32::try_from(section.number(name, 1, 1..=most)).ok()
}

fn client_keys(section: &mut Section<'_>, name: &'static str) -> BTreeMap<String, String> {
    let table = section.free_table(name);
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    table.into_iter().map(|(key, value)| (key, text(value))).collect()
}
