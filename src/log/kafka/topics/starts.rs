//! Where groups begin: an offset for every partition that a group reads, before its first member comes.
//!
//! A group without an offset is one of two things: new, or one whose offsets the cluster has thrown away because it
//! was idle for too long (a week, as clusters come). To begin at the first record is right for the one and doubles
//! everything for the other, so only what is certainly new gets an offset without being asked for.

use super::FoundGroup;
use crate::{
    log::{GroupName, Partition},
    topic::TopicName,
};

/// One partition as a group that reads it finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundPartition {
    /// The partition.
    pub partition: Partition,
    /// Up to where the group is done; none where the cluster knows nothing of that.
    pub committed: Option<i64>,
    /// The first offset that is kept.
    pub first: i64,
    /// The offset that the next record will at least have.
    pub end: i64,
}

impl FoundPartition {
    fn is_empty(&self) -> bool {
        self.first == self.end
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
    /// Its partitions of the topic that have no offset.
    pub partitions: Vec<FoundPartition>,
    /// Whether there may have been offsets, so that somebody must say where to begin.
    pub is_lost: bool,
}

impl MissingStart {
    /// The offsets to begin with; none where somebody must say so and nobody did.
    pub fn offsets(&self, lost: Option<LostStart>) -> Option<Vec<(Partition, i64)>> {
        let at: fn(&FoundPartition) -> i64 = match (self.is_lost, lost) {
            (false, _) | (true, Some(LostStart::Earliest)) => |found| found.first,
            (true, Some(LostStart::Latest)) => |found| found.end,
            (true, None) => return None,
        };
        Some(self.partitions.iter().map(|found| (found.partition, at(found))).collect())
    }

    /// How many records, at most, wait in the partitions.
    pub fn waiting(&self) -> i64 {
        self.partitions.iter().map(|found| found.end - found.first).sum()
    }
}

/// What each group lacks, one entry for each topic in which it lacks something.
pub fn missing_starts(found: &[FoundGroup]) -> Vec<MissingStart> {
    found.iter().filter_map(missing_start).collect()
}

/// What a group lacks in one topic; none where it has an offset everywhere.
///
/// All or nothing for a topic: a single offset would make the others look new the next time.
pub fn missing_start(found: &FoundGroup) -> Option<MissingStart> {
    let (known, missing): (Vec<_>, Vec<_>) =
        found.partitions.iter().copied().partition(|partition| partition.committed.is_some());
    // Offsets are thrown away for a whole group, so one that lacks some of them has got new partitions. Nothing is
    // deleted from a partition before the group has an offset there.
    let is_new = |partition: &FoundPartition| !known.is_empty() && partition.first == 0;
    let is_lost = missing.iter().any(|partition| !partition.is_empty() && !is_new(partition));
    (!missing.is_empty()).then_some(MissingStart {
        group: found.group,
        topic: found.topic,
        partitions: missing,
        is_lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::PROMPTS;

    const DRAFT: GroupName = GroupName("draft");

    /// Partitions as (committed, first, end).
    fn missing(partitions: &[(Option<i64>, i64, i64)]) -> Option<MissingStart> {
        let partitions = partitions.iter().zip(0..).map(|(&(committed, first, end), index)| FoundPartition {
            partition: Partition { topic: PROMPTS.name, index },
            committed,
            first,
            end,
        });
        missing_starts(&[FoundGroup { group: DRAFT, topic: PROMPTS.name, partitions: partitions.collect() }])
            .pop()
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
