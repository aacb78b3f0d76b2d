//! The coordinator of one consumer group, with cooperative rebalances: only partitions that move are revoked.
//!
//! ```text
//!   free ─▶ granted ─▶ held ─▶ revoked ─▶ free        granted, revoked and lost are told to the member
//!                        └───────┴──▶ lost ─▶ free    when it waits for its next event
//! ```
//!
//! Every grant has an epoch of its own, so that a member which lost a partition and got it again cannot commit
//! before it knows of both.

use std::collections::{BTreeMap, BTreeSet};

use avr::log::{Generation, Partition};
use tokio::time::Instant;

use super::state::ProcessId;

/// A member of any group.
pub(super) type MemberId = u64;

/// Where a member is in a partition that it holds.
#[derive(Debug)]
pub(super) struct Position {
    epoch: u64,
    /// The offset to read next, at least.
    pub(super) next: i64,
    /// Whether its records are held back.
    pub(super) paused: bool,
}

#[derive(Debug)]
struct Owner {
    member: MemberId,
    epoch: u64,
    /// Until when it must be given up, once it is revoked or its owner is dead.
    until: Option<Instant>,
}

/// One member, and what it has not been told yet.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) process: ProcessId,
    /// Whether it takes part: not after it lost everything, until it is heard of again.
    joined: bool,
    /// The latest grant that it was told of.
    told: u64,
    granted: BTreeMap<Partition, u64>,
    pub(super) held: BTreeMap<Partition, Position>,
    revoked: BTreeSet<Partition>,
    lost: BTreeSet<Partition>,
}

/// What a member is told next.
#[derive(Debug)]
pub(super) enum Notice {
    Lost(Vec<Partition>),
    Revoked(Vec<Partition>),
    Granted(Vec<(Partition, u64)>),
}

/// What a rebalance depends on.
pub(super) struct Terms<'a> {
    pub(super) rng: &'a mut fastrand::Rng,
    /// When partitions revoked now are lost.
    pub(super) until: Instant,
    /// Partitions whose progress is not decided: they are nobody's until it is.
    pub(super) undecided: &'a BTreeSet<Partition>,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    partitions: Vec<Partition>,
    members: BTreeMap<MemberId, Member>,
    owners: BTreeMap<Partition, Owner>,
    epochs: u64,
}

impl Group {
    pub(super) fn new(partitions: Vec<Partition>) -> Self {
        Self { partitions, members: BTreeMap::new(), owners: BTreeMap::new(), epochs: 0 }
    }

    /// Whether its members read exactly these partitions.
    pub(super) fn reads(&self, partitions: &[Partition]) -> bool {
        self.members.is_empty() || self.partitions == partitions
    }

    pub(super) fn join(&mut self, member: MemberId, process: ProcessId) {
        let fresh = Member {
            process,
            joined: true,
            told: 0,
            granted: BTreeMap::new(),
            held: BTreeMap::new(),
            revoked: BTreeSet::new(),
            lost: BTreeSet::new(),
        };
        self.members.insert(member, fresh);
    }

