//! Which calls may be sent again, and which never.
//!
//! Every request says in its `User-Agent` which life of which worker sent it, and the simulated cluster counts by that.
//! So nothing has to be known of who had which partition when. What came of a send by one life is one of:
//!
//! - its step was committed, once over all lives;
//! - that life dropped the step, because its partition went to another or a grace was over, and said so;
//! - that life was killed, and the step was not committed by then.
//!
//! Nothing else is an excuse: not that other workers were killed, stopped or added, nor that a broker died.

use std::collections::BTreeMap;

use avr::simulate::{RequestCounts, Senders};

use super::log_state::Reached;

/// What was true right after something happened.
pub(crate) struct Snapshot {
    /// How often each call had been sent whose step was committed.
    committed: BTreeMap<String, u64>,
    /// The calls that had been sent and whose step was not known to be committed.
    pub(crate) open: Vec<String>,
}

impl Snapshot {
    /// What is in `reached` was committed when `counts` were counted.
    pub(crate) fn of(reached: &Reached, counts: RequestCounts) -> Self {
        let sent = counts.by_id.into_iter().map(|(id, count)| (id, count.attempts));
        let (committed, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
            sent.partition(|(id, _)| reached.has_step_of(id));
        Self { committed, open: open.into_keys().collect() }
    }

    /// Whether calls of committed steps had been sent, and others.
    pub(crate) fn is_in_the_middle(&self) -> bool {
        !self.committed.is_empty() && !self.open.is_empty()
    }
}

/// One life of a worker that has ended.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// The worker's name, to be told.
    pub(crate) worker: String,
    /// The process' number.
    pub(crate) process: u32,
    /// Steps that it said it dropped, each as often as it said so, by how the ids of their calls begin; without the thread
    /// where that is not known.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Of one that was killed: what was committed by then, at least.
    pub(crate) killed: Option<Reached>,
}

impl Life {
    /// How many attempts of a call by this life came to nothing, at most.
    fn excuses(&self, call: &str) -> u64 {
        let step = step_of(call);
        let of_any_thread = step.find('-').map_or(step, |at| &step[at..]);
        let dropped = [step, of_any_thread].into_iter().filter_map(|step| self.dropped.get(step));
        dropped.sum::<u64>()
            + u64::from(self.killed.as_ref().is_some_and(|reached| !reached.has_step_of(call)))
    }

    fn sent<'a>(&self, senders: &'a Senders) -> Option<&'a BTreeMap<String, u64>> {
        let name = format!("process {})", self.process);
        senders.iter().find(|(sender, _)| sender.ends_with(&name)).map(|(_, sent)| sent)
    }
}

/// What came of all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Different calls.
    pub(crate) calls: usize,
    /// Calls sent more than once, and the attempts beyond the first.
    pub(crate) repeated: usize,
    pub(crate) retries: u64,
    /// Lives that were killed, and the attempts of theirs that are excused by that alone: what was open when they were.
    pub(crate) killed: usize,
    pub(crate) open_at_kills: u64,
    /// Steps that workers said they dropped.
    pub(crate) dropped: u64,
}

/// Of the calls:
///
/// 1. One of a step that was committed at a snapshot is never sent again: its count there is its count at the end.
/// 2. Of all attempts of a call, at most one has no excuse: the one whose answer was committed.
pub(crate) fn check(
    snapshots: &[Snapshot],
    lives: &[Life],
    counts: &RequestCounts,
    senders: &Senders,
) -> Calls {
    for (number, snapshot) in snapshots.iter().enumerate() {
        for (id, attempts) in &snapshot.committed {
            let at_the_end = counts.by_id[id].attempts;
            assert_eq!(at_the_end, *attempts, "{id} was committed at disturbance {number} and sent again");
        }
    }
    let sent: Vec<(&Life, &BTreeMap<String, u64>)> =
        lives.iter().filter_map(|life| Some((life, life.sent(senders)?))).collect();
    assert_eq!(sent.len(), senders.len(), "every sender is a worker of the fleet: {:?}", senders.keys());
    let mut sum = Calls {
        calls: counts.by_id.len(),
        killed: lives.iter().filter(|life| life.killed.is_some()).count(),
        dropped: lives.iter().flat_map(|life| life.dropped.values()).sum(),
        ..Calls::default()
    };
    for (id, count) in &counts.by_id {
        let by_life: Vec<(&Life, u64)> =
            sent.iter().filter_map(|(life, sent)| Some((*life, *sent.get(id)?))).collect();
        assert_eq!(
            by_life.iter().map(|(_, attempts)| attempts).sum::<u64>(),
            count.attempts,
            "{id}: all are told"
        );
        let without = |(life, attempts): &(&Life, u64)| attempts.saturating_sub(life.excuses(id));
        let without: u64 = by_life.iter().map(without).sum();
        let told = || {
            let told = by_life.iter().map(|(life, attempts)| {
                format!(
                    "{} ({}): {attempts}, of which {} excused",
                    life.worker,
                    life.process,
                    life.excuses(id)
                )
            });
            told.collect::<Vec<_>>().join("; ")
        };
        assert!(
            without <= 1,
            "{id} was sent {} times, {without} of them without an excuse: {}",
            count.attempts,
            told()
        );
        sum.repeated += usize::from(count.attempts > 1);
        sum.retries += count.attempts - 1;
        let open =
            by_life.iter().filter(|(life, _)| life.killed.as_ref().is_some_and(|at| !at.has_step_of(id)));
        sum.open_at_kills += open.count() as u64;
    }
    sum
}

