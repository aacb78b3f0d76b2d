//! What is known of each topic beside its name: the files of `topics/`, embedded.
//!
//! A log is set up from this list, and an operator who makes topics by hand reads the same files.

use std::{collections::BTreeMap, sync::LazyLock};

use config::{Config, File, FileFormat};
use serde::Deserialize;

use super::{FILES, TopicName};

/// The largest record, in bytes of key, value and headers, for which the files' `max.message.bytes` leaves room.
pub const RECORD_BYTES: usize = 16 << 20;

static CATALOGUE: LazyLock<Vec<(TopicName, TopicInfo)>> = LazyLock::new(|| {
    let read = |text| parse(text).expect("the files are part of the program, and a test reads each");
    FILES.iter().map(|(name, _, text)| (*name, read(text))).collect()
});

/// Every topic, in the order of the dataflow.
pub fn catalogue() -> &'static [(TopicName, TopicInfo)] {
    &CATALOGUE
}

/// What a topic's file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: String,
    /// What is in it.
    pub purpose: String,
    /// What its records' keys are.
    pub key: String,
    /// The type of its payloads, all in JSON; `bytes` where they are whatever they were.
    pub payload: String,
    /// The stages that write it, `any stage`, or who else does.
    pub written_by: Vec<String>,
    /// The stages that read it, each as a group of its name; or for a topic that is read whole, who does.
    pub read_by: Vec<String>,
    /// How long its records stay.
    pub retention: Retention,
    /// How many partitions it has in the embedded log.
    pub partitions: PartitionCount,
    /// How it is as a topic of a Kafka cluster.
    pub kafka: KafkaTopic,
}

impl TopicInfo {
    /// The groups that read the topic, each named like its stage; who reads it whole needs no group.
    pub fn groups(&'static self) -> impl Iterator<Item = &'static str> {
        let readers = self.read_by.iter().map(String::as_str);
        readers.filter(|reader| !WHOLE_READERS.contains(reader))
    }
}

/// Who reads topics whole, at its start, and is no stage.
const WHOLE_READERS: [&str; 3] = ["intake", "dead-letters", "status"];

/// A topic of a Kafka cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTopic {
    /// How many partitions it has, where the configuration says no other number.
    pub partitions: u32,
    /// How many copies there are of each partition, where the configuration says no other number.
    pub replicas: u16,
    /// The topic's own settings, under Kafka's names.
    pub config: BTreeMap<String, String>,
}

/// How long records stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// Until every group that reads the topic has got past them.
    Consumed,
    /// After that, too, so that they can be gone through again.
    Replay,
    /// For ever.
    Forever,
    /// The latest of each key, for ever or for a time: readers read all of it.
    Compacted,
}

impl Retention {
    /// The retention where finished threads are kept for replay, or are not.
    #[must_use]
    pub fn with_replay(self, is_kept: bool) -> Self {
        if self == Self::Replay && !is_kept { Self::Consumed } else { self }
    }
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionCount {
    /// As many as topics between stages are to have, `log.partitions`.
    Stages,
    /// One: its records have one order.
    One,
}

fn parse(text: &str) -> Result<TopicInfo, config::ConfigError> {
    Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build()?.try_deserialize()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::{
        dataflow::STAGES,
        topic::{DEAD_LETTERS, HANDLED, INDEX, PROMPTS, REJECTS, WORKERS},
    };

    fn in_repository(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    #[test]
    fn every_topic_has_a_file_and_every_file_a_topic() {
        let entries = fs::read_dir(in_repository("topics")).unwrap();
        let files: BTreeSet<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "schemas")
            .collect();
        let named: BTreeSet<String> = FILES.iter().map(|(name, ..)| format!("{name}.toml")).collect();
        assert_eq!(files, named, "each file of topics/ belongs to a topic of src/topic/mod.rs");
        for (name, info) in catalogue() {
            assert_eq!(name.0, info.name, "topics/{name}.toml: the name is not the file's");
        }
    }

    #[test]
    fn payloads_are_the_types_of_the_constants() {
        let written: Vec<&str> = catalogue().iter().map(|(_, info)| info.payload.as_str()).collect();
        let expected: Vec<&str> = FILES.iter().map(|(_, payload, _)| *payload).collect();
        assert_eq!(written, expected);
    }

    /// Who does what to which topic: `(topic, who)`.
    type Pairs = BTreeSet<(&'static str, &'static str)>;

    fn written_down(who: impl Fn(&'static TopicInfo) -> &'static Vec<String>) -> Pairs {
        let pairs = |info| who(info).iter().map(|who: &String| (info.name.as_str(), who.as_str()));
        catalogue().iter().flat_map(|(_, info)| pairs(info)).collect()
    }

    #[test]
    fn readers_and_writers_are_those_of_the_stages() {
        let mut reads = Pairs::from([
            (INDEX.name.0, "intake"),
            (HANDLED.name.0, "dead-letters"),
            (WORKERS.name.0, "status"),
        ]);
        let mut writes = Pairs::from([
            (PROMPTS.name.0, "intake"),
            (REJECTS.name.0, "intake"),
            (INDEX.name.0, "intake"),
            (DEAD_LETTERS.0, "any stage"),
            (HANDLED.name.0, "dead-letters"),
            (WORKERS.name.0, "run"),
        ]);
        for stage in &STAGES {
            reads.extend(stage.reads.iter().map(|topic| (topic.0, stage.name)));
            writes.extend(stage.writes.iter().map(|topic| (topic.0, stage.name)));
        }
        assert_eq!(written_down(|info| &info.read_by), reads);
        assert_eq!(written_down(|info| &info.written_by), writes);
    }
}
