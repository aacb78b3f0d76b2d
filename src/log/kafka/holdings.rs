//! Which partitions a member holds, and since when. A plain value without I/O.
//!
//! A broker checks the generation of a group, and so fences a process that the group has moved on without. It does
//! not check whose a partition is. Results that were made before a partition moved and came back must therefore be
//! refused here.

use std::collections::BTreeMap;

use crate::log::{Generation, Partition, Progress};

/// A partition that is held.
#[derive(Clone, Debug)]
struct Held {
    since: Generation,
    /// What is committed for it, as far as this process knows; none where nothing is.
    known: Option<Progress>,
}

/// The partitions of one member.
#[derive(Debug, Default)]
pub(super) struct Holdings(BTreeMap<Partition, Held>);

impl Holdings {
    /// These partitions are held from now on, with the progress that is committed.
    pub(super) fn take(&mut self, partitions: Vec<(Partition, Option<Progress>)>, since: Generation) {
        let held = |(partition, known)| (partition, Held { since, known });
        self.0.extend(partitions.into_iter().map(held));
    }

    /// These partitions are another's from now on.
    pub(super) fn give_up(&mut self, partitions: &[Partition]) {
        self.0.retain(|partition, _| !partitions.contains(partition));
    }

    /// Whether a partition is held.
    pub(super) fn has(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    /// All partitions that are held.
    pub(super) fn partitions(&self) -> Vec<Partition> {
        self.0.keys().copied().collect()
    }

    /// Whether a partition was held at that time and has been ever since.
    pub(super) fn has_since(&self, partition: Partition, generation: Generation) -> bool {
        self.0.get(&partition).is_some_and(|held| held.since <= generation)
    }

    /// What this process knows to be committed for partitions that it holds.
    pub(super) fn known(&self, partition: Partition) -> Option<&Progress> {
        self.0.get(&partition)?.known.as_ref()
    }

    /// This is committed now.
    pub(super) fn learn(&mut self, partition: Partition, progress: Option<Progress>) {
        if let Some(held) = self.0.get_mut(&partition) {
            held.known = progress;
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
        let mut holdings = Holdings::default();
        assert!(!holdings.has_since(partition, Generation(9)));
        holdings.take(vec![(partition, None)], Generation(3));
        assert!(!holdings.has_since(partition, Generation(2)), "not yet");
        assert!(holdings.has_since(partition, Generation(3)));
        assert!(holdings.has_since(partition, Generation(4)), "another event came meanwhile");
        holdings.give_up(&[partition]);
        assert!(!holdings.has_since(partition, Generation(4)));
        holdings.take(vec![(partition, None)], Generation(5));
        assert!(!holdings.has_since(partition, Generation(4)), "another had it meanwhile");
    }

    #[test]
    fn what_is_committed_is_known_while_it_is_held() {
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        let progress = Progress { offset: 4, text: "text".to_owned() };
        let mut holdings = Holdings::default();
        holdings.learn(partition, Some(progress.clone()));
        assert_eq!(holdings.known(partition), None, "it is not held");
        holdings.take(vec![(partition, None)], Generation(1));
        holdings.learn(partition, Some(progress.clone()));
        assert_eq!(holdings.known(partition), Some(&progress));
    }
}
