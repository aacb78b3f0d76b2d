//! Where a group begins in partitions of which it has committed nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    MissingProgress, failure,
    member::Member,
    progress,
    topics::{FoundGroup, FoundPartition, MissingStart, missing_start},
    watermarks,
};
use crate::{
    log::{LogError, Partition, Progress},
    topic::TopicName,
};

/// How long the cluster may take to say what it has.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// The committed progress of partitions that are to be assigned. A missing one stays so where the group may begin at
/// offset 0.
pub(super) fn progress_of(
    member: &Member,
    prefix: &str,
    partitions: &[Partition],
    missing: MissingProgress,
) -> Result<Vec<(Partition, Option<Progress>)>, LogError> {
    let context = format!("reading the progress of {} for an assignment", member.group);
    let gives_up = || member.is_leaving();
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
    let lacking =
        assigned.iter().filter(|(_, progress)| progress.is_none()).map(|(partition, _)| partition.topic);
    let topics: BTreeSet<TopicName> = lacking.collect();
    for topic in topics {
        let Some(missing) = missing_start(&look(member, prefix, topic)?) else { continue };
        let offsets = missing.offsets(None).ok_or_else(|| forgotten(&missing))?;
        let offsets: BTreeMap<Partition, i64> = offsets.into_iter().collect();
        for (partition, progress) in assigned.iter_mut().filter(|(_, progress)| progress.is_none()) {
            let offset = offsets.get(partition).copied().filter(|offset| *offset > 0);
            *progress = offset.map(|offset| Progress { offset, text: String::new() });
        }
    }
    Ok(())
}

fn forgotten(MissingStart { group, topic, .. }: &MissingStart) -> LogError {
    failure::ours(
        format!("joining group {group}"),
        format!(
            "the group has no committed progress in topic {topic}, which has records. A broker forgets the progress of \
             a group that was away for longer than offsets.retention.minutes. Say where it is to begin: \
             avr topics apply --start-lost-groups-at earliest|latest (see avr topics apply --help)"
        ),
    )
}

/// What the member's group finds in a topic.
fn look(member: &Member, prefix: &str, topic: TopicName) -> Result<FoundGroup, LogError> {
    let context = format!("looking at topic {topic} for group {}", member.group);
    let marks = watermarks::of_topic(&member.native, prefix, topic, LOOK)?;
    let partitions: Vec<Partition> = marks.keys().copied().collect();
    let gives_up = || member.is_leaving();
    let committed = progress::read(&member.native, prefix, &partitions, &context, gives_up)?;
    let found = marks.into_iter().zip(committed).map(|((partition, (first, end)), committed)| {
        FoundPartition { partition, committed: committed.map(|progress| progress.offset), first, end }
    });
    Ok(FoundGroup { group: member.group, topic, partitions: found.collect() })
}
