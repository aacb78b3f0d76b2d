//! Who of a consumer group reads which partition: a pure state machine, driven by members that join, release
//! and leave, and asked what is to be announced to each.
//!
//! ```text
//!       rebalance           announced         rebalance            announced           release
//! Free ───────────▶ Granted ──────────▶ Owned ───────────▶ Revoking ──────────▶ Revoked ─────────▶ Free
//!   ◀── rebalance ─────┘                  ◀─── rebalance ─────┘
//! ```
//!
//! The rebalance is cooperative: it moves as few partitions as balance allows, and a partition that stays is not
//! interrupted. A partition is nobody's until its last owner has released it or left.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    log::{Generation, Partition},
    topic::TopicName,
};

/// Names a member of any group of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct MemberId(pub(super) u64);

/// Names what stands for a process: a handle of the log and its clones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ProcessId(pub(super) u64);

/// What is announced to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AssignmentChange {
    /// These are its own now.
    Assigned(Vec<Partition>),
    /// These it must release.
    Revoked(Vec<Partition>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartitionOwner {
    Free,
    /// Its own, but it does not know yet.
    Granted(MemberId),
    Owned(MemberId),
    /// To be given up, but it does not know yet.
    Revoking(MemberId),
    /// To be given up, and it knows.
    Revoked(MemberId),
}

impl PartitionOwner {
    /// Who keeps the partition if balance allows.
    fn keeper(self) -> Option<MemberId> {
        match self {
            Self::Granted(member) | Self::Owned(member) | Self::Revoking(member) => Some(member),
            Self::Free | Self::Revoked(_) => None,
        }
    }

    /// Whose progress counts: a grant that was not announced yet gave its owner nothing to make progress with.
    fn owner(self) -> Option<MemberId> {
        match self {
            Self::Owned(member) | Self::Revoking(member) | Self::Revoked(member) => Some(member),
            Self::Free | Self::Granted(_) => None,
        }
    }

    fn aim(self, target: Option<MemberId>) -> Self {
        match self {
            Self::Free | Self::Granted(_) => target.map_or(Self::Free, Self::Granted),
            Self::Owned(member) if target != Some(member) => Self::Revoking(member),
            Self::Revoking(member) if target == Some(member) => Self::Owned(member),
            Self::Owned(_) | Self::Revoking(_) | Self::Revoked(_) => self,
        }
    }

    fn without(self, gone: MemberId) -> Self {
        if self.keeper() == Some(gone) || self.owner() == Some(gone) { Self::Free } else { self }
    }
}

#[derive(Debug)]
struct EmbeddedMember {
    process: ProcessId,
    /// The generation of the latest announcement that gave it partitions.
    generation: Generation,
    topics: BTreeSet<TopicName>,
}

/// One consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, EmbeddedMember>,
    owners: BTreeMap<Partition, PartitionOwner>,
    /// Counts the announcements that gave partitions to members.
    generation: Generation,
    /// The generation in which each partition was given last.
    given_in: BTreeMap<Partition, Generation>,
}

impl Group {
    /// Takes in a reader of `partitions`, which are whole topics.
    pub(super) fn join(&mut self, id: MemberId, process: ProcessId, partitions: &[Partition]) {
        let topics = partitions.iter().map(|partition| partition.topic).collect();
        self.members.insert(id, EmbeddedMember { process, generation: Generation(0), topics });
        for partition in partitions {
            self.owners.entry(*partition).or_insert(PartitionOwner::Free);
        }
        self.rebalance();
    }

