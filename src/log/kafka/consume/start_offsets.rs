//! Where a group begins in partitions for which it has committed nothing.
//!
//! A group without an offset is one of two things: new, or one whose offsets the cluster has thrown away because it
//! was idle for too long (a week, as clusters come). To begin at the first record is right for the one and doubles
//! everything for the other, so only what is certainly new gets an offset without being asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::member::GroupMember;
use crate::{
    log::{
        GroupName, LogError, Partition, Progress,
        kafka::{
            MissingProgress, error,
            read::{Watermarks, committed, watermarks},
        },
    },
    topic::TopicName,
};

/// A partition as a group that reads it finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: Partition,
    /// Up to where the group is done; none where the cluster knows nothing of that.
    pub committed: Option<i64>,
    /// Where the partition begins and ends.
    pub watermarks: Watermarks,
}

impl PartitionOffsets {
    fn is_empty(&self) -> bool {
        self.watermarks.first == self.watermarks.end
    }

    /// The committed offset where it points into the log: at a record that is there, or at its end.
    pub fn place(&self) -> Option<i64> {
        self.committed.filter(|offset| (self.watermarks.first..=self.watermarks.end).contains(offset))
    }

    /// Whether the committed offset points to where the log has nothing: records were deleted before the group was past
    /// them, or the topic was made anew.
    pub fn is_outside(&self) -> bool {
        self.committed.is_some() && self.place().is_none()
    }
}

/// A group and a topic that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicName,
    /// The topic's partitions, ascending.
    pub partitions: Vec<PartitionOffsets>,
}

impl GroupOffsets {
    /// What the group lacks in the topic; none where it has an offset everywhere that points into the log.
    ///
    /// All or nothing for a topic: a single offset would make the others look new the next time.
    pub fn missing_start(&self) -> Option<MissingStart> {
        let (known, missing): (Vec<_>, Vec<_>) =
            self.partitions.iter().copied().partition(|partition| partition.place().is_some());
        // Offsets are thrown away for a whole group, so one that lacks some of them has got new partitions. Nothing is
        // deleted from a partition before the group has an offset there.
        let is_new = |partition: &PartitionOffsets| !known.is_empty() && partition.watermarks.first == 0;
        let is_lost = missing
            .iter()
            .any(|partition| partition.is_outside() || (!partition.is_empty() && !is_new(partition)));
        (!missing.is_empty()).then_some(MissingStart {
            group: self.group,
            topic: self.topic,
            partitions: missing,
            is_lost,
        })
    }
}

/// Where groups that lost their offsets are to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostStart {
    /// At the first record that is still there: all of them are done again.
    Earliest,
    /// After the last record that is there: none of them is done.
    Latest,
}

/// What a group lacks in one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingStart {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicName,
    /// Its partitions of the topic that have no offset, or one that points outside the log.
    pub partitions: Vec<PartitionOffsets>,
    /// Whether there may have been offsets, so that somebody must say where to begin.
    pub is_lost: bool,
}

impl MissingStart {
    /// The offsets to begin with; none where somebody must say so and nobody did.
    pub fn offsets(&self, lost: Option<LostStart>) -> Option<Vec<(Partition, i64)>> {
        let at: fn(Watermarks) -> i64 = match (self.is_lost, lost) {
            (false, _) | (true, Some(LostStart::Earliest)) => |watermarks| watermarks.first,
            (true, Some(LostStart::Latest)) => |watermarks| watermarks.end,
            (true, None) => return None,
        };
        Some(self.partitions.iter().map(|offsets| (offsets.partition, at(offsets.watermarks))).collect())
    }

    /// Offsets that point outside the log, a clause for each partition.
    pub fn outside(&self) -> Vec<String> {
        let outside = self.partitions.iter().filter(|found| found.is_outside());
        let text = |found: &PartitionOffsets| {
            let (index, Watermarks { first, end }) = (found.partition.index, found.watermarks);
            let committed = found.committed.unwrap_or_default();
            format!(
                "partition {index} is committed up to offset {committed}, and its log has {first} to {end}"
            )
        };
        outside.map(text).collect()
    }

    /// How many records, at most, wait in the partitions.
    pub fn waiting(&self) -> i64 {
        self.partitions
            .iter()
            .map(|PartitionOffsets { watermarks, .. }| watermarks.end - watermarks.first)
            .sum()
    }
}

