//! Topics as `avr topics` shows them: what they are, in what they differ, and what was done.

use super::table::table;
use crate::{
    log::kafka::MissingStart,
    provision::{Applied, Audit, Change, Drift, Remedy, TopicOverrides},
    topic::{Retention, catalogue},
};

/// Gives a topic or group its name in the cluster.
type Name<'a> = &'a dyn Fn(&str) -> String;

/// What differs, what `apply` would do about it, and the `command` that does it.
pub(crate) fn drift(audit: &Audit, name: Name<'_>, command: &str) -> String {
    let mut text = String::new();
    if !audit.drifts.is_empty() {
        let rows: Vec<_> = audit.drifts.iter().map(|found| row(found, name, would(found))).collect();
        text += &table(["TOPIC", "WHAT", "THERE", "SHOULD BE", "APPLY"], &rows);
    }
    if !audit.missing.is_empty() {
        let would = |start: &MissingStart| match start.is_lost {
            true => "wants to be told where".to_owned(),
            false => "commits it".to_owned(),
        };
        text += &starts(audit.missing.iter().map(|start| (start, would(start))), name, "APPLY");
    }
    let (topics, lost) = (audit.desired.len(), lost_groups(audit.missing.iter(), name));
    match audit.is_clean() {
        true if text.is_empty() => format!("All {topics} topics are as they should be.\n"),
        true => {
            format!("{text}\nAll {topics} topics are as they should be; what differs is yours to choose.\n")
        }
        false => format!("{text}{lost}\nTo set it right: {command}\n"),
    }
}

/// What was done.
pub(crate) fn changes(applied: &Applied, name: Name<'_>) -> String {
    let mut text = String::new();
    if !applied.topics.is_empty() {
        let rows: Vec<_> =
            applied.topics.iter().map(|(found, change)| row(found, name, done(found, change))).collect();
        text += &table(["TOPIC", "WHAT", "WAS", "SHOULD BE", "DONE"], &rows);
    }
    if !applied.starts.is_empty() {
        let told = |(start, change): &(MissingStart, Change)| match change {
            Change::Made => "committed".to_owned(),
            Change::Failed(why) => format!("FAILED: {why}"),
            Change::Left if start.is_lost => "nothing: say where".to_owned(),
            Change::Left => "nothing".to_owned(),
            Change::Active => "nothing: its workers are running and begin there by themselves".to_owned(),
        };
        text += &starts(applied.starts.iter().map(|each| (&each.0, told(each))), name, "DONE");
    }
    let left = applied.starts.iter().filter(|(_, change)| *change == Change::Left);
    let lost = lost_groups(left.map(|(start, _)| start), name);
    match applied.is_complete() {
        true if text.is_empty() => "Nothing to do: all topics are as they should be.\n".to_owned(),
        true => format!("{text}\nAll topics are as they should be.\n"),
        false => format!("{text}{lost}\nSomething is left to be done, see above.\n"),
    }
}

/// Every topic with what is known of it.
pub(crate) fn list(overrides: &TopicOverrides, prefix: &str) -> String {
    let head = ["TOPIC", "PARTITIONS", "REPLICAS", "KEPT", "PAYLOAD", "READ BY", "WHAT IS IN IT"];
    let rows: Vec<_> = overrides
        .desired()
        .into_iter()
        .zip(catalogue())
        .map(|(desired, (name, info))| {
            [
                format!("{prefix}{name}"),
                desired.partitions.to_string(),
                desired.replicas.to_string(),
                stay(desired.retention).to_owned(),
                info.payload.clone(),
                info.read_by.join(", "),
                info.purpose.clone(),
            ]
        })
        .collect();
    table(head, &rows)
}

fn stay(retention: Retention) -> &'static str {
    match retention {
        Retention::Consumed => "until all have read them",
        Retention::Replay => "for replay",
        Retention::Forever => "for ever",
        Retention::Compacted => "the latest of each key",
    }
}

fn row(drift: &Drift, name: Name<'_>, last: String) -> [String; 5] {
    let Drift { topic, what, actual, desired, .. } = drift;
    let actual = if actual.is_empty() { "nothing" } else { actual };
    [name(topic.0), what.clone(), actual.to_owned(), desired.clone(), last]
}

