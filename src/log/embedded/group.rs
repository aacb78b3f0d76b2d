//! Who of a consumer group reads which partition: a pure state machine, driven by members that join, release
//! and leave, and asked for what each is to be told.
//!
//! ```text
//!          rebalance            told               rebalance             told               release
//! Free ───────────────▶ Granted ─────▶ Held ───────────────────▶ Revoking ─────▶ Revoked ──────────▶ Free
//!   ◀─ rebalance ────────────┘           ◀─ rebalance, not told yet ─┘
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

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// These are its own now.
    Assigned(Vec<Partition>),
    /// These it must release.
    Revoked(Vec<Partition>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    /// Its own, but it does not know yet.
    Granted(MemberId),
    Held(MemberId),
    /// To be given up, but it does not know yet.
    Revoking(MemberId),
    /// To be given up, and it knows.
    Revoked(MemberId),
}

impl Hold {
    /// Who keeps the partition if balance allows.
    fn keeper(self) -> Option<MemberId> {
        match self {
            Self::Granted(member) | Self::Held(member) | Self::Revoking(member) => Some(member),
            Self::Free | Self::Revoked(_) => None,
        }
    }

    /// Whose progress counts: a grant that was not told yet gave its owner nothing to make progress with.
    fn owner(self) -> Option<MemberId> {
        match self {
            Self::Held(member) | Self::Revoking(member) | Self::Revoked(member) => Some(member),
            Self::Free | Self::Granted(_) => None,
        }
    }

    fn aim(self, target: Option<MemberId>) -> Self {
        match self {
            Self::Free | Self::Granted(_) => target.map_or(Self::Free, Self::Granted),
            Self::Held(member) if target != Some(member) => Self::Revoking(member),
            Self::Revoking(member) if target == Some(member) => Self::Held(member),
            Self::Held(_) | Self::Revoking(_) | Self::Revoked(_) => self,
        }
    }

    fn without(self, gone: MemberId) -> Self {
        if self.keeper() == Some(gone) || self.owner() == Some(gone) { Self::Free } else { self }
    }
}

#[derive(Debug)]
struct Member {
    process: ProcessId,
    /// The latest telling that gave it partitions.
    told: u64,
    topics: BTreeSet<TopicName>,
}

/// One consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    holds: BTreeMap<Partition, Hold>,
    /// Counts the tellings that gave partitions away, and remembers each partition's latest.
    tellings: u64,
    told_at: BTreeMap<Partition, u64>,
}

impl Group {
    /// Takes in a reader of `partitions`, which are whole topics.
    pub(super) fn join(&mut self, id: MemberId, process: ProcessId, partitions: &[Partition]) {
        let topics = partitions.iter().map(|partition| partition.topic).collect();
        self.members.insert(id, Member { process, told: 0, topics });
        for partition in partitions {
            self.holds.entry(*partition).or_insert(Hold::Free);
        }
        self.rebalance();
    }

