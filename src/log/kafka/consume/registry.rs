//! Which groups this process is a member of: its committers commit progress through its members.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU64, Ordering},
};

use super::member::GroupMember;
use crate::log::{Generation, GroupName, lock};

/// The group members of one process.
#[derive(Debug, Default)]
pub(crate) struct GroupRegistry {
    members: Mutex<Vec<(GroupName, Weak<GroupMember>)>>,
    /// Counts the changes of ownership that became known, see [`Generation`].
    changes: AtomicU64,
}

impl GroupRegistry {
    pub(super) fn add(&self, member: &Arc<GroupMember>) {
        let mut members = lock(&self.members);
        members.retain(|(_, member)| member.strong_count() > 0);
        members.push((member.group, Arc::downgrade(member)));
    }

    /// The members of a group that do not leave it, the latest first.
    pub(crate) fn members_of(&self, group: GroupName) -> Vec<Arc<GroupMember>> {
        let members = lock(&self.members);
        let of_group = members.iter().rev().filter(|(of, _)| *of == group);
        of_group.filter_map(|(_, member)| member.upgrade()).filter(|member| !member.is_leaving()).collect()
    }

    /// Counts one more change, and returns the count.
    pub(super) fn advance(&self) -> Generation {
        Generation(self.changes.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The latest count.
    pub(super) fn latest(&self) -> Generation {
        Generation(self.changes.load(Ordering::Acquire))
    }
}