fn would(drift: &Drift) -> String {
    match drift.remedy {
        Remedy::Create => "creates it".to_owned(),
        Remedy::AddPartitions => "adds them".to_owned(),
        Remedy::Alter => "sets it".to_owned(),
        Remedy::ByHand => by_hand(drift),
        Remedy::Leave => "leaves it: yours to choose".to_owned(),
    }
}

fn done(drift: &Drift, change: &Change) -> String {
    match (change, drift.remedy) {
        (Change::Failed(why), _) => format!("FAILED: {why}"),
        (Change::Made, Remedy::Create) => "created".to_owned(),
        (Change::Made, Remedy::AddPartitions) => "added".to_owned(),
        (Change::Made, _) => "set".to_owned(),
        (_, Remedy::ByHand) => by_hand(drift),
        (_, _) => "left: yours to choose".to_owned(),
    }
}

fn by_hand(drift: &Drift) -> String {
    format!("cannot: {}", drift.advice().unwrap_or_default())
}

/// Groups without offsets, after an empty line.
fn starts<'a>(found: impl Iterator<Item = (&'a MissingStart, String)>, name: Name<'_>, last: &str) -> String {
    let row = |(start, last): (&MissingStart, String)| {
        let partitions = ranges(start.partitions.iter().map(|found| found.partition.index));
        let waiting = start.waiting().to_string();
        [name(start.group.0), name(start.topic.0), partitions, waiting, last]
    };
    let rows: Vec<_> = found.map(row).collect();
    format!("\n{}", table(["GROUP WITHOUT OFFSET", "TOPIC", "PARTITIONS", "WAITING", last], &rows))
}