    /// Frees everything a member had.
    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        for hold in self.holds.values_mut() {
            *hold = hold.without(id);
        }
        self.rebalance();
    }

    /// Frees those of `partitions` that `id` was told to give up.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(hold) = self.holds.get_mut(partition)
                && *hold == Hold::Revoked(id)
            {
                *hold = Hold::Free;
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
        let owner = self.holds.get(&partition).and_then(|hold| hold.owner());
        let is_its = owner.and_then(|owner| self.members.get(&owner)).is_some_and(|m| m.process == process);
        is_its && self.told_at.get(&partition).is_some_and(|at| *at <= generation.0)
    }

    /// What `id` knows of the group.
    pub(super) fn generation(&self, id: MemberId) -> Generation {
        Generation(self.members.get(&id).map_or(0, |member| member.told))
    }

    /// The members that [`Group::tell`] would tell something.
    pub(super) fn untold(&self) -> BTreeSet<MemberId> {
        let untold = self.holds.values().filter_map(|hold| match hold {
            Hold::Granted(member) | Hold::Revoking(member) => Some(*member),
            Hold::Free | Hold::Held(_) | Hold::Revoked(_) => None,
        });
        untold.collect()
    }

    /// What `id` is to be told next, losses first; grants only of partitions that are `ready`.
    pub(super) fn tell(&mut self, id: MemberId, ready: impl Fn(Partition) -> bool) -> Option<Change> {
        let revoked = self.advance(Hold::Revoking(id), Hold::Revoked(id), |_| true);
        if !revoked.is_empty() {
            return Some(Change::Revoked(revoked));
        }
        let assigned = self.advance(Hold::Granted(id), Hold::Held(id), ready);
        if assigned.is_empty() {
            return None;
        }
        self.tellings += 1;
        self.told_at.extend(assigned.iter().map(|partition| (*partition, self.tellings)));
        if let Some(member) = self.members.get_mut(&id) {
            member.told = self.tellings;
        }
        Some(Change::Assigned(assigned))
    }

    fn advance(&mut self, from: Hold, to: Hold, ready: impl Fn(Partition) -> bool) -> Vec<Partition> {
        let mut advanced = Vec::new();
        for (partition, hold) in &mut self.holds {
            if *hold == from && ready(*partition) {
                *hold = to;
                advanced.push(*partition);
            }
        }
        advanced
    }

    fn rebalance(&mut self) {
        let mut load = BTreeMap::new();
        let topics: BTreeSet<_> = self.holds.keys().map(|partition| partition.topic).collect();
        for topic in topics {
            let targets = self.targets(topic, &load);
            for (partition, hold) in self.holds.iter_mut().filter(|(partition, _)| partition.topic == topic) {
                let target = targets.get(partition).copied();
                *hold = hold.aim(target);
                if let Some(member) = target {
                    *load.entry(member).or_insert(0) += 1;
                }
            }
        }
    }

    /// Who should have each partition of `topic`: as even as can be, and else as it is. Where some must have one
    /// more than others, it is those with the least `load` from other topics, then those that have many already.
    fn targets(&self, topic: TopicName, load: &BTreeMap<MemberId, usize>) -> BTreeMap<Partition, MemberId> {
        let holds: Vec<_> = self.holds.iter().filter(|(partition, _)| partition.topic == topic).collect();
        let kept = |member| holds.iter().filter(|(_, hold)| hold.keeper() == Some(member)).count();
        let mut members: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(&topic))
            .map(|(id, _)| *id)
            .collect();
        members.sort_by_key(|id| (load.get(id).copied().unwrap_or(0), Reverse(kept(*id)), *id));

        let mut room = quotas(&members, holds.len());
        let mut targets = BTreeMap::new();
        for (partition, hold) in &holds {
            if let Some(keeper) = hold.keeper()
                && take_place(&mut room, |member| member == keeper).is_some()
            {
                targets.insert(**partition, keeper);
            }
        }
        for (partition, _) in holds {
            if !targets.contains_key(partition)
                && let Some(member) = take_place(&mut room, |_| true)
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

fn take_place(room: &mut [(MemberId, usize)], wanted: impl Fn(MemberId) -> bool) -> Option<MemberId> {
    let (member, left) = room.iter_mut().find(|(member, left)| *left > 0 && wanted(*member))?;
    *left -= 1;
    Some(*member)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows everything that was told.
    const NOW: Generation = Generation(u64::MAX);

    const HERE: ProcessId = ProcessId(0);
    const THERE: ProcessId = ProcessId(1);
    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);
    const C: MemberId = MemberId(3);

    fn topic(name: &'static str, count: i32) -> Vec<Partition> {
        (0..count).map(|index| Partition { topic: TopicName(name), index }).collect()
    }

    fn tell(group: &mut Group, member: MemberId) -> Option<Change> {
        group.tell(member, |_| true)
    }

    fn count(change: Option<Change>) -> (usize, usize) {
        match change {
            Some(Change::Assigned(partitions)) => (partitions.len(), 0),
            Some(Change::Revoked(partitions)) => (0, partitions.len()),
            None => (0, 0),
        }
    }

    fn release_all(group: &mut Group, member: MemberId) {
        if let Some(Change::Revoked(partitions)) = tell(group, member) {
            group.release(member, &partitions);
        }
    }

    #[test]
    fn a_lone_member_gets_everything() {
        let mut group = Group::default();
        group.join(A, HERE, &topic("t", 4));
        assert_eq!(tell(&mut group, A), Some(Change::Assigned(topic("t", 4))));
        assert_eq!(tell(&mut group, A), None);
    }

    #[test]
    fn only_what_moves_is_revoked_and_moves_after_release() {
        let mut group = Group::default();
        let all = topic("t", 5);
        group.join(A, HERE, &all);
        tell(&mut group, A);
        group.join(B, THERE, &all);
        assert_eq!(tell(&mut group, B), None, "nothing is free yet");
        assert_eq!(tell(&mut group, A), Some(Change::Revoked(all[3..].to_vec())));
        assert!(group.may_commit(HERE, all[4], NOW), "revoked and not released is still its own");
        group.release(A, &all[3..]);
        assert!(!group.may_commit(HERE, all[4], NOW));
        assert!(!group.may_commit(THERE, all[4], NOW), "granted and not told is nobody's");
        assert_eq!(tell(&mut group, B), Some(Change::Assigned(all[3..].to_vec())));
        assert!(group.may_commit(THERE, all[4], NOW) && group.may_commit(HERE, all[0], NOW));
        assert_eq!(tell(&mut group, A), None);
    }

    #[test]
    fn what_a_leaver_had_goes_to_the_others() {
        let mut group = Group::default();
        let all = topic("t", 4);
        for member in [A, B] {
            group.join(member, HERE, &all);
            tell(&mut group, member);
        }
        release_all(&mut group, A);
        assert_eq!(count(tell(&mut group, B)), (2, 0));
        group.leave(A);
        assert_eq!(count(tell(&mut group, B)), (2, 0));
    }

    #[test]
    fn a_move_that_nobody_was_told_of_is_taken_back() {
        let mut group = Group::default();
        let all = topic("t", 4);
        group.join(A, HERE, &all);
        tell(&mut group, A);
        group.join(B, HERE, &all);
        group.leave(B);
        assert_eq!(tell(&mut group, A), None);
        assert!(group.untold().is_empty());
    }

    #[test]
    fn a_move_that_was_told_is_finished_before_it_is_taken_back() {
        let mut group = Group::default();
        let all = topic("t", 2);
        group.join(A, HERE, &all);
        tell(&mut group, A);
        group.join(B, HERE, &all);
        assert_eq!(count(tell(&mut group, A)), (0, 1));
        group.leave(B);
        assert_eq!(tell(&mut group, A), None);
        group.release(A, &all[1..]);
        assert_eq!(tell(&mut group, A), Some(Change::Assigned(all[1..].to_vec())));
    }

    #[test]
    fn grants_wait_until_they_are_ready_and_losses_do_not() {
        let mut group = Group::default();
        let all = topic("t", 2);
        group.join(A, HERE, &all);
        assert_eq!(group.tell(A, |_| false), None);
        assert_eq!(group.untold(), BTreeSet::from([A]));
        assert_eq!(
            group.tell(A, |partition| partition.index == 1),
            Some(Change::Assigned(all[1..].to_vec()))
        );
        assert_eq!(tell(&mut group, A), Some(Change::Assigned(all[..1].to_vec())));
    }

    #[test]
    fn single_partitions_of_many_topics_are_spread() {
        let mut group = Group::default();
        let all: Vec<_> = ["a", "b", "c", "d"].into_iter().flat_map(|name| topic(name, 1)).collect();
        group.join(A, HERE, &all);
        group.join(B, HERE, &all);
        assert_eq!([count(tell(&mut group, A)), count(tell(&mut group, B))], [(2, 0), (2, 0)]);
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
            group.holds.iter().filter(|(_, hold)| matches!(hold, Hold::Revoked(_))).collect();
        let revoked: Vec<_> = revoked.iter().map(|(partition, _)| **partition).collect();
        for member in present {
            group.release(*member, &revoked);
        }
        while !group.untold().is_empty() {
            for member in present {
                release_all(group, *member);
            }
        }
    }

    fn check_balance(group: &Group, present: &BTreeSet<MemberId>, count: usize) {
        let held = |id| group.holds.values().filter(|hold| **hold == Hold::Held(id)).count();
        let counts: Vec<_> = present.iter().map(|id| held(*id)).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.zip(least).is_none_or(|(most, least)| most - least <= 1), "{counts:?}");
        assert!(counts.is_empty() || counts.iter().sum::<usize>() == count, "{counts:?}");
    }
}