    /// Frees everything a member had.
    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        for owner in self.owners.values_mut() {
            *owner = owner.without(id);
        }
        self.rebalance();
    }

    /// Frees those of `partitions` whose revocation was announced to `id`.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(owner) = self.owners.get_mut(partition)
                && *owner == PartitionOwner::Revoked(id)
            {
                *owner = PartitionOwner::Free;
            }
        }
        self.rebalance();
    }

    /// Whether `process` may commit progress of `partition` that it made knowing what `generation` says: one of its
    /// members has it since then or before, and has not released it.
    pub(super) fn may_commit(
        &self,
        process: ProcessId,
        partition: Partition,
        generation: Generation,
    ) -> bool {
        let owner = self.owners.get(&partition).and_then(|owner| owner.owner());
        let is_its = owner.and_then(|owner| self.members.get(&owner)).is_some_and(|m| m.process == process);
        is_its && self.given_in.get(&partition).is_some_and(|given_in| *given_in <= generation)
    }

    /// What `id` knows of the group.
    pub(super) fn generation(&self, id: MemberId) -> Generation {
        self.members.get(&id).map_or(Generation(0), |member| member.generation)
    }

    /// The members for which [`Group::announce`] has something.
    pub(super) fn unannounced(&self) -> BTreeSet<MemberId> {
        let unannounced = self.owners.values().filter_map(|owner| match owner {
            PartitionOwner::Granted(member) | PartitionOwner::Revoking(member) => Some(*member),
            PartitionOwner::Free | PartitionOwner::Owned(_) | PartitionOwner::Revoked(_) => None,
        });
        unannounced.collect()
    }

    /// What is announced to `id` next, losses first; grants only of partitions that are `ready`.
    pub(super) fn announce(
        &mut self,
        id: MemberId,
        ready: impl Fn(Partition) -> bool,
    ) -> Option<AssignmentChange> {
        let revoked = self.advance(PartitionOwner::Revoking(id), PartitionOwner::Revoked(id), |_| true);
        if !revoked.is_empty() {
            return Some(AssignmentChange::Revoked(revoked));
        }
        let assigned = self.advance(PartitionOwner::Granted(id), PartitionOwner::Owned(id), ready);
        if assigned.is_empty() {
            return None;
        }
        self.generation.0 += 1;
        self.given_in.extend(assigned.iter().map(|partition| (*partition, self.generation)));
        if let Some(member) = self.members.get_mut(&id) {
            member.generation = self.generation;
        }
        Some(AssignmentChange::Assigned(assigned))
    }

    fn advance(
        &mut self,
        from: PartitionOwner,
        to: PartitionOwner,
        ready: impl Fn(Partition) -> bool,
    ) -> Vec<Partition> {
        let mut advanced = Vec::new();
        for (partition, owner) in &mut self.owners {
            if *owner == from && ready(*partition) {
                *owner = to;
                advanced.push(*partition);
            }
        }
        advanced
    }

    fn rebalance(&mut self) {
        let mut load = BTreeMap::new();
        let topics: BTreeSet<_> = self.owners.keys().map(|partition| partition.topic).collect();
        for topic in topics {
            let targets = self.targets(topic, &load);
            for (partition, owner) in self.owners.iter_mut().filter(|(partition, _)| partition.topic == topic)
            {
                let target = targets.get(partition).copied();
                *owner = owner.aim(target);
                if let Some(member) = target {
                    *load.entry(member).or_insert(0) += 1;
                }
            }
        }
    }

    /// Who should have each partition of `topic`: as even as can be, and else as it is. Where some must have one
    /// more than others, it is those with the least `load` from other topics, then those that have many already.
    fn targets(&self, topic: TopicName, load: &BTreeMap<MemberId, usize>) -> BTreeMap<Partition, MemberId> {
        let owners: Vec<_> = self.owners.iter().filter(|(partition, _)| partition.topic == topic).collect();
        let kept = |member| owners.iter().filter(|(_, owner)| owner.keeper() == Some(member)).count();
        let mut members: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(&topic))
            .map(|(id, _)| *id)
            .collect();
        members.sort_by_key(|id| (load.get(id).copied().unwrap_or(0), Reverse(kept(*id)), *id));

        let mut places = quotas(&members, owners.len());
        let mut targets = BTreeMap::new();
        for (partition, owner) in &owners {
            if let Some(keeper) = owner.keeper()
                && take_place(&mut places, |member| member == keeper).is_some()
            {
                targets.insert(**partition, keeper);
            }
        }
        for (partition, _) in owners {
            if !targets.contains_key(partition)
                && let Some(member) = take_place(&mut places, |_| true)
            {
                targets.insert(*partition, member);
            }
        }
        targets
    }
}

/// How many of `count` partitions each of `members` should have.
fn quotas(members: &[MemberId], count: usize) -> Vec<(MemberId, usize)> {
    let share = count.checked_div(members.len()).unwrap_or(0);
    let with_one_more = count.checked_rem(members.len()).unwrap_or(0);
    let quota = |(rank, id): (usize, &MemberId)| (*id, share + usize::from(rank < with_one_more));
    members.iter().enumerate().map(quota).collect()
}

