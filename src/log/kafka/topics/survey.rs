//! Looks at a cluster: what differs, which groups have nowhere to begin, which records are done with.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::{
    Difference, FoundPartition, FoundTopic, MissingStart, TopicDemands, WantedTopic, consumed, differences,
    missing_starts,
};
use crate::{
    log::{
        GroupName, LogError, Partition,
        kafka::{Admin, StartError},
    },
    topic::{TopicName, catalogue},
};

/// A group and a topic that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundGroup {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicName,
    /// The topic's partitions, ascending.
    pub partitions: Vec<FoundPartition>,
}

/// A cluster as it was found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What the topics are to be.
    pub wanted: Vec<WantedTopic>,
    /// The topics that are there.
    pub found: BTreeMap<TopicName, FoundTopic>,
    /// In what they differ.
    pub differences: Vec<Difference>,
    /// Groups without an offset to begin at.
    pub missing: Vec<MissingStart>,
}

impl Survey {
    /// Whether nothing is left to do.
    pub fn is_fit(&self) -> bool {
        !self.differences.iter().any(Difference::is_wrong) && self.missing.is_empty()
    }
}

/// Why a pipeline must not run over a cluster.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// Topics are missing or break a promise, or groups have lost their place.
    #[error("{}\n{mend}", .wrong.join("\n"))]
    Wrong {
        /// What is wrong, a line each.
        wrong: Vec<String>,
        /// What to do.
        mend: String,
    },
    /// The cluster cannot be asked.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Compares a cluster with what is wanted of it.
///
/// # Errors
/// The cluster does not answer, or does not let us look.
pub async fn survey(admin: &Admin, demands: &TopicDemands) -> Result<Survey, LogError> {
    let wanted = demands.wanted();
    let names: Vec<TopicName> = wanted.iter().map(|topic| topic.name).collect();
    let found = admin.describe(&names).await?;
    let shapes = found.iter().map(|(name, topic)| (*name, topic.partitions)).collect();
    let groups = groups(admin, &shapes).await?;
    let differences = differences(&wanted, &found);
    Ok(Survey { wanted, found, differences, missing: missing_starts(&groups) })
}

/// Whether these stages may run over a cluster; `command` is what mends it, to be shown. Groups of theirs that are
/// certainly new get their first offsets.
///
/// # Errors
/// [`TopicsError::Wrong`] if topics are missing or break a promise, or if one of the `stages` lost its offsets.
pub async fn check(
    admin: &Admin,
    demands: &TopicDemands,
    stages: &[&str],
    command: &str,
) -> Result<(), TopicsError> {
    let survey = survey(admin, demands).await?;
    let differences = survey.differences.iter().filter(|difference| difference.is_wrong());
    let mut wrong: Vec<String> = differences.map(|difference| wrong_text(admin, difference)).collect();
    let missing = survey.missing.iter().filter(|start| stages.contains(&start.group.0));
    let (lost, new): (Vec<&MissingStart>, Vec<_>) = missing.partition(|start| start.is_lost);
    wrong.extend(lost.into_iter().map(|start| lost_text(admin, start)));
    if !wrong.is_empty() {
        return Err(TopicsError::Wrong { wrong, mend: format!("set it right with: {command}") });
    }
    for start in new {
        begin(admin, start).await?;
    }
    Ok(())
}

/// Commits where a new group begins: once records come, it would look like one that lost its place.
async fn begin(admin: &Admin, start: &MissingStart) -> Result<(), LogError> {
    match admin.commit_start(start.group, &start.offsets(None).unwrap_or_default()).await {
        Ok(()) | Err(StartError::Active(_)) => Ok(()),
        Err(StartError::Log(error)) => Err(error),
    }
}

fn wrong_text(admin: &Admin, difference: &Difference) -> String {
    let Difference { topic, what, found, wanted, .. } = difference;
    let name = admin.name(topic.0);
    let text = match what.as_str() {
        "topic" => format!("topic {name} is missing; it should have {wanted}"),
        what => format!("topic {name}: {what} is {found}, and should be {wanted}"),
    };
    let advice = difference.advice().map(|advice| format!(" (apply cannot do that: {advice})"));
    text + &advice.unwrap_or_default()
}

fn lost_text(admin: &Admin, start: &MissingStart) -> String {
    format!(
        "group {} has no offsets for {}, where up to {} records wait: the cluster threw them away because the \
         group was idle for too long, or it never began",
        admin.name(start.group.0),
        admin.name(start.topic.0),
        start.waiting(),
    )
}

/// Deletes what every group is past, in these topics. How many offsets went, by topic.
///
/// # Errors
/// The cluster does not answer or does not allow it.
pub async fn delete_consumed(
    admin: &Admin,
    topics: &[TopicName],
) -> Result<BTreeMap<TopicName, i64>, LogError> {
    let shapes = admin.shapes(topics).await?;
    let shapes = shapes.into_iter().map(|(name, (partitions, _))| (name, partitions)).collect();
    let groups = groups(admin, &shapes).await?;
    let first: BTreeMap<Partition, i64> = groups
        .iter()
        .flat_map(|group| &group.partitions)
        .map(|found| (found.partition, found.first))
        .collect();
    let mut gone = BTreeMap::new();
    for (partition, now) in admin.delete_below(&consumed(&groups)).await? {
        let before = first.get(&partition).copied().unwrap_or(now);
        *gone.entry(partition.topic).or_insert(0) += (now - before).max(0);
    }
    Ok(gone)
}

/// How far each group is in the topics that it reads, of these with so many partitions each.
async fn groups(admin: &Admin, partitions: &BTreeMap<TopicName, u32>) -> Result<Vec<FoundGroup>, LogError> {
    let mut read: BTreeMap<GroupName, Vec<Partition>> = BTreeMap::new();
    for (topic, info) in catalogue() {
        let Some(&count) = partitions.get(topic) else { continue };
        for group in info.groups() {
            let of_topic = (0..count).filter_map(|index| i32::try_from(index).ok());
            let of_topic = of_topic.map(|index| Partition { topic: *topic, index });
            read.entry(GroupName(group)).or_default().extend(of_topic);
        }
    }
    let all: Vec<Partition> = read.values().flatten().copied().collect();
    let bounds = admin.bounds(&all).await?;
    // All at once: each group has a coordinator of its own to be found.
    let mut asked = JoinSet::new();
    for (group, partitions) in read {
        let admin = admin.clone();
        asked.spawn(async move { Ok((group, admin.committed(group, &partitions).await?, partitions)) });
    }
    let mut groups = Vec::new();
    while let Some(answer) = asked.join_next().await {
        let broken = |_| {
            LogError::new("reading the offsets of groups", std::io::Error::other("the call was broken off"))
        };
        let (group, committed, partitions) = answer.map_err(broken)??;
        let mut topics: BTreeMap<TopicName, Vec<FoundPartition>> = BTreeMap::new();
        for partition in partitions {
            let Some(&(first, end)) = bounds.get(&partition) else { continue };
            let committed = committed.get(&partition).copied();
            let found = FoundPartition { partition, committed, first, end };
            topics.entry(partition.topic).or_default().push(found);
        }
        groups.extend(topics.into_iter().map(|(topic, partitions)| FoundGroup { group, topic, partitions }));
    }
    groups.sort_by_key(|found| (found.group, found.topic));
    Ok(groups)
}
