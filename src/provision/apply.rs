//! Makes a cluster's topics what they should be, as far as a client can, and believes only what it sees afterwards.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Audit, Drift, Remedy, TopicOverrides, audit};
use crate::{
    log::{
        LogError, Partition,
        kafka::{Admin, LostStart, MissingStart, StartError},
    },
    topic::TopicName,
};

/// How long the brokers may take until all that are asked know of what was made, and how long to wait between two looks.
const SETTLING: Duration = Duration::from_secs(15);
/// How long a setting may take to be seen: the client library does not tell whether the change was refused.
const SETTING: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

const NOT_SEEN: &str = "the cluster took the request and did nothing: allow AlterConfigs on the topic, or see what keeps it as it is";

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

/// What was done about each drift and each missing start.
#[derive(Debug, Default)]
pub struct Applied {
    /// About topics, in the order of the dataflow.
    pub topics: Vec<(Drift, Change)>,
    /// About groups.
    pub starts: Vec<(MissingStart, Change)>,
}

impl Applied {
    /// Whether the cluster is now as it is to be.
    pub fn is_complete(&self) -> bool {
        let changes =
            self.topics.iter().filter(|(drift, _)| drift.breaks_a_promise()).map(|(_, change)| change);
        let mut changes = changes.chain(self.starts.iter().map(|(_, change)| change));
        changes.all(|change| matches!(change, Change::Made | Change::Active))
    }
}

/// Creates and alters what differs, looks again, then commits where groups begin; `lost` says it for groups that lost
/// their offsets. What fails is told and does not keep the rest from being done.
///
/// # Errors
/// The cluster does not answer, or does not let us look.
pub async fn apply(
    admin: &Admin,
    overrides: &TopicOverrides,
    lost: Option<LostStart>,
) -> Result<Applied, LogError> {
    let before = audit(admin, overrides).await?;
    let refused = change_topics(admin, &before).await;
    let is_asked =
        |drift: &&Drift| drift.remedy.is_a_request() && !refused.contains_key(&(drift.topic, drift.remedy));
    let asked: Vec<&Drift> = before.drifts.iter().filter(is_asked).collect();
    let after = if asked.is_empty() { before.clone() } else { settled(admin, overrides, &asked).await? };
    let mut topics = Vec::new();
    for drift in &before.drifts {
        let change = match refused.get(&(drift.topic, drift.remedy)) {
            Some(error) => Change::Failed(error.to_string()),
            None if !drift.remedy.is_a_request() => Change::Left,
            None if is_there(drift, &after) => Change::Failed(NOT_SEEN.to_owned()),
            None => Change::Made,
        };
        topics.push((drift.clone(), change));
    }
    // A rule of the cluster's may make a topic other than it was asked for.
    let is_new = |left: &&Drift| left.breaks_a_promise() && !is_there(left, &before);
    let new = after.drifts.iter().filter(is_new);
    topics.extend(new.map(|drift| (drift.clone(), Change::Failed("the cluster made it so".to_owned()))));
    let mut starts = Vec::new();
    for start in after.missing {
        let change = commit_start(admin, &start, lost).await;
        starts.push((start, change));
    }
    Ok(Applied { topics, starts })
}

/// Asks for everything that a client can change. What the cluster refuses, and why.
async fn change_topics(admin: &Admin, audit: &Audit) -> BTreeMap<(TopicName, Remedy), LogError> {
    let mut refused = BTreeMap::new();
    for desired in &audit.desired {
        for remedy in [Remedy::Create, Remedy::AddPartitions, Remedy::Alter] {
            let is_due = |drift: &&Drift| (drift.topic, drift.remedy) == (desired.name, remedy);
            let due: Vec<&Drift> = audit.drifts.iter().filter(is_due).collect();
            if due.is_empty() {
                continue;
            }
            let result = match remedy {
                Remedy::Create => {
                    admin.create(desired.name, desired.partitions, desired.replicas, &desired.config).await
                }
                Remedy::AddPartitions => admin.add_partitions(desired.name, desired.partitions).await,
                _ => {
                    let settings = due.iter().map(|drift| (drift.what.clone(), drift.desired.clone()));
                    admin.alter(desired.name, &settings.collect()).await
                }
            };
            if let Err(error) = result {
                refused.insert((desired.name, remedy), error);
            }
        }
    }
    refused
}

/// Whether an audit still sees a drift.
fn is_there(drift: &Drift, audit: &Audit) -> bool {
    let is_same = |left: &Drift| (left.topic, &left.what) == (drift.topic, &drift.what);
    audit.drifts.iter().any(|left| is_same(left) && left.breaks_a_promise())
}

/// The cluster once every broker that is asked knows what was `asked` for, or after a time in which it should.
async fn settled(admin: &Admin, overrides: &TopicOverrides, asked: &[&Drift]) -> Result<Audit, LogError> {
    let begun = Instant::now();
    loop {
        let looked = audit(admin, overrides).await;
        let limit = match &looked {
            Ok(audit) => {
                let mut open = asked.iter().filter(|drift| is_there(drift, audit)).peekable();
                match (open.peek().is_some(), open.all(|drift| drift.remedy == Remedy::Alter)) {
                    (false, _) => return looked,
                    (true, true) => SETTING,
                    (true, false) => SETTLING,
                }
            }
            // New topics may have no leaders yet.
            Err(_) => SETTLING,
        };
        if begun.elapsed() > limit {
            return looked;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Commits where a group begins, and makes sure of it: the brokers may not know the partitions yet.
async fn commit_start(admin: &Admin, start: &MissingStart, lost: Option<LostStart>) -> Change {
    let Some(offsets) = start.offsets(lost) else { return Change::Left };
    let offsets: BTreeMap<Partition, i64> = offsets.into_iter().collect();
    let partitions: Vec<Partition> = offsets.keys().copied().collect();
    let asked: Vec<(Partition, i64)> = offsets.iter().map(|(at, offset)| (*at, *offset)).collect();
    let begun = Instant::now();
    loop {
        let committed = match admin.commit_start(start.group, &asked).await {
            Ok(()) => admin.committed(start.group, &partitions).await,
            Err(StartError::Active(_)) if !start.is_lost => return Change::Active,
            Err(error @ StartError::Active(_)) => {
                return Change::Failed(format!("{error}: stop its workers, then do this again"));
            }
            Err(StartError::Log(error)) => Err(error),
        };
        let failure = match committed {
            Ok(committed) if committed == offsets => return Change::Made,
            Ok(_) => "the cluster did not keep the offsets".to_owned(),
            Err(error) => error.to_string(),
        };
        if begun.elapsed() > SETTLING {
            return Change::Failed(failure);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
