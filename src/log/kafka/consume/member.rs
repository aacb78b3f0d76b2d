//! One member of a group, as its poller and the committer share it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use rdkafka::consumer::Consumer as _;

use super::{
    callbacks::{ClusterPartition, GroupClient},
    owned::OwnedPartitions,
    queues::{CommandQueue, EventQueue},
};
use crate::{
    log::{GroupName, Partition, lock},
    topic::TopicName,
};

/// One member of a group.
pub(crate) struct GroupMember {
    pub(crate) group: GroupName,
    pub(crate) client: GroupClient,
    pub(super) topics: TopicNames,
    pub(super) events: Arc<EventQueue>,
    pub(super) commands: Arc<CommandQueue>,
    owned: Mutex<OwnedPartitions>,
}

impl GroupMember {
    pub(super) fn new(
        group: GroupName,
        client: GroupClient,
        topics: TopicNames,
        events: Arc<EventQueue>,
        commands: Arc<CommandQueue>,
    ) -> Self {
        Self { group, client, topics, events, commands, owned: Mutex::default() }
    }

    /// Whether it leaves its group; a member that does answers no more.
    pub(crate) fn is_leaving(&self) -> bool {
        self.client.context().is_closing()
    }

    /// The partitions that are this member's.
    pub(crate) fn owned(&self) -> MutexGuard<'_, OwnedPartitions> {
        lock(&self.owned)
    }
}

impl fmt::Debug for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupMember").field("group", &self.group).finish_non_exhaustive()
    }
}

/// The names of a member's topics, ours and the cluster's.
#[derive(Clone, Debug)]
pub(super) struct TopicNames(Vec<(String, TopicName)>);

impl TopicNames {
    pub(super) fn new(prefix: &str, names: &[TopicName]) -> Self {
        Self(names.iter().map(|name| (format!("{prefix}{name}"), *name)).collect())
    }

    /// The names in the cluster.
    pub(super) fn in_cluster(&self) -> Vec<&str> {
        self.0.iter().map(|(full, _)| full.as_str()).collect()
    }

    /// The partition of ours that has this name in the cluster.
    pub(super) fn partition(&self, topic: &str, index: i32) -> Option<Partition> {
        let (_, topic) = self.0.iter().find(|(full, _)| full == topic)?;
        Some(Partition { topic: *topic, index })
    }

    /// The partitions of ours that have these names in the cluster.
    pub(super) fn partitions(&self, named: &[ClusterPartition]) -> Vec<Partition> {
        named.iter().filter_map(|(topic, index)| self.partition(topic, *index)).collect()
    }
}