    pub(super) fn member(&mut self, member: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&member)
    }

    pub(super) fn members_of(&self, process: ProcessId) -> Vec<MemberId> {
        self.members.iter().filter(|(_, member)| member.process == process).map(|(id, _)| *id).collect()
    }

    /// The member leaves and says so: its partitions are free.
    pub(super) fn leave(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.owners.retain(|_, owner| owner.member != member);
        }
    }

    /// The member is dead, and that is noticed only at `until`.
    pub(super) fn die(&mut self, member: MemberId, until: Instant) {
        self.members.remove(&member);
        self.owners.values_mut().filter(|owner| owner.member == member).for_each(|o| o.until = Some(until));
    }

    /// The member was silent for too long: what it has is lost, and it takes part again once it is heard of.
    pub(super) fn silence(&mut self, id: MemberId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.joined = false;
        member.granted.clear();
        self.owners.iter().filter(|(_, owner)| owner.member == id).for_each(|(p, _)| member.lose(*p));
        self.owners.retain(|_, owner| owner.member != id);
    }

    /// The member is heard of: it takes part again. Whether that is news.
    pub(super) fn hear(&mut self, member: MemberId) -> bool {
        self.member(member).is_some_and(|member| !std::mem::replace(&mut member.joined, true))
    }

    /// Gives up revoked partitions.
    pub(super) fn release(&mut self, id: MemberId, partitions: &[Partition]) {
        let Some(member) = self.members.get_mut(&id) else { return };
        for partition in partitions {
            if self.owners.get(partition).is_some_and(|owner| owner.member == id && owner.until.is_some()) {
                self.owners.remove(partition);
                member.held.remove(partition);
                member.revoked.remove(partition);
            }
        }
    }

    /// Takes away what was not given up in time. Whether there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let is_late = |owner: &Owner| owner.until.is_some_and(|until| until <= now);
        let before = self.owners.len();
        for (partition, owner) in self.owners.iter().filter(|(_, owner)| is_late(owner)) {
            if let Some(member) = self.members.get_mut(&owner.member) {
                member.lose(*partition);
            }
        }
        self.owners.retain(|_, owner| !is_late(owner));
        self.owners.len() < before
    }

    /// When something expires next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.owners.values().filter_map(|owner| owner.until).min()
    }

    /// Whether a member of this process holds the partition, knows that it does, and is not past it.
    pub(super) fn may_commit(
        &self,
        process: ProcessId,
        partition: Partition,
        generation: Generation,
    ) -> bool {
        let Some(owner) = self.owners.get(&partition) else { return false };
        let Some(member) = self.members.get(&owner.member) else { return false };
        member.process == process
            && member
                .held
                .get(&partition)
                .is_some_and(|held| held.epoch == owner.epoch && held.epoch <= generation.0)
    }

    /// Whether the member may be given the partition's records.
    pub(super) fn may_read(&self, partition: Partition) -> bool {
        self.owners.get(&partition).is_some_and(|owner| owner.until.is_none())
    }

    /// Shares the partitions out: free ones are granted, and of members with too many some are revoked. One
    /// wave of revocations at a time.
    pub(super) fn rebalance(&mut self, terms: &mut Terms<'_>) {
        self.grant_free(terms);
        if self.deadline().is_none() {
            self.revoke_surplus(terms);
            self.grant_free(terms);
        }
    }

    fn grant_free(&mut self, terms: &mut Terms<'_>) {
        let free = |p: &Partition| !self.owners.contains_key(p) && !terms.undecided.contains(p);
        let mut free: Vec<Partition> = self.partitions.iter().copied().filter(free).collect();
        terms.rng.shuffle(&mut free);
        for partition in free {
            let loads = self.loads();
            let Some((&member, _)) = loads.iter().min_by_key(|(_, load)| **load) else { return };
            self.grant(partition, member);
        }
    }

    fn grant(&mut self, partition: Partition, id: MemberId) {
        self.epochs += 1;
        self.owners.insert(partition, Owner { member: id, epoch: self.epochs, until: None });
        if let Some(member) = self.members.get_mut(&id) {
            member.granted.insert(partition, self.epochs);
        }
    }

    fn revoke_surplus(&mut self, terms: &mut Terms<'_>) {
        let mut loads = self.loads();
        loop {
            let most = loads.iter().max_by_key(|(_, load)| **load).map(|(id, load)| (*id, *load));
            let least = loads.iter().min_by_key(|(_, load)| **load).map(|(id, load)| (*id, *load));
            let (Some((from, most)), Some((to, least))) = (most, least) else { return };
            if most - least < 2 {
                return;
            }
            self.revoke_one(from, terms);
            loads.insert(from, most - 1);
            loads.insert(to, least + 1);
        }
    }

    fn revoke_one(&mut self, from: MemberId, terms: &mut Terms<'_>) {
        let mut its = self.owners.iter_mut().filter(|(_, o)| o.member == from && o.until.is_none());
        let count = its.by_ref().count();
        let chosen = terms.rng.usize(..count.max(1));
        let mut its = self.owners.iter_mut().filter(|(_, o)| o.member == from && o.until.is_none());
        let Some((&partition, owner)) = its.nth(chosen) else { return };
        let Some(member) = self.members.get_mut(&from) else { return };
        if member.granted.remove(&partition).is_some() {
            self.owners.remove(&partition);
        } else {
            owner.until = Some(terms.until);
            member.revoked.insert(partition);
        }
    }

    /// How many partitions each member that takes part has for good.
    fn loads(&self) -> BTreeMap<MemberId, usize> {
        let joined = self.members.iter().filter(|(_, member)| member.joined);
        let mut loads: BTreeMap<_, _> = joined.map(|(id, _)| (*id, 0)).collect();
        for owner in self.owners.values().filter(|owner| owner.until.is_none()) {
            if let Some(load) = loads.get_mut(&owner.member) {
                *load += 1;
            }
        }
        loads
    }
}

impl Member {
    fn lose(&mut self, partition: Partition) {
        self.granted.remove(&partition);
        self.revoked.remove(&partition);
        if self.held.remove(&partition).is_some() {
            self.lost.insert(partition);
        }
    }

    /// What is to be told, the oldest first.
    pub(super) fn notice(&mut self) -> Option<Notice> {
        if !self.lost.is_empty() {
            return Some(Notice::Lost(std::mem::take(&mut self.lost).into_iter().collect()));
        }
        if !self.revoked.is_empty() {
            return Some(Notice::Revoked(std::mem::take(&mut self.revoked).into_iter().collect()));
        }
        let granted = std::mem::take(&mut self.granted);
        (!granted.is_empty()).then(|| Notice::Granted(granted.into_iter().collect()))
    }

    /// What it was told last.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.told)
    }

    /// The member knows of a grant and reads from `next` on.
    pub(super) fn hold(&mut self, partition: Partition, epoch: u64, next: i64) {
        self.told = self.told.max(epoch);
        self.held.insert(partition, Position { epoch, next, paused: false });
    }
}
