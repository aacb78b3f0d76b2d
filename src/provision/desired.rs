//! What the topics of a pipeline are to be: their files, and what the configuration puts in the place of their
//! numbers.

use std::collections::BTreeMap;

use crate::topic::{PartitionCount, RECORD_BYTES, Retention, TopicInfo, TopicName, catalogue};

pub(super) const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
pub(super) const MIN_INSYNC: &str = "min.insync.replicas";
/// A record must fit into a segment.
pub(super) const SEGMENT_BYTES: &str = "segment.bytes";

/// What the configuration says about the topics of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOverrides {
    /// Partitions of each topic between stages, instead of what the topics' files say.
    pub partitions: Option<u32>,
    /// Copies of each partition, instead of what the topics' files say.
    pub replicas: Option<u16>,
    /// The largest record, in bytes of key, value and headers.
    pub max_record_bytes: usize,
    /// Whether finished threads stay after selection, so that it can be made again.
    pub keep_for_replay: bool,
}

/// What the topics' files say.
impl Default for TopicOverrides {
    fn default() -> Self {
        Self { partitions: None, replicas: None, max_record_bytes: RECORD_BYTES, keep_for_replay: true }
    }
}

impl TopicOverrides {
    /// The topics that lose what every group is past.
    pub fn consumed(&self) -> Vec<TopicName> {
        let desired = self.desired().into_iter();
        desired.filter(|topic| topic.retention == Retention::Consumed).map(|topic| topic.name).collect()
    }

    /// Every topic as it is to be, in the order of the dataflow.
    pub fn desired(&self) -> Vec<DesiredTopic> {
        catalogue().iter().map(|(name, info)| self.desired_of(*name, info)).collect()
    }

    fn desired_of(&self, name: TopicName, info: &'static TopicInfo) -> DesiredTopic {
        let file = &info.kafka;
        let partitions = match info.partitions {
            PartitionCount::Stages => self.partitions.unwrap_or(file.partitions),
            PartitionCount::One => file.partitions,
        };
        let replicas = self.replicas.unwrap_or(file.replicas);
        let mut config = file.config.clone();
        let retention = info.retention.with_replay(self.keep_for_replay);
        if retention != info.retention {
            config.extend(segments_of_working_topics());
        }
        if let Some(copies) = number(&config, MIN_INSYNC) {
            config.insert(MIN_INSYNC.to_owned(), copies.min(i64::from(replicas)).to_string());
        }
        if let Some(of_file) = number(&config, MAX_MESSAGE_BYTES) {
            let room = of_file.saturating_sub_unsigned(RECORD_BYTES as u64);
            let bytes = room.saturating_add_unsigned(self.max_record_bytes as u64);
            let bytes = bytes.min(i64::from(i32::MAX));
            config.insert(MAX_MESSAGE_BYTES.to_owned(), bytes.to_string());
            if let Some(segment) = number(&config, SEGMENT_BYTES) {
                config.insert(SEGMENT_BYTES.to_owned(), segment.max(bytes).to_string());
            }
        }
        DesiredTopic { name, partitions, replicas, config, retention }
    }
}

/// The setting by which disk is freed soon after records were deleted, as the files of those topics between stages have
/// it that lose what is consumed anyway.
fn segments_of_working_topics() -> Option<(String, String)> {
    let is_working = |info: &&TopicInfo| {
        (info.retention, info.partitions) == (Retention::Consumed, PartitionCount::Stages)
    };
    let mut working = catalogue().iter().map(|(_, info)| info).filter(is_working);
    let (key, value) = working.find_map(|info| info.kafka.config.get_key_value(SEGMENT_BYTES))?;
    Some((key.clone(), value.clone()))
}

fn number(config: &BTreeMap<String, String>, key: &str) -> Option<i64> {
    config.get(key)?.parse().ok()
}

