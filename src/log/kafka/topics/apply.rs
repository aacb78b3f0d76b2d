//! Makes a cluster's topics what they are to be, as far as a client can.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Difference, LostStart, MissingStart, Remedy, Survey, TopicDemands, survey};
use crate::{
    log::{
        LogError,
        kafka::{Admin, StartError},
    },
    topic::TopicName,
};

/// How often the brokers are asked whether they all know of what was made, and how long to wait between.
const LOOKS: u32 = 60;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Made,
    /// It was not: why.
    Failed(String),
    /// Somebody must decide how to make it, or need not make it at all.
    Left,
    /// Members of the group are at work, and begin new partitions by themselves.
    Active,
}

/// What was done about each difference and each missing start.
#[derive(Debug, Default)]
pub struct Applied {
    /// About topics, in the order of the dataflow.
    pub topics: Vec<(Difference, Change)>,
    /// About groups.
    pub starts: Vec<(MissingStart, Change)>,
}

impl Applied {
    /// Whether the cluster is now as it is to be.
    pub fn is_complete(&self) -> bool {
        let changes =
            self.topics.iter().filter(|(difference, _)| difference.is_wrong()).map(|(_, change)| change);
        let mut changes = changes.chain(self.starts.iter().map(|(_, change)| change));
        changes.all(|change| matches!(change, Change::Made | Change::Active))
    }
}

/// Creates and alters what differs, then commits where groups begin; `lost` says it for groups that lost their
/// offsets. What fails is told and does not keep the rest from being done.
///
/// # Errors
/// The cluster does not answer, or does not let us look.
pub async fn apply(
    admin: &Admin,
    demands: &TopicDemands,
    lost: Option<LostStart>,
) -> Result<Applied, LogError> {
    let before = survey(admin, demands).await?;
    let mut changes = BTreeMap::new();
    for topic in &before.wanted {
        for remedy in [Remedy::Create, Remedy::AddPartitions, Remedy::Alter] {
            if let Some(change) = mend(admin, &before, topic.name, remedy).await {
                changes.insert((topic.name, remedy), change);
            }
        }
    }
    let is_new = |(at, change): (&(TopicName, Remedy), &Change)| {
        (at.1 != Remedy::Alter && *change == Change::Made).then_some(at.0)
    };
    let new: BTreeSet<TopicName> = changes.iter().filter_map(is_new).collect();
    let missing = if new.is_empty() { before.missing } else { settled(admin, demands, &new).await?.missing };
    let change_of = |difference: &Difference| changes.get(&(difference.topic, difference.remedy)).cloned();
    let topics = before.differences.into_iter().map(|difference| {
        let change = change_of(&difference).unwrap_or(Change::Left);
        (difference, change)
    });
    let mut applied = Applied { topics: topics.collect(), starts: Vec::new() };
    for start in missing {
        let change = begin(admin, &start, lost).await;
        applied.starts.push((start, change));
    }
    Ok(applied)
}

/// Does what one remedy asks for in one topic; none where nothing asks for it.
async fn mend(admin: &Admin, survey: &Survey, topic: TopicName, remedy: Remedy) -> Option<Change> {
    let wanted = survey.wanted.iter().find(|wanted| wanted.name == topic)?;
    let is_due = |difference: &&Difference| difference.topic == topic && difference.remedy == remedy;
    let due: Vec<&Difference> = survey.differences.iter().filter(is_due).collect();
    if due.is_empty() {
        return None;
    }
    let result = match remedy {
        Remedy::Create => admin.create(wanted).await,
        Remedy::AddPartitions => admin.add_partitions(topic, wanted.partitions).await,
        Remedy::Alter => {
            let settings = due.iter().map(|difference| (difference.what.clone(), difference.wanted.clone()));
            admin.alter(topic, &settings.collect()).await
        }
        Remedy::ByHand | Remedy::Keep => return None,
    };
    Some(result.map_or_else(|error| Change::Failed(error.to_string()), |()| Change::Made))
}

/// The cluster once every broker that is asked knows the `new` topics and partitions.
async fn settled(
    admin: &Admin,
    demands: &TopicDemands,
    new: &BTreeSet<TopicName>,
) -> Result<Survey, LogError> {
    let is_unknown = |difference: &Difference| {
        new.contains(&difference.topic) && matches!(difference.remedy, Remedy::Create | Remedy::AddPartitions)
    };
    for _ in 1..LOOKS {
        match survey(admin, demands).await {
            Ok(survey) if !survey.differences.iter().any(is_unknown) => return Ok(survey),
            Ok(_) => tracing::debug!("not every broker knows the new topics"),
            Err(error) => tracing::debug!(%error, "the new topics have no leaders yet"),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    survey(admin, demands).await
}

/// Commits where a group begins, and makes sure of it: the brokers may not know the partitions yet.
async fn begin(admin: &Admin, start: &MissingStart, lost: Option<LostStart>) -> Change {
    let Some(offsets) = start.offsets(lost) else { return Change::Left };
    let partitions: Vec<_> = offsets.iter().map(|(partition, _)| *partition).collect();
    let mut failure = String::new();
    for _ in 0..LOOKS {
        let committed = match admin.commit_start(start.group, &offsets).await {
            Ok(()) => admin.committed(start.group, &partitions).await,
            Err(StartError::Active(_)) if !start.is_lost => return Change::Active,
            Err(error @ StartError::Active(_)) => {
                return Change::Failed(format!("{error}: stop its workers, then do this again"));
            }
            Err(StartError::Log(error)) => Err(error),
        };
        match committed {
            Ok(committed) if committed.len() == offsets.len() => return Change::Made,
            Ok(_) => "the cluster did not keep the offsets".clone_into(&mut failure),
            Err(error) => failure = error.to_string(),
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Change::Failed(failure)
}
