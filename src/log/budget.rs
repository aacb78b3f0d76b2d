//! The bytes that a process has in hand, over all its consumers.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Record, lock};

type Wake = Box<dyn Fn() + Send + Sync>;

/// A limit on the bytes that several consumers hand out together. Who asked for them gives them back when they are done
/// with.
///
/// Nothing is handed out while the limit is reached, so it is passed by one batch at most: consumers take turns.
pub struct Budget {
    limit: usize,
    taken: AtomicUsize,
    turn: Mutex<()>,
    wakes: Mutex<Vec<Wake>>,
}

impl Budget {
    /// Nothing is handed out while `limit` bytes are taken.
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: AtomicUsize::new(0), turn: Mutex::default(), wakes: Mutex::default() }
    }

    /// Without a limit.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Bytes that are taken and not given back.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Whether nothing is handed out for the moment.
    pub fn is_full(&self) -> bool {
        self.taken() >= self.limit
    }

    /// A consumer's turn to hand out a batch; none while the limit is reached. Others wait for it to end, so it must be
    /// short.
    pub fn turn(&self) -> Option<Turn<'_>> {
        let turn = lock(&self.turn);
        (!self.is_full()).then_some(Turn { budget: self, _turn: turn })
    }

    /// Takes bytes without asking: of what was made meanwhile.
    pub fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives bytes back, and wakes the consumers if there is room again.
    pub fn give_back(&self, bytes: usize) {
        let rest = |taken: usize| Some(taken.saturating_sub(bytes));
        let before =
            self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, rest).unwrap_or_else(|taken| taken);
        debug_assert!(before >= bytes, "{bytes} bytes are given back, {before} are taken");
        if before >= self.limit && before.saturating_sub(bytes) < self.limit {
            lock(&self.wakes).iter().for_each(|wake| wake());
        }
    }

    /// Calls `wake` whenever there is room again.
    pub fn on_room(&self, wake: impl Fn() + Send + Sync + 'static) {
        lock(&self.wakes).push(Box::new(wake));
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("limit", &self.limit)
            .field("taken", &self.taken())
            .finish_non_exhaustive()
    }
}

/// One consumer's turn, see [`Budget::turn`].
#[derive(Debug)]
pub struct Turn<'a> {
    budget: &'a Budget,
    _turn: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Ends it with these records, which are handed out.
    pub fn take(self, records: &[Record]) {
        self.budget.take(records.iter().map(Record::size).sum());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU32};

    use super::*;
    use crate::{log::Partition, topic::PROMPTS};

    fn records(sizes: &[usize]) -> Vec<Record> {
        let partition = Partition { topic: PROMPTS.name, index: 0 };
        let record = |&size: &usize| Record {
            partition,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: Some(vec![0; size].into()),
            headers: vec![],
        };
        sizes.iter().map(record).collect()
    }

    #[test]
    fn nothing_is_handed_out_above_the_limit_and_all_are_woken_below_it() {
        let (budget, woken) = (Budget::new(10), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&woken);
        budget.on_room(move || _ = counted.fetch_add(1, Ordering::Relaxed));
        budget.turn().expect("room").take(&records(&[4, 5]));
        budget.turn().expect("one byte is left").take(&records(&[7]));
        assert!(budget.turn().is_none() && budget.is_full());
        budget.give_back(6);
        assert!(budget.turn().is_none(), "at the limit");
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        budget.give_back(1);
        assert!(budget.turn().is_some());
        budget.take(1);
        budget.give_back(10);
        assert_eq!((woken.load(Ordering::Relaxed), budget.taken()), (2, 0), "once for each time");
    }

    #[test]
    fn a_turn_without_records_takes_nothing() {
        let budget = Budget::new(1);
        drop(budget.turn().expect("room"));
        assert_eq!(budget.taken(), 0);
        budget.turn().expect("room again").take(&[]);
        assert!(!budget.is_full());
    }
}