/// The committed progress of partitions that are to be assigned. A missing one stays so where the group may begin at
/// offset 0.
pub(super) fn read_for_assignment(
    member: &GroupMember,
    prefix: &str,
    partitions: &[Partition],
    missing: MissingProgress,
) -> Result<Vec<(Partition, Option<Progress>)>, LogError> {
    let context = format!("reading the progress of {} for an assignment", member.group);
    let gives_up = || member.is_leaving();
    let committed = committed::read(&member.client, prefix, partitions, &context, gives_up)?;
    let mut assigned: Vec<_> = partitions.iter().copied().zip(committed).collect();
    if missing == MissingProgress::Refuse {
        let lacking = assigned.iter().filter(|(_, progress)| progress.is_none());
        let topics: BTreeSet<TopicName> = lacking.map(|(partition, _)| partition.topic).collect();
        for topic in topics {
            begin_in_topic(member, prefix, topic, &mut assigned)?;
        }
    }
    Ok(assigned)
}

/// Fills in where the group begins in the partitions of a topic in which it has committed nothing.
fn begin_in_topic(
    member: &GroupMember,
    prefix: &str,
    topic: TopicName,
    assigned: &mut [(Partition, Option<Progress>)],
) -> Result<(), LogError> {
    let Some(missing) = offsets_in_topic(member, prefix, topic)?.missing_start() else { return Ok(()) };
    let offsets = missing.offsets(None).ok_or_else(|| forgotten(&missing))?;
    let offsets: BTreeMap<Partition, i64> = offsets.into_iter().collect();
    for (partition, progress) in assigned.iter_mut().filter(|(_, progress)| progress.is_none()) {
        let offset = offsets.get(partition).copied().filter(|offset| *offset > 0);
        *progress = offset.map(|offset| Progress { offset, text: String::new() });
    }
    Ok(())
}

/// Says of a member's group that its committed offsets in a topic point outside the log; none where they do not, or
/// where the cluster cannot be asked.
pub(super) fn outside_in_topic(member: &GroupMember, prefix: &str, topic: TopicName) -> Option<LogError> {
    let missing = offsets_in_topic(member, prefix, topic).ok()?.missing_start()?;
    (!missing.outside().is_empty()).then(|| forgotten(&missing))
}

fn forgotten(missing: &MissingStart) -> LogError {
    let MissingStart { group, topic, .. } = missing;
    let outside = missing.outside();
    if !outside.is_empty() {
        let text = format!(
            "the group's place in topic {topic} is not in the log: {}. Records were deleted before the group was past \
             them, or the topic was made anew. Stop its workers and say where it is to begin: \
             avr topics apply --start-lost-groups-at earliest|latest (see avr topics apply --help)",
            outside.join("; ")
        );
        return error::ours(format!("reading as group {group}"), text);
    }
    error::ours(
        format!("joining group {group}"),
        format!(
            "the group has no committed progress in topic {topic}, which has records. A broker forgets the progress of \
             a group that was away for longer than offsets.retention.minutes. Say where it is to begin: \
             avr topics apply --start-lost-groups-at earliest|latest (see avr topics apply --help)"
        ),
    )
}

