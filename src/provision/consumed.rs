//! Which records are done with: everything below the least committed offset of the groups that read a partition.

use std::collections::BTreeMap;

use super::audit::group_offsets;
use crate::{
    log::{
        LogError, Partition,
        kafka::{Admin, GroupOffsets},
    },
    topic::TopicName,
};

/// Deletes what every group is past, in these topics. How many offsets went, by topic.
///
/// # Errors
/// The cluster does not answer or does not allow it.
pub async fn delete_consumed(
    admin: &Admin,
    topics: &[TopicName],
) -> Result<BTreeMap<TopicName, i64>, LogError> {
    let shapes = admin.shapes(topics).await?;
    let partitions = shapes.into_iter().map(|(name, (partitions, _))| (name, partitions)).collect();
    let groups = group_offsets(admin, &partitions).await?;
    let offsets = groups.iter().flat_map(|group| &group.partitions);
    let first: BTreeMap<Partition, i64> =
        offsets.map(|offsets| (offsets.partition, offsets.watermarks.first)).collect();
    let mut gone = BTreeMap::new();
    for (partition, now) in admin.delete_below(&consumed(&groups)).await? {
        let before = first.get(&partition).copied().unwrap_or(now);
        *gone.entry(partition.topic).or_insert(0) += (now - before).max(0);
    }
    Ok(gone)
}

/// For every partition from which something can be deleted: the first offset that stays.
///
/// A partition for which some group has no offset, or one outside the log, loses nothing: nobody knows what that group
/// still needs.
pub fn consumed(groups: &[GroupOffsets]) -> BTreeMap<Partition, i64> {
    let mut least: BTreeMap<Partition, Option<i64>> = BTreeMap::new();
    let mut first: BTreeMap<Partition, i64> = BTreeMap::new();
    for partition in groups.iter().flat_map(|group| &group.partitions) {
        let so_far = least.entry(partition.partition).or_insert(partition.place());
        *so_far = so_far.zip(partition.place()).map(|(a, b)| a.min(b));
        first.insert(partition.partition, partition.watermarks.first);
    }
    let deletable = |(partition, least): (Partition, Option<i64>)| {
        let least = least.filter(|offset| first.get(&partition).is_some_and(|first| offset > first))?;
        Some((partition, least))
    };
    least.into_iter().filter_map(deletable).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        log::{
            GroupName,
            kafka::{PartitionOffsets, Watermarks},
        },
        topic::PROMPTS,
    };

    fn at(index: i32) -> Partition {
        Partition { topic: PROMPTS.name, index }
    }

    /// Groups that read the same partitions, each with what it has committed in them; all begin at `first`.
    fn groups(first: i64, committed: &[Vec<Option<i64>>]) -> Vec<GroupOffsets> {
        let partition = |(index, committed): (i32, &Option<i64>)| PartitionOffsets {
            partition: at(index),
            committed: *committed,
            watermarks: Watermarks { first, end: 1000 },
        };
        let group = |committed: &Vec<Option<i64>>| GroupOffsets {
            group: GroupName("any"),
            topic: PROMPTS.name,
            partitions: (0..).zip(committed).map(partition).collect(),
        };
        committed.iter().map(group).collect()
    }

    #[test]
    fn the_slowest_group_decides() {
        let found = groups(5, &[vec![Some(40), Some(10)], vec![Some(30), Some(90)]]);
        assert_eq!(consumed(&found), BTreeMap::from([(at(0), 30), (at(1), 10)]));
    }

    #[test]
    fn a_group_without_an_offset_keeps_everything() {
        let found = groups(0, &[vec![Some(40), Some(10)], vec![None, Some(90)]]);
        assert_eq!(consumed(&found), BTreeMap::from([(at(1), 10)]));
        let found = groups(0, &[vec![None, None], vec![Some(40), Some(90)]]);
        assert_eq!(consumed(&found), BTreeMap::new());
    }

    #[test]
    fn a_group_whose_place_is_not_in_the_log_keeps_everything() {
        assert_eq!(consumed(&groups(5, &[vec![Some(1001)], vec![Some(30)]])), BTreeMap::new());
    }

    #[test]
    fn what_is_deleted_already_is_not_deleted_again() {
        assert_eq!(consumed(&groups(40, &[vec![Some(40), Some(39)]])), BTreeMap::new());
        assert_eq!(consumed(&[]), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn nothing_goes_that_a_group_still_needs(
            first in 0i64..50,
            committed in prop::collection::vec(prop::collection::vec(prop::option::of(0i64..100), 3), 1..4),
        ) {
            let deleted = consumed(&groups(first, &committed));
            for index in 0..3 {
                let needs = committed.iter().map(|group| group[index]).min().flatten();
                let all_known = committed.iter().all(|group| group[index].is_some());
                let expected = needs.filter(|offset| all_known && *offset > first);
                prop_assert_eq!(deleted.get(&at(i32::try_from(index).unwrap())).copied(), expected);
            }
        }
    }
}
