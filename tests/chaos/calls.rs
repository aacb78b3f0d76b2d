//! Which calls may be sent again, and which never.

use std::collections::BTreeMap;

use avr::simulate::Counts;

/// What was true right after a worker was ended.
pub(crate) struct Snapshot {
    /// How often each call had been sent whose step was committed.
    pub(crate) committed: BTreeMap<String, u64>,
    /// The calls that had been sent and whose step was not known to be committed.
    pub(crate) open: Vec<String>,
}

impl Snapshot {
    /// `is_committed` says whether the step of a call, by the call's id, is committed. What that rests on was read
    /// before `counts`, so what it holds as committed was committed when they were counted.
    pub(crate) fn of(is_committed: impl Fn(&str) -> bool, counts: Counts) -> Self {
        let sent = counts.by_id.into_iter().map(|(id, count)| (id, count.sends));
        let (committed, open): (BTreeMap<_, _>, BTreeMap<_, _>) = sent.partition(|(id, _)| is_committed(id));
        Self { committed, open: open.into_keys().collect() }
    }

    /// Whether it shows calls of committed steps and calls of others.
    pub(crate) fn is_in_the_middle(&self) -> bool {
        !self.committed.is_empty() && !self.open.is_empty()
    }
}

/// What came of all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Different calls.
    pub(crate) calls: usize,
    /// Calls sent more than once, and the sends beyond the first.
    pub(crate) repeated: usize,
    pub(crate) repeats: u64,
    /// The repeats that the snapshots excuse: one for each in which the call was open.
    pub(crate) excused: u64,
    /// Steps that workers said they dropped; each excuses one repeat of its calls.
    pub(crate) dropped: usize,
}

/// Of the calls:
///
/// 1. One of a step that was committed at a snapshot is never sent again: its count there is its count at the end.
/// 2. Any other is sent once, and once more at most for each snapshot that found its step not committed, and each time
///    a worker dropped its step with a lost partition or at the end of a grace. Such steps are named by how the ids of
///    their calls begin.
pub(crate) fn check(snapshots: &[Snapshot], dropped: &[String], counts: &Counts) -> Calls {
    for (number, snapshot) in snapshots.iter().enumerate() {
        for (id, sends) in &snapshot.committed {
            let at_the_end = counts.by_id[id].sends;
            assert_eq!(at_the_end, *sends, "{id} was committed at disturbance {number} and sent again");
        }
    }
    let mut excuses: BTreeMap<&str, u64> = BTreeMap::new();
    for id in snapshots.iter().flat_map(|snapshot| &snapshot.open) {
        *excuses.entry(id).or_default() += 1;
    }
    let mut steps: BTreeMap<&str, u64> = BTreeMap::new();
    for step in dropped {
        *steps.entry(step).or_default() += 1;
    }
    let (calls, excused) = (counts.by_id.len(), excuses.values().sum());
    let mut sum = Calls { calls, excused, dropped: dropped.len(), ..Calls::default() };
    for (id, count) in counts.by_id.iter().filter(|(_, count)| count.sends > 1) {
        let excused = excuses.get(id.as_str()).copied().unwrap_or_default()
            + steps.get(step_of(id)).copied().unwrap_or_default();
        assert!(
            count.sends <= 1 + excused,
            "{id} was sent {} times; {excused} disturbances excuse it",
            count.sends
        );
        sum.repeated += 1;
        sum.repeats += count.sends - 1;
    }
    sum
}

/// How the ids of a step's calls begin: thread and stage.
fn step_of(call: &str) -> &str {
    let end = call.match_indices('-').nth(1).map_or(call.len(), |(at, _)| at + 1);
    &call[..end]
}
