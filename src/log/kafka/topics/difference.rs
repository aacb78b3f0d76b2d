//! What is against what should be: which differences there are between topics as they were found and as they are
//! wanted, and what is to be done about each.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    WantedTopic,
    wanted::{MAX_MESSAGE_BYTES, MIN_INSYNC, SEGMENT_BYTES},
};
use crate::topic::{Keep, TopicName};

/// A topic as the cluster has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundTopic {
    /// How many partitions it has.
    pub partitions: u32,
    /// How many copies the partition with the fewest has.
    pub replicas: u16,
    /// Every setting that is in force, under Kafka's names.
    pub config: BTreeMap<String, String>,
    /// Those of them that are the topic's own, and not the cluster's.
    pub own: BTreeSet<String>,
}

/// One respect in which a topic is not as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The topic, inside the project.
    pub topic: TopicName,
    /// In what: `topic`, `partitions`, `replicas`, or the name of a setting.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What should be.
    pub wanted: String,
    /// What is to be done about it.
    pub remedy: Remedy,
}

/// What is to be done about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Create the topic.
    Create,
    /// Add partitions.
    AddPartitions,
    /// Alter the setting.
    Alter,
    /// Cannot be done by a client alone: somebody must decide how.
    ByHand,
    /// Nothing: the operator chose it, and no promise hangs on it.
    Keep,
}

impl Difference {
    /// Whether the pipeline must not run like this.
    pub fn is_wrong(&self) -> bool {
        self.remedy != Remedy::Keep
    }

    /// What somebody may decide, where a client alone can do nothing.
    pub fn advice(&self) -> Option<String> {
        let advice = match self.what.as_str() {
            _ if self.remedy != Remedy::ByHand => return None,
            "replicas" => {
                let found = &self.found;
                format!("say kafka.replicas = {found}, or add copies with kafka-reassign-partitions")
            }
            MIN_INSYNC => "it has too few replicas for that".to_owned(),
            _ => {
                "a compacted topic has one order for all its records; choose another kafka.prefix".to_owned()
            }
        };
        Some(advice)
    }
}

/// Every difference, in the order of `wanted`.
pub fn differences(wanted: &[WantedTopic], found: &BTreeMap<TopicName, FoundTopic>) -> Vec<Difference> {
    wanted.iter().flat_map(|topic| differences_of(topic, found.get(&topic.name))).collect()
}

fn differences_of(wanted: &WantedTopic, found: Option<&FoundTopic>) -> Vec<Difference> {
    let difference = |what: &str, found: String, wanted_text: String, remedy| Difference {
        topic: wanted.name,
        what: what.to_owned(),
        found,
        wanted: wanted_text,
        remedy,
    };
    let Some(found) = found else {
        let shape = format!("partitions {}, replicas {}", wanted.partitions, wanted.replicas);
        return vec![difference("topic", "missing".to_owned(), shape, Remedy::Create)];
    };
    let mut differences = Vec::new();
    if found.partitions != wanted.partitions {
        let remedy = partitions_remedy(wanted, found.partitions);
        let (there, asked) = (found.partitions.to_string(), wanted.partitions.to_string());
        differences.push(difference("partitions", there, asked, remedy));
    }
    if found.replicas != wanted.replicas {
        let remedy = if found.replicas < wanted.replicas { Remedy::ByHand } else { Remedy::Keep };
        let (there, asked) = (found.replicas.to_string(), wanted.replicas.to_string());
        differences.push(difference("replicas", there, asked, remedy));
    }
    for (key, asked) in &wanted.config {
        let there = found.config.get(key).map_or("", String::as_str);
        if let Some(remedy) = setting_remedy(wanted, found, key) {
            differences.push(difference(key, there.to_owned(), asked.clone(), remedy));
        }
    }
    differences
}

/// Partitions can only be added. A compacted topic has one order for all its records, so it cannot have more.
fn partitions_remedy(wanted: &WantedTopic, found: u32) -> Remedy {
    match (found < wanted.partitions, wanted.retention) {
        (true, _) => Remedy::AddPartitions,
        (false, Keep::Compacted) => Remedy::ByHand,
        (false, _) => Remedy::Keep,
    }
}

