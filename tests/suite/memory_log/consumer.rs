//! A member of a group.

use std::sync::Arc;

use avr::log::{Budget, Consumer, Event, Generation, GroupName, LogError, Partition};
use tokio::time::Instant;

use super::{
    MemoryProcess,
    group::{Group, MemberId},
    state::State,
};

/// A member of a group. Dropping it leaves the group.
#[derive(Debug)]
pub(crate) struct MemoryConsumer {
    process: MemoryProcess,
    group: GroupName,
    member: MemberId,
    budget: Arc<Budget>,
}

impl MemoryConsumer {
    pub(super) fn new(
        process: MemoryProcess,
        group: GroupName,
        member: MemberId,
        budget: Arc<Budget>,
    ) -> Self {
        Self { process, group, member, budget }
    }

    /// What happens next, if something has.
    fn look(&self, state: &mut State) -> Option<Result<Event, LogError>> {
        if !state.lives(self.process.id) {
            return state.step(self.process.id).err().map(Err);
        }
        state.pass(Instant::now());
        if let Some(event) = state.next_change(self.group, self.member) {
            return Some(Ok(event));
        }
        let turn = self.budget.turn()?;
        let records = state.batch(self.group, self.member)?;
        turn.take(&records);
        Some(Ok(Event::Records(records)))
    }

    fn set_paused(&self, partitions: &[Partition], paused: bool) -> Result<(), LogError> {
        self.process.shared.with(|state| {
            state.step(self.process.id)?;
            let Some(member) = state.group(self.group).and_then(|group| group.member(self.member)) else {
                return Ok(());
            };
            for partition in partitions {
                if let Some(position) = member.held.get_mut(partition) {
                    position.paused = paused;
                }
            }
            Ok(())
        })
    }

    fn change(&self, change: impl FnOnce(&mut Group)) {
        self.process.shared.with(|state| state.change(self.group, change));
    }
}

impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<Event, LogError> {
        self.process.step().await?;
        self.process.draw_silence(self.group);
        // An event that is found is returned with no wait in between, so that none is lost by cancelling.
        let shared = &self.process.shared;
        shared.wait_for(|| shared.with(|state| self.look(state))).await
    }

    fn generation(&self) -> Generation {
        let known = |state: &mut State| Some(state.group(self.group)?.member(self.member)?.generation());
        self.process.shared.with(known).unwrap_or_default()
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.set_paused(partitions, true)
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.set_paused(partitions, false)?;
        self.process.shared.changed.notify_waiters();
        Ok(())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.process.step().await?;
        self.change(|group| group.release(self.member, partitions));
        self.process.step().await
    }

    async fn leave(self) -> Result<(), LogError> {
        self.process.step().await
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.change(|group| group.leave(self.member));
    }
}
