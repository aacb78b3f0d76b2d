//! Looks at a cluster: in what it differs from what is desired, which groups have nowhere to begin, and whether a stage
//! may run over it.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;

use super::{DesiredTopic, Drift, TopicOverrides, compare};
use crate::{
    log::{
        GroupName, LogError, Partition,
        kafka::{Admin, GroupOffsets, MissingStart, PartitionOffsets, StartError, Watermarks},
    },
    topic::{TopicName, catalogue},
};

/// A cluster beside what it should be.
#[derive(Clone, Debug)]
pub struct Audit {
    /// What the topics should be.
    pub desired: Vec<DesiredTopic>,
    /// In what those of the cluster differ.
    pub drifts: Vec<Drift>,
    /// Groups without an offset to begin at.
    pub missing: Vec<MissingStart>,
}

impl Audit {
    /// Whether nothing is left to do.
    pub fn is_clean(&self) -> bool {
        !self.drifts.iter().any(Drift::breaks_a_promise) && self.missing.is_empty()
    }
}

/// Why a pipeline must not run over a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// Topics are missing or break a promise, or groups have lost their place.
    #[error("{}\nset it right with: {fix_command}", .problems.join("\n"))]
    NotReady {
        /// What is wrong, a line each.
        problems: Vec<String>,
        /// The command that sets it right.
        fix_command: String,
    },
    /// The cluster cannot be asked.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Compares a cluster with what is desired of it.
///
/// # Errors
/// The cluster does not answer, or does not let us look.
pub async fn audit(admin: &Admin, overrides: &TopicOverrides) -> Result<Audit, LogError> {
    let desired = overrides.desired();
    let names: Vec<TopicName> = desired.iter().map(|topic| topic.name).collect();
    let actual = admin.describe(&names).await?;
    let partitions = actual.iter().map(|(name, topic)| (*name, topic.partitions)).collect();
    let groups = group_offsets(admin, &partitions).await?;
    let missing = groups.iter().filter_map(GroupOffsets::missing_start).collect();
    Ok(Audit { drifts: compare(&desired, &actual), desired, missing })
}

/// Whether these stages may run over a cluster; `fix_command` is what sets it right, to be shown. Groups of theirs that
/// are certainly new get their first offsets.
///
/// # Errors
/// [`ProvisionError::NotReady`] if topics are missing or break a promise, or if one of the `stages` lost its offsets.
pub async fn check(
    admin: &Admin,
    overrides: &TopicOverrides,
    stages: &[&str],
    fix_command: &str,
) -> Result<(), ProvisionError> {
    let Audit { drifts, missing, .. } = audit(admin, overrides).await?;
    let broken = drifts.iter().filter(|drift| drift.breaks_a_promise());
    let mut problems: Vec<String> = broken.map(|drift| drift_text(admin, drift)).collect();
    let missing = missing.iter().filter(|start| stages.contains(&start.group.0));
    let (lost, new): (Vec<&MissingStart>, Vec<_>) = missing.partition(|start| start.is_lost);
    problems.extend(lost.into_iter().map(|start| lost_text(admin, start)));
    if !problems.is_empty() {
        return Err(ProvisionError::NotReady { problems, fix_command: fix_command.to_owned() });
    }
    for start in new {
        commit_start(admin, start).await?;
    }
    Ok(())
}

/// Commits where a new group begins: once records come, it would look like one that lost its place.
async fn commit_start(admin: &Admin, start: &MissingStart) -> Result<(), LogError> {
    match admin.commit_start(start.group, &start.offsets(None).unwrap_or_default()).await {
        Ok(()) | Err(StartError::Active(_)) => Ok(()),
        Err(StartError::Log(error)) => Err(error),
    }
}

