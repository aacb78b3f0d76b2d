//! In what the topics of a cluster differ from what is desired, and what is to be done about each difference.

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{DesiredTopic, MAX_MESSAGE_BYTES, MIN_INSYNC, SEGMENT_BYTES};
use crate::{
    log::kafka::TopicDescription,
    topic::{Retention, TopicName},
};

/// One respect in which a topic is not as it is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// The topic, inside the project.
    pub topic: TopicName,
    /// In what: `topic`, `partitions`, `replicas`, or the name of a setting.
    pub what: String,
    /// What is there.
    pub actual: String,
    /// What should be.
    pub desired: String,
    /// What is to be done about it.
    pub remedy: Remedy,
}

/// What is to be done about a drift.
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
    Leave,
}

impl Remedy {
    /// Whether it is done by asking the cluster for it.
    pub fn is_a_request(self) -> bool {
        matches!(self, Self::Create | Self::AddPartitions | Self::Alter)
    }
}

impl Drift {
    /// Whether the pipeline must not run like this.
    pub fn breaks_a_promise(&self) -> bool {
        self.remedy != Remedy::Leave
    }

    /// What somebody may decide, where a client alone can do nothing.
    pub fn advice(&self) -> Option<String> {
        let advice = match self.what.as_str() {
            _ if self.remedy != Remedy::ByHand => return None,
            "replicas" => {
                let actual = &self.actual;
                format!("say kafka.replicas = {actual}, or add copies with kafka-reassign-partitions")
            }
            MIN_INSYNC => "it has too few replicas for that".to_owned(),
            _ => {
                "a compacted topic has one order for all its records; choose another kafka.prefix".to_owned()
            }
        };
        Some(advice)
    }
}

/// Every drift, in the order of `desired`.
pub fn compare(desired: &[DesiredTopic], actual: &BTreeMap<TopicName, TopicDescription>) -> Vec<Drift> {
    desired.iter().flat_map(|topic| compare_topic(topic, actual.get(&topic.name))).collect()
}

fn compare_topic(desired: &DesiredTopic, actual: Option<&TopicDescription>) -> Vec<Drift> {
    let topic = desired.name;
    let drift = |what: &str, actual: String, desired: String, remedy| Drift {
        topic,
        what: what.to_owned(),
        actual,
        desired,
        remedy,
    };
    let Some(actual) = actual else {
        let shape = format!("partitions {}, replicas {}", desired.partitions, desired.replicas);
        return vec![drift("topic", "missing".to_owned(), shape, Remedy::Create)];
    };
    let mut drifts = Vec::new();
    if actual.partitions != desired.partitions {
        let remedy = partitions_remedy(desired, actual.partitions);
        let (there, asked) = (actual.partitions.to_string(), desired.partitions.to_string());
        drifts.push(drift("partitions", there, asked, remedy));
    }
    if actual.replicas != desired.replicas {
        let remedy = if actual.replicas < desired.replicas { Remedy::ByHand } else { Remedy::Leave };
        let (there, asked) = (actual.replicas.to_string(), desired.replicas.to_string());
        drifts.push(drift("replicas", there, asked, remedy));
    }
    for (key, asked) in &desired.config {
        let there = actual.config.get(key).map_or("", String::as_str);
        if let Some(remedy) = setting_remedy(desired, actual, key) {
            drifts.push(drift(key, there.to_owned(), asked.clone(), remedy));
        }
    }
    drifts
}

/// Partitions can only be added. A compacted topic has one order for all its records, so it cannot have more.
fn partitions_remedy(desired: &DesiredTopic, actual: u32) -> Remedy {
    match (actual < desired.partitions, desired.retention) {
        (true, _) => Remedy::AddPartitions,
        (false, Retention::Compacted) => Remedy::ByHand,
        (false, _) => Remedy::Leave,
    }
}

/// What to do about a setting; none where it is as it should be.
fn setting_remedy(desired: &DesiredTopic, actual: &TopicDescription, key: &str) -> Option<Remedy> {
    let (there, asked) = (text(&actual.config, key), text(&desired.config, key));
    match rule(key) {
        _ if there == asked => None,
        Rule::Words if words(there) == words(asked) => None,
        Rule::AtLeast if is_at_least(there, asked) => Some(Remedy::Leave),
        Rule::Segment if is_at_least(there, text(&desired.config, MAX_MESSAGE_BYTES)) => Some(Remedy::Leave),
        Rule::Free if !there.is_empty() => Some(Remedy::Leave),
        // Nothing could be written to a topic that asks for more copies than it has.
        _ if key == MIN_INSYNC && !is_at_least(&actual.replicas.to_string(), asked) => Some(Remedy::ByHand),
        _ => Some(Remedy::Alter),
    }
}

fn text<'a>(config: &'a BTreeMap<String, String>, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