/// How the ids of a step's calls begin: thread and stage.
fn step_of(call: &str) -> &str {
    let end = call.match_indices('-').nth(1).map_or(call.len(), |(at, _)| at + 1);
    &call[..end]
}

#[cfg(test)]
mod tests {
    use avr::simulate::IdCount;

    use super::*;

    const CALL: &str = "a1-draft-0-0-0";

    fn life(process: u32) -> Life {
        Life { worker: "w".to_owned(), process, ..Life::default() }
    }

    fn killed(process: u32, reached: Reached) -> Life {
        Life { killed: Some(reached), ..life(process) }
    }

    fn dropped(process: u32, times: u64) -> Life {
        Life { dropped: [("a1-draft-".to_owned(), times)].into(), ..life(process) }
    }

    /// Whether the judge finds nothing wrong where each life sent the call so often.
    fn is_right(sent: Vec<(Life, u64)>) -> bool {
        let senders: Senders = sent
            .iter()
            .map(|(life, attempts)| {
                (format!("avr/1 (w, process {})", life.process), [(CALL.to_owned(), *attempts)].into())
            })
            .collect();
        let attempts = sent.iter().map(|(_, attempts)| attempts).sum();
        let by_id = [(CALL.to_owned(), IdCount { attempts, answered: attempts })].into();
        let counts = RequestCounts { requests: attempts, not_by_id: 0, by_id };
        let lives: Vec<Life> = sent.into_iter().map(|(life, _)| life).collect();
        std::panic::catch_unwind(|| check(&[], &lives, &counts, &senders)).is_ok()
    }

    #[test]
    fn a_call_is_sent_again_for_a_reason_of_its_senders() {
        let none = Reached::default;
        assert!(is_right(vec![(life(1), 1)]));
        assert!(is_right(vec![(killed(1, none()), 1), (life(2), 1)]));
        assert!(is_right(vec![(killed(1, none()), 1), (killed(2, none()), 1), (life(3), 1)]));
        assert!(
            is_right(vec![(dropped(1, 1), 2), (life(2), 0)]),
            "it came back to the one that had dropped it"
        );
        assert!(is_right(vec![(dropped(1, 2), 2), (life(2), 1)]));
        let unknown = |stage: &str| Life { dropped: [(format!("-{stage}-"), 1)].into(), ..life(1) };
        assert!(is_right(vec![(unknown("draft"), 1), (life(2), 1)]), "whose step it was is not known");
        assert!(!is_right(vec![(unknown("score"), 1), (life(2), 1)]), "another stage's");
    }

    #[test]
    fn what_others_suffered_is_no_excuse() {
        assert!(!is_right(vec![(life(1), 2)]));
        assert!(!is_right(vec![(life(1), 1), (life(2), 1)]), "two that live");
        assert!(!is_right(vec![(life(1), 1), (life(2), 1), (killed(3, Reached::default()), 0)]));
        assert!(
            !is_right(vec![(killed(1, Reached::default()), 2), (life(2), 1)]),
            "one life has one open send"
        );
        let committed = Reached::from_iter([("a1".to_owned(), 1)]);
        assert!(!is_right(vec![(killed(1, committed), 1), (life(2), 1)]), "killed after the commit");
        assert!(!is_right(vec![(dropped(1, 1), 1), (life(2), 2)]));
    }
}
