//! Where a group begins in partitions of which it has committed nothing.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::consumer::Consumer as _;

use super::{
    MissingProgress, failure,
    member::{Member, Native},
    progress, watermarks,
};
use crate::{
    broker::{LogError, Partition, Progress},
    topic::TopicName,
};

/// How long the cluster may take to say what it has.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// What a topic looks like to a group that comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outlook {
    /// Whether any of its partitions has committed progress.
    known: bool,
    /// The first offset that the partition in question has, and the end of it.
    low: i64,
    high: i64,
    /// Whether no partition of the topic has records.
    empty: bool,
}

/// Why a group cannot begin.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    Forgotten,
    Deleted,
}

/// Where to begin in a partition without progress.
fn begin(outlook: Outlook) -> Result<i64, Obstacle> {
    match outlook {
        Outlook { empty: true, low, .. } => Ok(low),
        Outlook { known: false, .. } => Err(Obstacle::Forgotten),
        Outlook { low, high, .. } if low > 0 && high > low => Err(Obstacle::Deleted),
        Outlook { low, .. } => Ok(low),
    }
}

/// The committed progress of partitions that are to be assigned. A missing one stays so where the group may begin at
/// offset 0.
pub(super) fn progress_of(
    member: &Member,
    prefix: &str,
    partitions: &[Partition],
    missing: MissingProgress,
) -> Result<Vec<(Partition, Option<Progress>)>, LogError> {
    let context = format!("reading the progress of {} for an assignment", member.group);
    let gives_up = || member.native.context().is_closing();
    let found = progress::read(&member.native, prefix, partitions, &context, gives_up)?;
    let mut assigned: Vec<_> = partitions.iter().copied().zip(found).collect();
    if missing == MissingProgress::Refuse && assigned.iter().any(|(_, progress)| progress.is_none()) {
        begin_at_what_is_missing(member, prefix, &mut assigned)?;
    }
    Ok(assigned)
}

fn begin_at_what_is_missing(
    member: &Member,
    prefix: &str,
    assigned: &mut [(Partition, Option<Progress>)],
) -> Result<(), LogError> {
    let mut topics = BTreeMap::new();
    for (partition, progress) in assigned.iter_mut().filter(|(_, progress)| progress.is_none()) {
        let looked = match topics.entry(partition.topic) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(look(member, prefix, partition.topic)?)
            }
        };
        let (low, high) = looked.marks.get(partition).copied().unwrap_or_default();
        let empty = looked.marks.values().all(|(low, high)| low == high);
        let outlook = Outlook { known: looked.known, low, high, empty };
        let offset = begin(outlook).map_err(|obstacle| describe(member, *partition, &obstacle))?;
        *progress = (offset > 0).then(|| Progress { offset, text: String::new() });
    }
    Ok(())
}

fn describe(member: &Member, partition: Partition, obstacle: &Obstacle) -> LogError {
    let (group, topic) = (member.group, partition.topic);
    failure::ours(
        format!("joining group {group}"),
        match obstacle {
            Obstacle::Forgotten => format!(
                "the group has no committed progress in topic {topic}, which has records. A broker forgets the \
                 progress of a group that was away for longer than offsets.retention.minutes. To begin anew, and make \
                 again all that was made of these records: avr topics apply"
            ),
            Obstacle::Deleted => format!(
                "the group has no committed progress in {partition}, whose first records were deleted: what became of \
                 them is not known. To begin with the first that is there: avr topics apply"
            ),
        },
    )
}

/// What is known of a topic's partitions.
struct Looked {
    known: bool,
    marks: BTreeMap<Partition, (i64, i64)>,
}

fn look(member: &Member, prefix: &str, topic: TopicName) -> Result<Looked, LogError> {
    let context = format!("looking at topic {topic} for group {}", member.group);
    let marks = watermarks::of_topic(&member.native, prefix, topic, LOOK)?;
    let partitions: Vec<Partition> = marks.keys().copied().collect();
    let gives_up = || is_closing(&member.native);
    let found = progress::read(&member.native, prefix, &partitions, &context, gives_up)?;
    Ok(Looked { known: found.iter().any(Option::is_some), marks })
}

fn is_closing(native: &Native) -> bool {
    native.context().is_closing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_begins_only_where_nothing_can_have_been_forgotten() {
        let outlook = Outlook { known: true, low: 0, high: 9, empty: false };
        let cases = [
            (Outlook { known: false, high: 0, empty: true, ..outlook }, Ok(0)),
            (Outlook { known: false, low: 7, high: 7, empty: true }, Ok(7)),
            (Outlook { known: false, ..outlook }, Err(Obstacle::Forgotten)),
            (Outlook { known: false, high: 0, ..outlook }, Err(Obstacle::Forgotten)),
            (outlook, Ok(0)),
            (Outlook { high: 0, ..outlook }, Ok(0)),
            (Outlook { low: 3, ..outlook }, Err(Obstacle::Deleted)),
            (Outlook { low: 9, ..outlook }, Ok(9)),
        ];
        for (outlook, expected) in cases {
            assert_eq!(begin(outlook), expected, "{outlook:?}");
        }
    }
}