/// What else than the desired value a setting may have.
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

fn is_at_least(actual: &str, desired: &str) -> bool {
    let size = |text: &str| match text.parse::<i64>() {
        Ok(-1) => Some(i64::MAX),
        number => number.ok(),
    };
    matches!((size(actual), size(desired)), (Some(actual), Some(desired)) if actual >= desired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        provision::TopicOverrides,
        topic::{INDEX, RECORDS, SCORED, WORKERS},
    };

    fn desired() -> Vec<DesiredTopic> {
        TopicOverrides::default().desired()
    }

    /// A cluster that has exactly what is desired, and settings of its own beside.
    fn cluster() -> BTreeMap<TopicName, TopicDescription> {
        let found = |topic: DesiredTopic| {
            let own = topic.config.keys().cloned().collect();
            let mut config = topic.config;
            config.insert("message.timestamp.type".into(), "CreateTime".into());
            let (partitions, replicas) = (topic.partitions, topic.replicas);
            (topic.name, TopicDescription { partitions, replicas, config, own })
        };
        desired().into_iter().map(found).collect()
    }

    /// What comes of one change to the right cluster: what differs, what is there, what is to be done.
    fn after(topic: TopicName, change: impl FnOnce(&mut TopicDescription)) -> Vec<(String, String, Remedy)> {
        let mut cluster = cluster();
        change(cluster.get_mut(&topic).expect("every topic is there"));
        let drifts = compare(&desired(), &cluster);
        assert!(drifts.iter().all(|drift| drift.topic == topic), "{drifts:?}");
        let seen = |drift: Drift| (drift.what, drift.actual, drift.remedy);
        drifts.into_iter().map(seen).collect()
    }

    fn set(topic: TopicName, key: &str, value: &str) -> Option<Remedy> {
        let found = after(topic, |found| drop(found.config.insert(key.to_owned(), value.to_owned())));
        assert!(found.len() <= 1 && found.iter().all(|(what, ..)| what == key), "{found:?}");
        found.first().map(|(_, _, remedy)| *remedy)
    }

    #[test]
    fn what_is_desired_differs_in_nothing() {
        assert_eq!(compare(&desired(), &cluster()), []);
    }

    #[test]
    fn a_missing_topic_is_one_difference() {
        let mut cluster = cluster();
        cluster.remove(&SCORED.name);
        let drifts = compare(&desired(), &cluster);
        assert_eq!(drifts.len(), 1);
        assert_eq!((drifts[0].topic, drifts[0].remedy), (SCORED.name, Remedy::Create));
        assert_eq!(drifts[0].desired, "partitions 12, replicas 3");
    }

    #[test]
    fn partitions_are_added_and_never_taken_away() {
        let few = after(RECORDS.name, |found| found.partitions = 1);
        assert_eq!(few, [("partitions".to_owned(), "1".to_owned(), Remedy::AddPartitions)]);
        let many = after(RECORDS.name, |found| found.partitions = 100);
        assert_eq!(many, [("partitions".to_owned(), "100".to_owned(), Remedy::Leave)]);
        let two_orders = after(INDEX.name, |found| found.partitions = 2);
        assert_eq!(two_orders, [("partitions".to_owned(), "2".to_owned(), Remedy::ByHand)]);
    }

    #[test]
    fn fewer_replicas_are_wrong_and_more_are_not() {
        let few = after(RECORDS.name, |found| found.replicas = 1);
        assert_eq!(few, [("replicas".to_owned(), "1".to_owned(), Remedy::ByHand)]);
        let many = after(RECORDS.name, |found| found.replicas = 5);
        assert_eq!(many, [("replicas".to_owned(), "5".to_owned(), Remedy::Leave)]);
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
            assert_eq!(set(SCORED.name, key, value), Some(Remedy::Leave), "{key} = {value}");
        }
        assert_eq!(
            set(INDEX.name, SEGMENT_BYTES, "20000000"),
            Some(Remedy::Leave),
            "the largest record fits"
        );
        assert_eq!(set(SCORED.name, "flush.ms", "1"), None, "what no file names is nobody's business");
    }

    #[test]
    fn a_limited_retention_may_be_longer_and_not_shorter() {
        let day = 86_400_000;
        let altered = |ms: i64| set(WORKERS.name, "retention.ms", &ms.to_string());
        assert_eq!(altered(day - 1), Some(Remedy::Alter));
        assert_eq!(altered(day), None);
        assert_eq!(altered(day + 1), Some(Remedy::Leave));
        assert_eq!(altered(-1), Some(Remedy::Leave));
    }

    #[test]
    fn the_order_of_policies_says_nothing() {
        assert_eq!(set(WORKERS.name, "cleanup.policy", "delete,compact"), None);
        assert_eq!(set(WORKERS.name, "cleanup.policy", "compact"), Some(Remedy::Alter));
    }
}