fn take_place(places: &mut [(MemberId, usize)], wanted: impl Fn(MemberId) -> bool) -> Option<MemberId> {
    let (member, left) = places.iter_mut().find(|(member, left)| *left > 0 && wanted(*member))?;
    *left -= 1;
    Some(*member)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows everything that was announced.
    const NOW: Generation = Generation(u64::MAX);

    const HERE: ProcessId = ProcessId(0);
    const THERE: ProcessId = ProcessId(1);
    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);
    const C: MemberId = MemberId(3);

    fn topic(name: &'static str, count: i32) -> Vec<Partition> {
        (0..count).map(|index| Partition { topic: TopicName(name), index }).collect()
    }

    fn announce(group: &mut Group, member: MemberId) -> Option<AssignmentChange> {
        group.announce(member, |_| true)
    }

    fn count(change: Option<AssignmentChange>) -> (usize, usize) {
        match change {
            Some(AssignmentChange::Assigned(partitions)) => (partitions.len(), 0),
            Some(AssignmentChange::Revoked(partitions)) => (0, partitions.len()),
            None => (0, 0),
        }
    }

    fn release_all(group: &mut Group, member: MemberId) {
        if let Some(AssignmentChange::Revoked(partitions)) = announce(group, member) {
            group.release(member, &partitions);
        }
    }

    #[test]
    fn a_lone_member_gets_everything() {
        let mut group = Group::default();
        group.join(A, HERE, &topic("t", 4));
        assert_eq!(announce(&mut group, A), Some(AssignmentChange::Assigned(topic("t", 4))));
        assert_eq!(announce(&mut group, A), None);
    }

    #[test]
    fn only_what_moves_is_revoked_and_moves_after_release() {
        let mut group = Group::default();
        let all = topic("t", 5);
        group.join(A, HERE, &all);
        announce(&mut group, A);
        group.join(B, THERE, &all);
        assert_eq!(announce(&mut group, B), None, "nothing is free yet");
        assert_eq!(announce(&mut group, A), Some(AssignmentChange::Revoked(all[3..].to_vec())));
        assert!(group.may_commit(HERE, all[4], NOW), "revoked and not released is still its own");
        group.release(A, &all[3..]);
        assert!(!group.may_commit(HERE, all[4], NOW));
        assert!(!group.may_commit(THERE, all[4], NOW), "granted and not announced is nobody's");
        assert_eq!(announce(&mut group, B), Some(AssignmentChange::Assigned(all[3..].to_vec())));
        assert!(group.may_commit(THERE, all[4], NOW) && group.may_commit(HERE, all[0], NOW));
        assert_eq!(announce(&mut group, A), None);
    }

    #[test]
    fn what_a_leaver_had_goes_to_the_others() {
        let mut group = Group::default();
        let all = topic("t", 4);
        for member in [A, B] {
            group.join(member, HERE, &all);
            announce(&mut group, member);
        }
        release_all(&mut group, A);
        assert_eq!(count(announce(&mut group, B)), (2, 0));
        group.leave(A);
        assert_eq!(count(announce(&mut group, B)), (2, 0));
    }

    #[test]
    fn a_move_that_was_not_announced_is_taken_back() {
        let mut group = Group::default();
        let all = topic("t", 4);
        group.join(A, HERE, &all);
        announce(&mut group, A);
        group.join(B, HERE, &all);
        group.leave(B);
        assert_eq!(announce(&mut group, A), None);
        assert!(group.unannounced().is_empty());
    }

    #[test]
    fn a_move_that_was_announced_is_finished_before_it_is_taken_back() {
        let mut group = Group::default();
        let all = topic("t", 2);
        group.join(A, HERE, &all);
        announce(&mut group, A);
        group.join(B, HERE, &all);
        assert_eq!(count(announce(&mut group, A)), (0, 1));
        group.leave(B);
        assert_eq!(announce(&mut group, A), None);
        group.release(A, &all[1..]);
        assert_eq!(announce(&mut group, A), Some(AssignmentChange::Assigned(all[1..].to_vec())));
    }

    #[test]
    fn grants_wait_until_they_are_ready_and_losses_do_not() {
        let mut group = Group::default();
        let all = topic("t", 2);
        group.join(A, HERE, &all);
        assert_eq!(group.announce(A, |_| false), None);
        assert_eq!(group.unannounced(), BTreeSet::from([A]));
        assert_eq!(
            group.announce(A, |partition| partition.index == 1),
            Some(AssignmentChange::Assigned(all[1..].to_vec()))
        );
        assert_eq!(announce(&mut group, A), Some(AssignmentChange::Assigned(all[..1].to_vec())));
    }

    #[test]
    fn single_partitions_of_many_topics_are_spread() {
        let mut group = Group::default();
        let all: Vec<_> = ["a", "b", "c", "d"].into_iter().flat_map(|name| topic(name, 1)).collect();
        group.join(A, HERE, &all);
        group.join(B, HERE, &all);
        assert_eq!([count(announce(&mut group, A)), count(announce(&mut group, B))], [(2, 0), (2, 0)]);
    }

    #[test]
    fn any_order_of_joining_and_leaving_ends_balanced() {
        let all = topic("t", 7);
        let members = [A, B, C];
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut group, mut present) = (Group::default(), BTreeSet::new());
            for _ in 0..12 {
                let member = members[random.usize(..3)];
                if present.remove(&member) {
                    group.leave(member);
                } else {
                    present.insert(member);
                    group.join(member, HERE, &all);
                }
                release_all(&mut group, members[random.usize(..3)]);
            }
            settle(&mut group, &present);
            check_balance(&group, &present, all.len());
        }
    }

    fn settle(group: &mut Group, present: &BTreeSet<MemberId>) {
        let revoked: Vec<_> =
            group.owners.iter().filter(|(_, owner)| matches!(owner, PartitionOwner::Revoked(_))).collect();
        let revoked: Vec<_> = revoked.iter().map(|(partition, _)| **partition).collect();
        for member in present {
            group.release(*member, &revoked);
        }
        while !group.unannounced().is_empty() {
            for member in present {
                release_all(group, *member);
            }
        }
    }

    fn check_balance(group: &Group, present: &BTreeSet<MemberId>, count: usize) {
        let held = |id| group.owners.values().filter(|owner| **owner == PartitionOwner::Owned(id)).count();
        let counts: Vec<_> = present.iter().map(|id| held(*id)).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{counts:?}");
        assert!(counts.is_empty() || counts.iter().sum::<usize>() == count, "{counts:?}");
    }
}
