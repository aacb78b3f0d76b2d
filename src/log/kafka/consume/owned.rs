//! Which partitions a member owns, and since when. A plain value without I/O.
//!
//! A broker checks the generation of a group, and so fences a process that the group has moved on without. It does
//! not check who owns a partition. Results that were made before a partition moved and came back must therefore be
//! refused here.

use std::collections::BTreeMap;

use crate::log::{Generation, Partition, Progress};

#[derive(Clone, Debug)]
struct Ownership {
    since: Generation,
    /// The committed progress, as far as this process knows; none where nothing is committed.
    committed: Option<Progress>,
}

/// The partitions that one member owns.
#[derive(Debug, Default)]
pub(crate) struct OwnedPartitions(BTreeMap<Partition, Ownership>);

impl OwnedPartitions {
    /// Takes partitions, each with its committed progress.
    pub(super) fn take(&mut self, partitions: Vec<(Partition, Option<Progress>)>, since: Generation) {
        let owned = |(partition, committed)| (partition, Ownership { since, committed });
        self.0.extend(partitions.into_iter().map(owned));
    }

    /// Gives partitions up: they may be another member's from now on.
    pub(super) fn give_up(&mut self, partitions: &[Partition]) {
        self.0.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether it owns a partition.
    pub(crate) fn has(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    /// All partitions that it owns.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.0.keys().copied().collect()
    }

    /// Whether it owned a partition at that time and has ever since.
    pub(crate) fn has_since(&self, partition: Partition, generation: Generation) -> bool {
        self.0.get(&partition).is_some_and(|owned| owned.since <= generation)
    }

    /// The committed progress of a partition that it owns, as far as this process knows.
    pub(crate) fn committed(&self, partition: Partition) -> Option<&Progress> {
        self.0.get(&partition)?.committed.as_ref()
    }

    /// Notes the committed progress of a partition, if it owns that.
    pub(crate) fn note_committed(&mut self, partition: Partition, progress: Option<Progress>) {
        if let Some(owned) = self.0.get_mut(&partition) {
            owned.committed = progress;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::PROMPTS;

    #[test]
    fn what_moved_and_came_back_is_not_what_it_was() {
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        let mut owned = OwnedPartitions::default();
        assert!(!owned.has_since(partition, Generation(9)));
        owned.take(vec![(partition, None)], Generation(3));
        assert!(!owned.has_since(partition, Generation(2)), "not yet");
        assert!(owned.has_since(partition, Generation(3)));
        assert!(owned.has_since(partition, Generation(4)), "another event came meanwhile");
        owned.give_up(&[partition]);
        assert!(!owned.has_since(partition, Generation(4)));
        owned.take(vec![(partition, None)], Generation(5));
        assert!(!owned.has_since(partition, Generation(4)), "another had it meanwhile");
    }

    #[test]
    fn what_is_committed_is_known_while_it_is_owned() {
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        let progress = Progress { offset: 4, text: "text".to_owned() };
        let mut owned = OwnedPartitions::default();
        owned.note_committed(partition, Some(progress.clone()));
        assert_eq!(owned.committed(partition), None, "it is not owned");
        owned.take(vec![(partition, None)], Generation(1));
        owned.note_committed(partition, Some(progress.clone()));
        assert_eq!(owned.committed(partition), Some(&progress));
    }
}
