//! The ledger of a cluster: what was asked and what was answered, exactly, so that tests can prove what was asked
//! twice.
//!
//! A request counts when all of it has arrived, whatever becomes of it. It is answered when its whole and sound
//! answer was handed to the connection; errors, refusals and cut answers are not answers. An `X-Request-Id` is
//! `<id>.<attempt>`: requests are counted under what stands before the last full stop, or under all of it where
//! there is none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::fault::InjectedFault;

/// Ids counted at most, so that a long run cannot fill memory.
const MAX_IDS: usize = 1_000_000;

/// What was asked under one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdCount {
    /// Requests that arrived whole.
    pub attempts: u64,
    /// Answers handed to a connection.
    pub answered: u64,
}

/// Requests by id, as `GET /simulate/counts` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestCounts {
    /// All requests to models, with and without id.
    pub requests: u64,
    /// Requests that the table lacks: they had no id, the table was full, or it is switched off.
    pub not_by_id: u64,
    /// What was asked under each id.
    pub by_id: BTreeMap<String, IdCount>,
}

/// How often each sender sent each request, by `User-Agent` and id, as `GET /simulate/senders` gives it: of the requests
/// that [`RequestCounts::by_id`] has.
pub type Senders = BTreeMap<String, BTreeMap<String, u64>>;

/// Totals, as `GET /simulate/stats` gives them. Times are seconds since the cluster's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Requests for chat completions.
    pub chat_requests: u64,
    /// Requests for rewards.
    pub pooling_requests: u64,
    /// Answers handed to a connection.
    pub answered: u64,
    /// Requests refused for a mistake of their own, or while loading.
    pub refused: u64,
    /// Faults by kind.
    pub faults: BTreeMap<InjectedFault, u64>,
    /// Tokens of the prompts that were answered.
    pub prompt_tokens: u64,
    /// Tokens of the answers.
    pub completion_tokens: u64,
    /// When the first request arrived.
    pub first_call_s: Option<f64>,
    /// When the last answer was handed to a connection.
    pub last_answer_s: Option<f64>,
    /// Slots of all generators together.
    pub slots: u64,
    /// The integral of slots in use over time; 0 when answers come at once.
    pub busy_slot_seconds: f64,
    /// Busy slots between the first call and the last answer, as a share of all.
    pub slot_utilisation: f64,
}

/// Which of the two sorts of model was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplicaKind {
    /// Chat completions.
    Generator,
    /// Rewards.
    Reward,
}

/// Everything counted in one cluster.
#[derive(Debug)]
pub(super) struct Ledger {
    started: Instant,
    count_ids: bool,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    counts: RequestCounts,
    senders: Senders,
    stats: Stats,
    /// Grows with each reset, so that an answer to a request from before it is not counted.
    resets: u64,
}

/// A request that was counted and waits to be counted as answered.
#[derive(Debug)]
pub(super) struct Receipt {
    ledger: Arc<Ledger>,
    id: Option<String>,
    resets: u64,
}

impl Ledger {
    /// An empty ledger whose time starts now.
    pub(super) fn new(count_ids: bool) -> Self {
        Self { started: Instant::now(), count_ids, pages: Mutex::default() }
    }

    /// RequestCounts a request that has arrived whole, from a `sender` that calls itself so.
    pub(super) fn arrived(
        self: &Arc<Self>,
        role: ReplicaKind,
        request_id: Option<&str>,
        sender: &str,
    ) -> Receipt {
        let id = request_id.filter(|_| self.count_ids).map(id_of);
        let now_s = self.now_s();
        let mut pages = self.lock();
        match role {
            ReplicaKind::Generator => pages.stats.chat_requests += 1,
            ReplicaKind::Reward => pages.stats.pooling_requests += 1,
        }
        pages.stats.first_call_s.get_or_insert(now_s);
        let has_it = pages.counts.arrived(id);
        let counted = id.filter(|_| has_it);
        if let Some(id) = counted {
            note(&mut pages.senders, sender, id);
        }
        Receipt { ledger: Arc::clone(self), id: counted.map(str::to_owned), resets: pages.resets }
    }

    /// RequestCounts a refusal.
    pub(super) fn refused(&self) {
        self.lock().stats.refused += 1;
    }

    /// RequestCounts a fault.
    pub(super) fn failed(&self, fault: InjectedFault) {
        *self.lock().stats.faults.entry(fault).or_default() += 1;
    }

    /// Requests by id, so far.
    pub(super) fn counts(&self) -> RequestCounts {
        self.lock().counts.clone()
    }

    /// Requests by sender and id, so far.
    pub(super) fn senders(&self) -> Senders {
        self.lock().senders.clone()
    }

