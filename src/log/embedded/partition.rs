//! What is known in memory of one partition: its bounds, its groups' progress, and its latest records.
//!
//! ```text
//! 0 ······ first ───────── end − tail ═════════ end ······ next
//!  deleted        on disk            in memory     reserved
//! ```
//!
//! Offsets are dense in this log, so the tail needs none of its own.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::log::Progress;
use crate::topic::Retention;

/// The most records that one commit deletes of a partition, so that a group which jumps far ahead, or the first to
/// get past a long backlog, does not make a commit wait for all of it.
const DELETED_AT_ONCE: i64 = 1024;

/// How much one read may take. The first record is always taken, so that a large one cannot stop its partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimit {
    /// Records.
    pub(super) records: usize,
    /// Bytes.
    pub(super) bytes: usize,
    used: bool,
}

impl ReadLimit {
    /// A limit of so many records and bytes.
    pub(super) fn new(records: usize, bytes: usize) -> Self {
        Self { records, bytes, used: false }
    }

    /// Takes a place for a record of `size` bytes, if there is one.
    pub(super) fn take(&mut self, size: usize) -> bool {
        if self.used && (self.records == 0 || self.bytes < size) {
            return false;
        }
        self.used = true;
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        true
    }
}

/// Where the records asked for are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Not written yet.
    Nothing,
    /// Here.
    Memory {
        /// The offset of the first: what lies before is deleted.
        from: i64,
        /// One after the other, encoded.
        encoded: Vec<Bytes>,
    },
    /// In the database, up to this end.
    Disk {
        /// Where to begin: what lies before is deleted.
        from: i64,
        /// The first offset that is not there.
        until: i64,
    },
}

/// One partition.
#[derive(Debug)]
pub(super) struct PartitionLog {
    retention: Retention,
    first: i64,
    end: i64,
    next: i64,
    progress: BTreeMap<String, Progress>,
    tail: VecDeque<Bytes>,
    tail_bytes: usize,
}

