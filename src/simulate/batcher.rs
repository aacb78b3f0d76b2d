//! A [`DecodeBatch`] that lives in Tokio's time: requests wait here while their sequences are decoded.
//!
//! One task a replica ([`Batcher::drive`]) sleeps until the next sequence can finish and wakes who waits for it;
//! an arrival or a departure wakes the task only where it brings that moment nearer. A request that is dropped
//! (its client has gone) leaves the batch, as a server aborts it.
//!
//! Nothing here bounds the number that wait: a request waits on its connection, and a replica bounds those.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use super::batch::{DecodeBatch, Sequence, SequenceId, StepTimes};

/// The decoding of one replica.
#[derive(Debug)]
pub(super) struct Batcher {
    state: Mutex<BatcherState>,
    changed: Notify,
    started: Instant,
}

#[derive(Debug)]
struct BatcherState {
    batch: DecodeBatch,
    next_id: SequenceId,
    waiters: HashMap<SequenceId, oneshot::Sender<()>>,
    /// When the driver will wake by itself.
    planned_ns: Option<u64>,
    /// Busy slot-nanoseconds before the last reset.
    busy_before_ns: u128,
}

impl Batcher {
    /// An idle replica whose time starts now.
    pub(super) fn new(pace: StepTimes) -> Self {
        let state = BatcherState {
            batch: DecodeBatch::new(pace),
            next_id: 0,
            waiters: HashMap::new(),
            planned_ns: None,
            busy_before_ns: 0,
        };
        Self { state: Mutex::new(state), changed: Notify::new(), started: Instant::now() }
    }

    /// Decodes one sequence for each count of `tokens`; returns when the last of them is done.
    pub(super) async fn generate(&self, tokens: impl IntoIterator<Item = u64>, prompt_tokens: u64) {
        let guards: Vec<_> = tokens.into_iter().map(|tokens| self.enter(tokens, prompt_tokens)).collect();
        for mut guard in guards {
            // An error means that the cluster is being torn down, and the answer goes nowhere anyway.
            let _torn_down = (&mut guard.done).await;
        }
    }

    /// Wakes the requests whose sequences finish. Never returns.
    pub(super) async fn drive(&self) {
        loop {
            match self.settle() {
                Some(next) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Sequences that run and that wait.
    pub(super) fn running_and_waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.batch.running(), state.batch.waiting())
    }

    /// The integral of running sequences over time since the last reset, in slot-seconds.
    pub(super) fn busy_slot_seconds(&self) -> f64 {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        let busy_ns = state.batch.busy_slot_ns(now_ns) - state.busy_before_ns;
        busy_ns as f64 / 1e9
    }

    /// Starts [`busy_slot_seconds`](Self::busy_slot_seconds) from zero.
    pub(super) fn reset_busy(&self) {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        state.busy_before_ns = state.batch.busy_slot_ns(now_ns);
    }

    fn enter(&self, tokens: u64, prompt_tokens: u64) -> SequenceGuard<'_> {
        let (sender, done) = oneshot::channel();
        let now_ns = self.now_ns();
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.batch.arrive(now_ns, Sequence { id, tokens, prompt_tokens });
        state.waiters.insert(id, sender);
        self.wake_if_earlier(&state);
        SequenceGuard { batcher: self, id, done }
    }

    fn leave(&self, id: SequenceId) {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        if state.waiters.remove(&id).is_some() {
            state.batch.leave(now_ns, id);
            self.wake_if_earlier(&state);
        }
    }

    /// Wakes the driver when it would else sleep too long. Most arrivals at a busy replica need no wake.
    fn wake_if_earlier(&self, state: &BatcherState) {
        let next_ns = state.batch.next_finish_ns();
        if next_ns.is_some_and(|next_ns| state.planned_ns.is_none_or(|planned_ns| next_ns < planned_ns)) {
            self.changed.notify_one();
        }
    }

    /// Wakes who is done, and says when the next will be.
    fn settle(&self) -> Option<Instant> {
        let now_ns = self.now_ns();
        let mut state = self.lock();
        state.batch.advance(now_ns);
        for id in state.batch.take_finished() {
            if let Some(waiter) = state.waiters.remove(&id) {
                // Who stopped waiting in this very moment needs no answer.
                let _gone = waiter.send(());
            }
        }
        state.planned_ns = state.batch.next_finish_ns();
        state.planned_ns.map(|finish_ns| self.started + Duration::from_nanos(finish_ns))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, BatcherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sequence's guard in the batch; dropping it gives the guard up.
struct SequenceGuard<'a> {
    batcher: &'a Batcher,
    id: SequenceId,
    done: oneshot::Receiver<()>,
}

impl Drop for SequenceGuard<'_> {
    fn drop(&mut self) {
        self.batcher.leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::*;

    const MILLISECOND_NS: u64 = 1_000_000;

    fn batcher(slots: usize) -> Arc<Batcher> {
        let batcher = Arc::new(Batcher::new(StepTimes {
            slots,
            step_ns: 10 * MILLISECOND_NS,
            step_per_sequence_ns: 0,
            prefill_per_token_ns: 0,
        }));
        let driven = Arc::clone(&batcher);
        tokio::spawn(async move { driven.drive().await });
        batcher
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_takes_its_tokens_in_steps() {
        let batcher = batcher(4);
        let started = Instant::now();
        batcher.generate([100, 40], 0).await;
        assert_eq!(started.elapsed().as_millis(), 1000);
        assert_eq!(batcher.running_and_waiting(), (0, 0));
        // The second of the two joined one step after the first.
        assert!((batcher.busy_slot_seconds() - 1.4).abs() < 1e-9, "{}", batcher.busy_slot_seconds());
        batcher.reset_busy();
        assert!(batcher.busy_slot_seconds() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_request_frees_its_slot() {
        let batcher = batcher(1);
        let started = Instant::now();
        let given_up = timeout(Duration::from_millis(20), batcher.generate([1000], 0)).await;
        assert!(given_up.is_err());
        batcher.generate([3], 0).await;
        assert!(started.elapsed().as_millis() <= 60, "{:?}", started.elapsed());
    }
}