/// What to do about a setting; none where it is as it should be.
fn setting_remedy(wanted: &WantedTopic, found: &FoundTopic, key: &str) -> Option<Remedy> {
    let (there, asked) = (text(&found.config, key), text(&wanted.config, key));
    match rule(key) {
        _ if there == asked => None,
        Rule::Words if words(there) == words(asked) => None,
        Rule::AtLeast if is_at_least(there, asked) => Some(Remedy::Keep),
        Rule::Segment if is_at_least(there, text(&wanted.config, MAX_MESSAGE_BYTES)) => Some(Remedy::Keep),
        Rule::Free if !there.is_empty() => Some(Remedy::Keep),
        // Nothing could be written to a topic that asks for more copies than it has.
        _ if key == MIN_INSYNC && !is_at_least(&found.replicas.to_string(), asked) => Some(Remedy::ByHand),
        _ => Some(Remedy::Alter),
    }
}

fn text<'a>(config: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

/// What else than the wanted value a setting may have.
enum Rule {
    /// Nothing else.
    Exactly,
    /// The same words in another order.
    Words,
    /// A larger number; `-1` is the largest.
    AtLeast,
    /// Whatever the largest record fits into.
    Segment,
    /// Anything: an operator tunes it.
    Free,
}

fn rule(key: &str) -> Rule {
    match key {
        "cleanup.policy" => Rule::Words,
        "retention.ms" | "retention.bytes" | MAX_MESSAGE_BYTES | MIN_INSYNC => Rule::AtLeast,
        "compression.type" | "max.compaction.lag.ms" | "min.cleanable.dirty.ratio" => Rule::Free,
        SEGMENT_BYTES => Rule::Segment,
        _ => Rule::Exactly,
    }
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(',').map(str::trim).collect()
}