impl PartitionLog {
    /// A partition as the database has it.
    pub(super) fn new(
        retention: Retention,
        first: i64,
        end: i64,
        progress: BTreeMap<String, Progress>,
    ) -> Self {
        Self { retention, first, end, next: end, progress, tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// The first offset that is kept.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// The offset behind the last visible record.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The bytes of records held in memory.
    pub(super) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// How far `group` is, if it ever committed.
    pub(super) fn progress(&self, group: &str) -> Option<&Progress> {
        self.progress.get(group)
    }

    /// The offset for one more record, which is not visible yet.
    pub(super) fn reserve(&mut self) -> i64 {
        self.next += 1;
        self.next - 1
    }

    /// Where the partition begins once `written` is the progress of these groups, if that moves: records that every
    /// group which ever committed is past are not kept. One step is bounded; the next progress goes on.
    pub(super) fn first_after<'a>(
        &self,
        written: impl Iterator<Item = (&'a str, &'a Progress)> + Clone,
    ) -> Option<i64> {
        let is_written = |group: &str| written.clone().any(|(name, _)| name == group);
        let others = self.progress.iter().filter(|(group, _)| !is_written(group));
        let offsets = others.map(|(_, progress)| progress.offset);
        let least = offsets.chain(written.clone().map(|(_, progress)| progress.offset)).min()?;
        let first = least.min(self.end).min(self.first + DELETED_AT_ONCE);
        (self.retention == Retention::Consumed && first > self.first).then_some(first)
    }

    /// Makes a group's progress visible.
    pub(super) fn set_progress(&mut self, group: &str, progress: Progress) {
        match self.progress.get_mut(group) {
            Some(known) => *known = progress,
            None => drop(self.progress.insert(group.to_owned(), progress)),
        }
    }

    /// Makes the record at the end visible and keeps it in the tail.
    pub(super) fn append(&mut self, offset: i64, encoded: Bytes) {
        debug_assert_eq!(offset, self.end, "one writer appends in the order of its reservations");
        self.end = offset + 1;
        self.tail_bytes += encoded.len();
        self.tail.push_back(encoded);
    }

    /// Forgets what lies before `first`.
    pub(super) fn cut(&mut self, first: i64) {
        self.first = self.first.max(first);
        while !self.tail.is_empty() && self.tail_start() < self.first {
            self.evict();
        }
    }

    /// Drops the oldest record of the tail, which the database has.
    pub(super) fn evict(&mut self) {
        if let Some(encoded) = self.tail.pop_front() {
            self.tail_bytes -= encoded.len();
        }
    }

    /// Looks for records from `position` on, as many as the limit allows.
    pub(super) fn read(&self, position: i64, mut limit: ReadLimit) -> Found {
        let from = position.max(self.first);
        if from >= self.end {
            return Found::Nothing;
        }
        match usize::try_from(from - self.tail_start()) {
            Ok(skip) => {
                let wanted = self.tail.iter().skip(skip).take_while(|encoded| limit.take(encoded.len()));
                Found::Memory { from, encoded: wanted.cloned().collect() }
            }
            Err(_) => Found::Disk { from, until: self.end },
        }
    }

    fn tail_start(&self) -> i64 {
        self.end - i64::try_from(self.tail.len()).expect("a collection is never longer than i64::MAX")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(retention: Retention, records: i64) -> PartitionLog {
        let mut partition = PartitionLog::new(retention, 0, 0, BTreeMap::new());
        for offset in 0..records {
            assert_eq!(partition.reserve(), offset);
            partition.append(offset, Bytes::from(vec![b'x'; 10]));
        }
        partition
    }

    /// Commits a group's progress: where the partition begins from then on, if that moved.
    fn commit(partition: &mut PartitionLog, group: &str, offset: i64) -> Option<i64> {
        let progress = Progress { offset, text: String::new() };
        let first = partition.first_after([(group, &progress)].into_iter());
        partition.set_progress(group, progress);
        first.inspect(|first| partition.cut(*first))
    }

    fn found(partition: &PartitionLog, position: i64, limit: ReadLimit) -> Result<usize, (i64, i64)> {
        match partition.read(position, limit) {
            Found::Nothing => Ok(0),
            Found::Memory { encoded, .. } => Ok(encoded.len()),
            Found::Disk { from, until } => Err((from, until)),
        }
    }

    #[test]
    fn a_read_takes_what_its_limit_allows_and_at_least_one() {
        let partition = partition(Retention::Forever, 10);
        for (position, records, bytes, count) in [
            (0, 100, 1000, 10),
            (8, 100, 1000, 2),
            (0, 3, 1000, 3),
            (0, 100, 25, 2),
            (0, 0, 0, 1),
            (10, 9, 9, 0),
        ] {
            assert_eq!(found(&partition, position, ReadLimit::new(records, bytes)), Ok(count));
        }
    }

    #[test]
    fn what_left_the_tail_is_read_from_disk() {
        let mut partition = partition(Retention::Forever, 10);
        (0..4).for_each(|_| partition.evict());
        assert_eq!(partition.tail_bytes(), 60);
        assert_eq!(found(&partition, 3, ReadLimit::new(9, 900)), Err((3, 10)));
        assert_eq!(found(&partition, 4, ReadLimit::new(9, 900)), Ok(6));
    }

    #[test]
    fn only_what_every_group_is_past_goes() {
        let mut partition = partition(Retention::Consumed, 10);
        assert_eq!(commit(&mut partition, "slow", 2), Some(2));
        assert_eq!(commit(&mut partition, "fast", 9), None);
        assert_eq!(commit(&mut partition, "slow", 5), Some(5));
        assert_eq!((partition.first(), partition.end(), partition.tail_bytes()), (5, 10, 50));
        assert_eq!(commit(&mut partition, "slow", 1), None, "what is gone does not come back");
        assert_eq!(found(&partition, 0, ReadLimit::new(99, 999)), Ok(5));
    }

    #[test]
    fn what_is_kept_forever_stays() {
        let mut partition = partition(Retention::Forever, 3);
        assert_eq!(commit(&mut partition, "group", 3), None);
    }

    #[test]
    fn a_long_backlog_goes_in_steps() {
        let mut partition = partition(Retention::Consumed, 2000);
        for first in [1024, 2000] {
            assert_eq!(commit(&mut partition, "group", 2000), Some(first));
        }
    }

    #[test]
    fn progress_beyond_the_end_deletes_nothing_that_is_to_come() {
        let mut partition = partition(Retention::Consumed, 3);
        assert_eq!(commit(&mut partition, "group", 100), Some(3));
    }
}