    /// Totals so far, without what only the replicas know: slots and their use.
    pub(super) fn stats(&self) -> Stats {
        self.lock().stats.clone()
    }

    /// RequestCounts from zero again.
    pub(super) fn reset(&self) {
        let mut pages = self.lock();
        *pages = Pages { resets: pages.resets + 1, ..Pages::default() };
    }

    fn now_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestCounts {
    /// Whether the table has the request.
    fn arrived(&mut self, id: Option<&str>) -> bool {
        self.requests += 1;
        let has_room = self.by_id.len() < MAX_IDS;
        let Some(id) = id else {
            self.not_by_id += 1;
            return false;
        };
        match self.by_id.get_mut(id) {
            Some(count) => count.attempts += 1,
            None if has_room => {
                self.by_id.insert(id.to_owned(), IdCount { attempts: 1, answered: 0 });
            }
            None => {
                self.not_by_id += 1;
                return false;
            }
        }
        true
    }
}

impl Stats {
    /// Adds what the replicas know.
    pub(super) fn with_slots(mut self, slots: u64, busy_slot_seconds: f64) -> Self {
        let span_s = self.last_answer_s.unwrap_or(0.0) - self.first_call_s.unwrap_or(0.0);
        (self.slots, self.busy_slot_seconds) = (slots, busy_slot_seconds);
        if slots > 0 && span_s > 0.0 {
            self.slot_utilisation = busy_slot_seconds / (slots as f64 * span_s);
        }
        self
    }
}

impl Receipt {
    /// RequestCounts the answer.
    pub(super) fn answered(&self, prompt_tokens: u64, completion_tokens: u64) {
        let now_s = self.ledger.now_s();
        let mut pages = self.ledger.lock();
        if pages.resets != self.resets {
            return;
        }
        pages.stats.answered += 1;
        pages.stats.prompt_tokens += prompt_tokens;
        pages.stats.completion_tokens += completion_tokens;
        pages.stats.last_answer_s = Some(now_s);
        if let Some(count) = self.id.as_deref().and_then(|id| pages.counts.by_id.get_mut(id)) {
            count.answered += 1;
        }
    }
}

fn note(senders: &mut Senders, sender: &str, id: &str) {
    let sent = match senders.get_mut(sender) {
        Some(sent) => sent,
        None => senders.entry(sender.to_owned()).or_default(),
    };
    match sent.get_mut(id) {
        Some(count) => *count += 1,
        None => _ = sent.insert(id.to_owned(), 1),
    }
}

/// The id without the number of the attempt.
fn id_of(request_id: &str) -> &str {
    request_id.rsplit_once('.').map_or(request_id, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_id_without_the_attempt() {
        let ledger = Arc::new(Ledger::new(true));
        for request_id in ["a.0", "a.1", "b"] {
            ledger.arrived(ReplicaKind::Generator, Some(request_id), "one").answered(1, 2);
        }
        ledger.arrived(ReplicaKind::Reward, Some("b.7"), "other");
        ledger.arrived(ReplicaKind::Reward, None, "other");
        let counts = ledger.counts();
        assert_eq!((counts.requests, counts.not_by_id), (5, 1));
        assert_eq!(counts.by_id["a"], IdCount { attempts: 2, answered: 2 });
        assert_eq!(counts.by_id["b"], IdCount { attempts: 2, answered: 1 });
        let sent =
            |ids: &[(&str, u64)]| ids.iter().map(|(id, attempts)| ((*id).to_owned(), *attempts)).collect();
        let senders =
            [("one".to_owned(), sent(&[("a", 2), ("b", 1)])), ("other".to_owned(), sent(&[("b", 1)]))];
        assert_eq!(ledger.senders(), Senders::from(senders));
        let stats = ledger.stats();
        assert_eq!((stats.chat_requests, stats.pooling_requests, stats.completion_tokens), (3, 2, 6));
    }

    #[test]
    fn a_reset_forgets_also_what_is_under_way() {
        let ledger = Arc::new(Ledger::new(true));
        let before = ledger.arrived(ReplicaKind::Generator, Some("a.0"), "one");
        ledger.reset();
        before.answered(1, 1);
        assert_eq!((ledger.counts(), ledger.stats()), (RequestCounts::default(), Stats::default()));
    }

    #[test]
    fn switched_off_there_are_no_ids() {
        let ledger = Arc::new(Ledger::new(false));
        ledger.arrived(ReplicaKind::Generator, Some("a.0"), "one");
        assert_eq!(ledger.senders(), Senders::new());
        assert_eq!(ledger.counts(), RequestCounts { requests: 1, not_by_id: 1, by_id: BTreeMap::new() });
    }
}