fn is_at_least(found: &str, wanted: &str) -> bool {
    let size = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Some(i64::MAX),
        number => number.ok(),
    };
    matches!((size(found), size(wanted)), (Some(found), Some(wanted)) if found >= wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        log::kafka::topics::TopicDemands,
        topic::{INDEX, RECORDS, SCORED, WORKERS},
    };

    fn wanted() -> Vec<WantedTopic> {
        TopicDemands::default().wanted()
    }

    /// A cluster that has exactly what is wanted, and settings of its own beside.
    fn cluster() -> BTreeMap<TopicName, FoundTopic> {
        let found = |topic: WantedTopic| {
            let own = topic.config.keys().cloned().collect();
            let mut config = topic.config;
            config.insert("message.timestamp.type".into(), "CreateTime".into());
            let (partitions, replicas) = (topic.partitions, topic.replicas);
            (topic.name, FoundTopic { partitions, replicas, config, own })
        };
        wanted().into_iter().map(found).collect()
    }

    /// What comes of one change to the right cluster: what differs, what is there, what is to be done.
    fn after(topic: TopicName, change: impl FnOnce(&mut FoundTopic)) -> Vec<(String, String, Remedy)> {
        let mut cluster = cluster();
        change(cluster.get_mut(&topic).expect("every topic is there"));
        let differences = differences(&wanted(), &cluster);
        assert!(differences.iter().all(|difference| difference.topic == topic), "{differences:?}");
        let seen = |difference: Difference| (difference.what, difference.found, difference.remedy);
        differences.into_iter().map(seen).collect()
    }

    fn set(topic: TopicName, key: &str, value: &str) -> Option<Remedy> {
        let found = after(topic, |found| drop(found.config.insert(key.to_owned(), value.to_owned())));
        assert!(found.len() <= 1 && found.iter().all(|(what, ..)| what == key), "{found:?}");
        found.first().map(|(_, _, remedy)| *remedy)
    }

    #[test]
    fn what_is_wanted_differs_in_nothing() {
        assert_eq!(differences(&wanted(), &cluster()), []);
    }

    #[test]
    fn a_missing_topic_is_one_difference() {
        let mut cluster = cluster();
        cluster.remove(&SCORED.name);
        let differences = differences(&wanted(), &cluster);
        assert_eq!(differences.len(), 1);
        assert_eq!((differences[0].topic, differences[0].remedy), (SCORED.name, Remedy::Create));
        assert_eq!(differences[0].wanted, "partitions 12, replicas 3");
    }

    #[test]
    fn partitions_are_added_and_never_taken_away() {
        let few = after(RECORDS.name, |found| found.partitions = 1);
        assert_eq!(few, [("partitions".to_owned(), "1".to_owned(), Remedy::AddPartitions)]);
        let many = after(RECORDS.name, |found| found.partitions = 100);
        assert_eq!(many, [("partitions".to_owned(), "100".to_owned(), Remedy::Keep)]);
        let two_orders = after(INDEX.name, |found| found.partitions = 2);
        assert_eq!(two_orders, [("partitions".to_owned(), "2".to_owned(), Remedy::ByHand)]);
    }

    #[test]
    fn fewer_replicas_are_wrong_and_more_are_not() {
        let few = after(RECORDS.name, |found| found.replicas = 1);
        assert_eq!(few, [("replicas".to_owned(), "1".to_owned(), Remedy::ByHand)]);
        let many = after(RECORDS.name, |found| found.replicas = 5);
        assert_eq!(many, [("replicas".to_owned(), "5".to_owned(), Remedy::Keep)]);
    }

    #[test]
    fn no_more_copies_are_asked_for_than_there_are() {
        let key = MIN_INSYNC.to_owned();
        let one = after(RECORDS.name, |found| {
            found.replicas = 1;
            found.config.insert(key.clone(), "1".to_owned());
        });
        let by_hand = |what: &str| (what.to_owned(), "1".to_owned(), Remedy::ByHand);
        assert_eq!(one, [by_hand("replicas"), by_hand(MIN_INSYNC)], "else nothing could be written");
        let two = after(RECORDS.name, |found| {
            found.replicas = 2;
            found.config.insert(key.clone(), "1".to_owned());
        });
        assert_eq!(two[1].2, Remedy::Alter);
    }

    #[test]
    fn what_breaks_a_promise_is_altered() {
        for (key, value) in [
            ("retention.ms", "604800000"),
            ("retention.bytes", "1073741824"),
            ("max.message.bytes", "1048588"),
            ("min.insync.replicas", "1"),
            ("unclean.leader.election.enable", "true"),
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "compact,delete"),
            ("retention.ms", "not a number"),
        ] {
            assert_eq!(set(SCORED.name, key, value), Some(Remedy::Alter), "{key} = {value}");
        }
        assert_eq!(set(INDEX.name, SEGMENT_BYTES, "16777216"), Some(Remedy::Alter), "no room for framing");
        let gone = after(SCORED.name, |found| drop(found.config.remove("retention.ms")));
        assert_eq!(gone, [("retention.ms".to_owned(), String::new(), Remedy::Alter)]);
    }

    #[test]
    fn what_an_operator_may_tune_is_kept() {
        for (key, value) in [
            ("max.message.bytes", "104857600"),
            ("min.insync.replicas", "3"),
            ("compression.type", "lz4"),
            ("compression.type", "producer"),
        ] {
            assert_eq!(set(SCORED.name, key, value), Some(Remedy::Keep), "{key} = {value}");
        }
        assert_eq!(set(INDEX.name, SEGMENT_BYTES, "20000000"), Some(Remedy::Keep), "the largest record fits");
        assert_eq!(set(SCORED.name, "flush.ms", "1"), None, "what no file names is nobody's business");
    }

    #[test]
    fn a_limited_retention_may_be_longer_and_not_shorter() {
        let day = 86_400_000;
        let altered = |ms: i64| set(WORKERS.name, "retention.ms", &ms.to_string());
        assert_eq!(altered(day - 1), Some(Remedy::Alter));
        assert_eq!(altered(day), None);
        assert_eq!(altered(day + 1), Some(Remedy::Keep));
        assert_eq!(altered(-1), Some(Remedy::Keep));
    }

    #[test]
    fn the_order_of_policies_says_nothing() {
        assert_eq!(set(WORKERS.name, "cleanup.policy", "delete,compact"), None);
        assert_eq!(set(WORKERS.name, "cleanup.policy", "compact"), Some(Remedy::Alter));
    }
}
