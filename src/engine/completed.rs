//! How far a group is in one partition: a completed prefix, and the set of completed offsets beyond it.
//!
//! Steps finish out of order, seconds apart. Committing only the prefix would ask every call beyond the slowest
//! step again after a crash; so the set beyond it is kept too, as runs of consecutive offsets.
//!
//! ```text
//!   offset   0 1 2 3 4 5 6 7 8 9
//!   done     ■ ■ ■ · ■ ■ · · ■ ·        prefix() = 3, runs beyond it: 4..6, 8..9
//! ```

use std::collections::BTreeMap;

/// A completed prefix plus the completed offsets beyond it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completed {
    prefix: i64,
    /// Start to end (exclusive) of each run; disjoint, not adjacent, all above `prefix`.
    runs: BTreeMap<i64, i64>,
}

impl Completed {
    /// Everything below `prefix` is done, nothing else.
    pub fn up_to(prefix: i64) -> Self {
        Self { prefix, runs: BTreeMap::new() }
    }

    /// The first offset that is not known to be done.
    pub fn prefix(&self) -> i64 {
        self.prefix
    }

    /// The runs of done offsets beyond the prefix, ascending, as start and end (exclusive).
    pub fn runs(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.runs.iter().map(|(&start, &end)| (start, end))
    }

    /// How many runs lie beyond the prefix.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// How many offsets beyond the prefix are done.
    pub fn beyond(&self) -> i64 {
        self.runs().map(|(start, end)| end - start).sum()
    }

    /// Whether `offset` is done.
    pub fn contains(&self, offset: i64) -> bool {
        offset < self.prefix || self.runs.range(..=offset).next_back().is_some_and(|(_, &end)| offset < end)
    }

    /// Marks one offset as done.
    pub fn insert(&mut self, offset: i64) {
        self.insert_run(offset, offset + 1);
    }

    /// Marks `start..end` as done: a finished step, or a gap in which the log has no records.
    pub fn insert_run(&mut self, start: i64, end: i64) {
        let (mut start, mut end) = (start.max(self.prefix), end);
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.runs.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.runs.range(start..=end).next() {
            self.runs.remove(&next);
            end = end.max(next_end);
        }
        if start == self.prefix {
            self.prefix = end;
        } else {
            self.runs.insert(start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_order_of_inserts_is_the_set_of_what_was_inserted(
            prefix in 0_i64..20,
            inserts in proptest::collection::vec((0_i64..80, 0_i64..6), 0..60),
        ) {
            let mut completed = Completed::up_to(prefix);
            let mut model: BTreeSet<i64> = (0..prefix).collect();
            for (start, length) in inserts {
                completed.insert_run(start, start + length);
                model.extend(start..start + length);
            }
            for offset in 0..100 {
                prop_assert_eq!(completed.contains(offset), model.contains(&offset), "offset {}", offset);
            }
            let first_missing = (0..).find(|offset| !model.contains(offset)).expect("endless");
            prop_assert_eq!(completed.prefix(), first_missing);
            let beyond = model.iter().filter(|&&offset| offset > first_missing).count();
            prop_assert_eq!(usize::try_from(completed.beyond()).expect("small"), beyond);
        }

        #[test]
        fn runs_are_disjoint_not_adjacent_and_above_the_prefix(
            inserts in proptest::collection::vec((0_i64..60, 1_i64..5), 0..60),
        ) {
            let mut completed = Completed::default();
            for (start, length) in inserts {
                completed.insert_run(start, start + length);
                let mut last_end = completed.prefix();
                for (start, end) in completed.runs() {
                    prop_assert!(start > last_end && end > start);
                    last_end = end;
                }
            }
        }
    }
}