/// What the member's group finds in a topic.
fn offsets_in_topic(member: &GroupMember, prefix: &str, topic: TopicName) -> Result<GroupOffsets, LogError> {
    let context = format!("looking at topic {topic} for group {}", member.group);
    let gives_up = || member.is_leaving();
    let mut watermarks = watermarks::of_topic(&member.client, prefix, topic, gives_up)?;
    let partitions: Vec<Partition> = watermarks.keys().copied().collect();
    let committed = committed::read(&member.client, prefix, &partitions, &context, gives_up)?;
    // Other members go on meanwhile, so the ends count as they are after the offsets were read.
    for (partition, later) in watermarks::of_topic(&member.client, prefix, topic, gives_up)? {
        watermarks.entry(partition).and_modify(|known| known.end = later.end);
    }
    let partitions = watermarks.into_iter().zip(committed).map(|((partition, watermarks), committed)| {
        PartitionOffsets { partition, committed: committed.map(|progress| progress.offset), watermarks }
    });
    Ok(GroupOffsets { group: member.group, topic, partitions: partitions.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::PROMPTS;

    const DRAFT: GroupName = GroupName("draft");

    /// Partitions as (committed, first, end).
    fn missing(partitions: &[(Option<i64>, i64, i64)]) -> Option<MissingStart> {
        let partitions =
            partitions.iter().zip(0..).map(|(&(committed, first, end), index)| PartitionOffsets {
                partition: Partition { topic: PROMPTS.name, index },
                committed,
                watermarks: Watermarks { first, end },
            });
        let partitions = partitions.collect();
        GroupOffsets { group: DRAFT, topic: PROMPTS.name, partitions }.missing_start()
    }

    /// The offsets that are committed without being asked for: (partition, offset).
    fn unasked(partitions: &[(Option<i64>, i64, i64)]) -> Option<Vec<(i32, i64)>> {
        let offsets = missing(partitions)?.offsets(None)?;
        Some(offsets.into_iter().map(|(partition, offset)| (partition.index, offset)).collect())
    }

    #[test]
    fn a_group_that_has_its_offsets_lacks_nothing() {
        assert_eq!(missing(&[(Some(3), 0, 9), (Some(0), 0, 0)]), None);
        assert_eq!(missing(&[]), None);
    }

    #[test]
    fn an_empty_topic_is_begun_where_it_ends() {
        assert_eq!(unasked(&[(None, 0, 0), (None, 0, 0)]), Some(vec![(0, 0), (1, 0)]));
        assert_eq!(unasked(&[(None, 70, 70)]), Some(vec![(0, 70)]), "all was consumed and deleted");
    }

    #[test]
    fn a_partition_that_was_added_is_begun_at_0() {
        assert_eq!(unasked(&[(Some(40), 12, 90), (None, 0, 5)]), Some(vec![(1, 0)]));
    }

    #[test]
    fn offsets_that_may_have_been_lost_are_not_made_up() {
        for lost in [
            &[(Some(3), 0, 9), (None, 4, 9), (None, 0, 0)][..],
            &[(None, 0, 8), (None, 0, 3)],
            &[(None, 0, 0), (None, 0, 3)],
            &[(None, 40, 90)],
            &[(Some(40), 12, 90), (None, 7, 9)],
        ] {
            let found = missing(lost).expect("something is missing");
            assert!(found.is_lost, "{lost:?}");
            assert_eq!(found.offsets(None), None, "{lost:?}");
        }
    }

    #[test]
    fn an_offset_outside_the_log_is_lost() {
        for (committed, first, end) in [(3, 4, 9), (10, 0, 9), (50, 0, 0), (1, 2, 2)] {
            let found = missing(&[(Some(5), 0, 9), (Some(committed), first, end)]).expect("one is outside");
            assert!(found.is_lost && found.offsets(None).is_none(), "{committed} of {first}..{end}");
            let begins = |lost| found.offsets(Some(lost)).map(|all| (all[0].0.index, all[0].1, all.len()));
            assert_eq!(begins(LostStart::Earliest), Some((1, first, 1)));
            assert_eq!(begins(LostStart::Latest), Some((1, end, 1)));
            let text = found.outside().join("");
            assert_eq!(
                text,
                format!(
                    "partition 1 is committed up to offset {committed}, and its log has {first} to {end}"
                )
            );
        }
        for edge in [4, 9] {
            assert_eq!(missing(&[(Some(edge), 4, 9)]), None, "{edge}");
        }
    }

    #[test]
    fn who_lost_them_says_where_to_begin() {
        let found = missing(&[(None, 40, 90), (None, 0, 0)]).expect("all are missing");
        let offsets = |lost| {
            let offsets = found.offsets(Some(lost)).expect("it was said where");
            offsets.into_iter().map(|(_, offset)| offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(LostStart::Earliest), [40, 0]);
        assert_eq!(offsets(LostStart::Latest), [90, 0]);
        assert_eq!(found.waiting(), 50);
    }

    #[test]
    fn where_lost_groups_begin_says_nothing_about_new_partitions() {
        let found = missing(&[(Some(1), 0, 9), (None, 0, 5)]).expect("one is missing");
        let offsets = found.offsets(Some(LostStart::Latest)).expect("they are new");
        assert_eq!(offsets.iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0]);
    }
}