fn drift_text(admin: &Admin, drift: &Drift) -> String {
    let Drift { topic, what, actual, desired, .. } = drift;
    let name = admin.name(topic.0);
    let text = match what.as_str() {
        "topic" => format!("topic {name} is missing; it should have {desired}"),
        what => format!("topic {name}: {what} is {actual}, and should be {desired}"),
    };
    let advice = drift.advice().map(|advice| format!(" (apply cannot do that: {advice})"));
    text + &advice.unwrap_or_default()
}

fn lost_text(admin: &Admin, start: &MissingStart) -> String {
    let outside = start.outside();
    if !outside.is_empty() {
        return format!(
            "group {} has no place in {}: {}; records were deleted before the group was past them, or the topic was \
             made anew (say --start-lost-groups-at)",
            admin.name(start.group.0),
            admin.name(start.topic.0),
            outside.join("; "),
        );
    }
    format!(
        "group {} has no offsets for {}, where up to {} records wait: the cluster threw them away because the \
         group was idle for too long, or it never began",
        admin.name(start.group.0),
        admin.name(start.topic.0),
        start.waiting(),
    )
}

/// How far each group is in the topics that it reads, of these with so many partitions each.
pub(super) async fn group_offsets(
    admin: &Admin,
    partitions: &BTreeMap<TopicName, u32>,
) -> Result<Vec<GroupOffsets>, LogError> {
    let read = partitions_of_groups(partitions);
    let all: Vec<Partition> = read.values().flatten().copied().collect();
    let watermarks = admin.watermarks(&all).await?;
    // All at once: each group has a coordinator of its own to be found.
    let asked = read.into_iter().map(|(group, partitions)| async move {
        let committed = admin.committed(group, &partitions).await?;
        Ok((group, partitions, committed))
    });
    let asked = try_join_all(asked).await?;
    let watermarks = with_later_ends(admin, watermarks, asked.iter().flat_map(|(.., at)| at)).await?;
    let mut groups = Vec::new();
    for (group, partitions, committed) in asked {
        let mut topics: BTreeMap<TopicName, Vec<PartitionOffsets>> = BTreeMap::new();
        for partition in partitions {
            let Some(&watermarks) = watermarks.get(&partition) else { continue };
            let committed = committed.get(&partition).copied();
            let offsets = PartitionOffsets { partition, committed, watermarks };
            topics.entry(partition.topic).or_default().push(offsets);
        }
        groups.extend(topics.into_iter().map(|(topic, partitions)| GroupOffsets {
            group,
            topic,
            partitions,
        }));
    }
    Ok(groups)
}

/// Watermarks that were read before the committed offsets. Groups go on meanwhile, so the end of a partition counts as
/// it is afterwards where an offset is beyond it.
async fn with_later_ends(
    admin: &Admin,
    mut watermarks: BTreeMap<Partition, Watermarks>,
    committed: impl Iterator<Item = (&Partition, &i64)>,
) -> Result<BTreeMap<Partition, Watermarks>, LogError> {
    let is_beyond = |at: &Partition, offset: i64| watermarks.get(at).is_some_and(|known| offset > known.end);
    let beyond: Vec<Partition> =
        committed.filter(|(at, offset)| is_beyond(at, **offset)).map(|(at, _)| *at).collect();
    for (partition, later) in admin.watermarks(&beyond).await? {
        watermarks.entry(partition).and_modify(|known| known.end = later.end);
    }
    Ok(watermarks)
}

/// The partitions that each group reads.
fn partitions_of_groups(counts: &BTreeMap<TopicName, u32>) -> BTreeMap<GroupName, Vec<Partition>> {
    let mut read: BTreeMap<GroupName, Vec<Partition>> = BTreeMap::new();
    for (topic, info) in catalogue() {
        let count = counts.get(topic).map_or(0, |&count| i32::try_from(count).unwrap_or(i32::MAX));
        for group in info.groups() {
            let of_topic = (0..count).map(|index| Partition { topic: *topic, index });
            read.entry(GroupName(group)).or_default().extend(of_topic);
        }
    }
    read
}