/// Ascending numbers, those that follow one another as a range: `0-3,7`.
fn ranges(numbers: impl Iterator<Item = i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): &(i32, i32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

/// What it means that groups lost their offsets, and what can be said about it; nothing where none did.
fn lost_groups<'a>(found: impl Iterator<Item = &'a MissingStart>, name: Name<'_>) -> String {
    let lost: Vec<String> = found
        .filter(|start| start.is_lost)
        .map(|start| {
            let place = format!("{} in {}", name(start.group.0), name(start.topic.0));
            let outside = start.outside();
            if outside.is_empty() { place } else { format!("{place} ({})", outside.join("; ")) }
        })
        .collect();
    if lost.is_empty() {
        return String::new();
    }
    format!(
        "\nNo offset to go on from: {}. A cluster forgets the offsets of a group that was idle for a week \
         (offsets.retention.minutes); or records were deleted too early, or the topic was made anew; or the group never \
         began. Stop its workers and say where it is to begin:\n  \
         --start-lost-groups-at earliest   all records that are still there are done again, and what was made of them \
         before is there twice; right for a group that never began\n  \
         --start-lost-groups-at latest     none of them is done, and threads that wait there never come out\n",
        lost.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        log::{
            GroupName, Partition,
            kafka::{PartitionOffsets, TopicDescription, Watermarks},
        },
        provision::compare,
        topic::TopicName,
    };

    fn overrides() -> TopicOverrides {
        TopicOverrides { partitions: Some(2), ..TopicOverrides::default() }
    }

    fn named(ours: &str) -> String {
        format!("p.{ours}")
    }

    fn audit(
        change: impl FnOnce(&mut BTreeMap<TopicName, TopicDescription>),
        missing: Vec<MissingStart>,
    ) -> Audit {
        let desired = overrides().desired();
        let actual = desired.iter().map(|topic| {
            let (partitions, replicas, config) = (topic.partitions, topic.replicas, topic.config.clone());
            (topic.name, TopicDescription { partitions, replicas, config, ..TopicDescription::default() })
        });
        let mut actual = actual.collect();
        change(&mut actual);
        Audit { drifts: compare(&desired, &actual), desired, missing }
    }

    fn topic(name: &str) -> TopicName {
        catalogue().iter().find(|(known, _)| known.0 == name).expect("it is there").0
    }

    fn missing(is_lost: bool) -> MissingStart {
        let partition = Partition { topic: topic("prompts"), index: 1 };
        let partitions = vec![PartitionOffsets {
            partition,
            committed: None,
            watermarks: Watermarks { first: 0, end: 3 },
        }];
        MissingStart { group: GroupName("draft"), topic: partition.topic, partitions, is_lost }
    }

    /// The words of the line that begins with `start`.
    fn words(text: &str, start: &str) -> String {
        let line =
            text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn many_partitions_take_little_room() {
        assert_eq!(ranges([0, 1, 2, 3, 7, 9, 10].into_iter()), "0-3,7,9-10");
        assert_eq!(ranges([].into_iter()), "");
    }

    #[test]
    fn a_cluster_that_is_right_is_one_sentence() {
        let text = drift(&audit(|_| {}, vec![]), &named, "mend");
        assert_eq!(text, "All 11 topics are as they should be.\n");
        assert_eq!(
            changes(&Applied::default(), &named),
            "Nothing to do: all topics are as they should be.\n"
        );
    }

    #[test]
    fn each_drift_says_what_apply_does() {
        let found = audit(
            |found| {
                found.remove(&topic("records"));
                for (name, key, value) in
                    [("scored", "retention.ms", "1000"), ("drafted", "compression.type", "lz4")]
                {
                    let config = &mut found.get_mut(&topic(name)).expect("it is there").config;
                    config.insert(key.to_owned(), value.to_owned());
                }
                found.get_mut(&topic("index")).expect("it is there").replicas = 1;
            },
            vec![missing(false)],
        );
        let text = drift(&found, &named, "mend it");
        assert_eq!(words(&text, "p.records"), "p.records topic missing partitions 4, replicas 3 creates it");
        assert_eq!(words(&text, "p.scored"), "p.scored retention.ms 1000 -1 sets it");
        assert!(words(&text, "p.drafted").ends_with("lz4 zstd leaves it: yours to choose"), "{text}");
        assert!(words(&text, "p.index").contains("1 3 cannot: say kafka.replicas = 1, or"), "{text}");
        assert_eq!(words(&text, "p.draft "), "p.draft p.prompts 1 3 commits it");
        assert!(text.ends_with("\nTo set it right: mend it\n") && !text.contains("--start-lost"), "{text}");
    }

    #[test]
    fn a_choice_of_the_operators_is_shown_and_is_right() {
        let found =
            audit(|found| found.get_mut(&topic("scored")).expect("it is there").partitions = 9, vec![]);
        let text = drift(&found, &named, "mend");
        assert!(words(&text, "p.scored").contains("9 2 leaves it"), "{text}");
        assert!(
            text.ends_with("All 11 topics are as they should be; what differs is yours to choose.\n"),
            "{text}"
        );
    }

    #[test]
    fn a_lost_group_is_explained_with_what_can_be_said() {
        let text = drift(&audit(|_| {}, vec![missing(true)]), &named, "mend");
        assert!(words(&text, "p.draft ").ends_with("wants to be told where"), "{text}");
        let applied = Applied { topics: vec![], starts: vec![(missing(true), Change::Left)] };
        for text in [text, changes(&applied, &named)] {
            assert!(text.contains("p.draft in p.prompts"), "{text}");
            assert!(text.contains("--start-lost-groups-at earliest   all records"), "{text}");
            assert!(text.contains("--start-lost-groups-at latest     none"), "{text}");
        }
    }

    #[test]
    fn what_failed_says_why() {
        let drift = audit(|found| drop(found.remove(&topic("records"))), vec![]).drifts.remove(0);
        let failed = (drift.clone(), Change::Failed("no room".into()));
        let applied = Applied { topics: vec![failed], starts: vec![(missing(true), Change::Made)] };
        let text = changes(&applied, &named);
        assert!(words(&text, "p.records").ends_with("FAILED: no room"), "{text}");
        assert!(words(&text, "p.draft ").ends_with("committed"), "{text}");
        assert!(text.ends_with("Something is left to be done, see above.\n"), "{text}");
        let applied = Applied { topics: vec![(drift, Change::Made)], starts: vec![] };
        assert!(words(&changes(&applied, &named), "p.records").ends_with("created"));
    }
}