/// A topic as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTopic {
    /// Its name inside the project, without the prefix.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many copies there are of each partition.
    pub replicas: u16,
    /// Its own settings, under Kafka's names.
    pub config: BTreeMap<String, String>,
    /// How long its records stay.
    pub retention: Retention,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::topic::{DRAFTED, SCORED};

    fn plain() -> TopicOverrides {
        TopicOverrides::default()
    }

    fn setting<'a>(topic: &'a DesiredTopic, key: &str) -> &'a str {
        topic.config.get(key).map_or("", String::as_str)
    }

    #[test]
    fn without_demands_the_files_hold() {
        for (desired, (_, info)) in plain().desired().iter().zip(catalogue()) {
            assert_eq!((desired.partitions, desired.replicas), (info.kafka.partitions, info.kafka.replicas));
            assert_eq!(desired.config, info.kafka.config);
        }
    }

    #[test]
    fn a_number_of_partitions_is_for_the_topics_between_stages() {
        let overrides = TopicOverrides { partitions: Some(7), ..plain() };
        let changed: BTreeSet<&str> = overrides
            .desired()
            .iter()
            .filter(|topic| topic.partitions == 7)
            .map(|topic| topic.name.0)
            .collect();
        assert_eq!(changed, BTreeSet::from(["prompts", "drafted", "critiqued", "improved", "scored"]));
    }

    #[test]
    fn what_is_not_kept_for_replay_is_like_any_other_topic_between_stages() {
        let working = TopicOverrides { keep_for_replay: false, ..plain() };
        let desired = working.desired();
        let topic = |name: TopicName| desired.iter().find(|topic| topic.name == name).expect("it is there");
        let (scored, drafted) = (topic(SCORED.name), topic(DRAFTED.name));
        assert_eq!((scored.retention, &scored.config), (Retention::Consumed, &drafted.config));
        let more: Vec<TopicName> =
            working.consumed().into_iter().filter(|topic| !plain().consumed().contains(topic)).collect();
        assert_eq!(more, [SCORED.name]);
        let changed = desired.iter().zip(plain().desired()).filter(|(one, other)| **one != *other);
        assert_eq!(changed.map(|(topic, _)| topic.name).collect::<Vec<_>>(), [SCORED.name], "nothing else");
    }

    #[test]
    fn one_replica_is_enough_where_there_is_one() {
        for topic in (TopicOverrides { replicas: Some(1), ..plain() }).desired() {
            assert_eq!((topic.replicas, setting(&topic, MIN_INSYNC)), (1, "1"), "{}", topic.name);
        }
        for topic in (TopicOverrides { replicas: Some(5), ..plain() }).desired() {
            assert_eq!((topic.replicas, setting(&topic, MIN_INSYNC)), (5, "2"), "{}", topic.name);
        }
    }

    #[test]
    fn room_beside_the_largest_record_stays_as_large() {
        let larger = TopicOverrides { max_record_bytes: RECORD_BYTES + 1000, ..plain() };
        for (before, after) in plain().desired().iter().zip(larger.desired()) {
            let bytes = |topic| setting(topic, MAX_MESSAGE_BYTES).parse::<usize>().unwrap();
            assert!(bytes(before) >= RECORD_BYTES + (64 << 10), "{}: framing needs room", before.name);
            assert_eq!(bytes(&after), bytes(before) + 1000, "{}", before.name);
        }
    }

    #[test]
    fn the_largest_record_fits_into_a_segment() {
        for topic in (TopicOverrides { max_record_bytes: 1 << 30, ..plain() }).desired() {
            let bytes = |key| setting(&topic, key).parse::<i64>().ok();
            let (record, segment) = (bytes(MAX_MESSAGE_BYTES), bytes(SEGMENT_BYTES));
            assert!(record > Some(1 << 30), "{}", topic.name);
            assert!(segment.is_none() || segment >= record, "{}", topic.name);
        }
    }

    /// What every file must say, whatever else it says.
    #[test]
    fn settings_keep_what_the_retention_promises() {
        for topic in plain().desired() {
            let of = |key| setting(&topic, key);
            assert_eq!(
                (of(MIN_INSYNC), of("unclean.leader.election.enable")),
                ("2", "false"),
                "{}",
                topic.name
            );
            assert_eq!(topic.replicas, 3, "{}", topic.name);
            if topic.retention == Retention::Compacted {
                assert!(of("cleanup.policy").starts_with("compact"), "{}", topic.name);
                assert_eq!(topic.partitions, 1, "{}: one order for all its records", topic.name);
            } else {
                let forever = (of("cleanup.policy"), of("retention.ms"), of("retention.bytes"));
                assert_eq!(forever, ("delete", "-1", "-1"), "{}: never by time or size", topic.name);
            }
        }
    }
}
