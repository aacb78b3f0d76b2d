//! The endpoints of one role, shared by all calls: a thin shell around the [schedule](super::schedule) that
//! adds a clock, wake-ups and gauges.
//!
//! ```text
//! acquire(priority) ──▶ Permit { endpoint } ──▶ request ──▶ permit.finish(signal)
//!        │                                                      │
//!        └── waits in the schedule's queue ◀── a slot is free ─┘
//! ```
//!
//! The lock is held for a few comparisons and never across an await. A waiting call that is dropped leaves
//! the queue, and gives back a slot that was just given to it; a permit that is dropped gives its slot back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::IntGauge;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    ModelOptions,
    endpoint::Endpoint,
    schedule::{HealthSignal, Priority, Schedule, Slot, Ticket},
};
use crate::observe::Metrics;

type Queue = Schedule<oneshot::Sender<Slot>>;

/// The endpoints of one role. Cloning shares them.
#[derive(Clone)]
pub(super) struct Pool(Arc<PoolState>);

struct PoolState {
    endpoints: Vec<PoolMember>,
    waiting: IntGauge,
    queue: Mutex<Queue>,
}

struct PoolMember {
    endpoint: Endpoint,
    in_flight: IntGauge,
    up: IntGauge,
}

/// One more in a gauge, for as long as this lives.
pub(super) struct GaugeGuard(IntGauge);

/// The right to send one request to [`Permit::endpoint`].
pub(super) struct Permit {
    shared: Arc<PoolState>,
    index: usize,
    /// Taken out when it is given back.
    slot: Option<Slot>,
    _in_flight: GaugeGuard,
}

/// A call in the queue.
struct QueuedCall<'a> {
    shared: &'a PoolState,
    ticket: Ticket,
    served: oneshot::Receiver<Slot>,
    _waiting: GaugeGuard,
}

impl Pool {
    /// A pool of `endpoints`, all of which are taken for working until they fail.
    pub(super) fn new(endpoints: Vec<Endpoint>, options: &ModelOptions, metrics: &Metrics) -> Self {
        let queue =
            Schedule::new(endpoints.len(), options.max_in_flight, options.cooldown, fastrand::Rng::new());
        let role = options.role.as_str();
        let member = |endpoint: Endpoint| {
            let in_flight = metrics.model_in_flight.with_label_values(&[role, endpoint.name.as_str()]);
            let up = metrics.endpoint_up.with_label_values(&[role, endpoint.name.as_str()]);
            up.set(1);
            PoolMember { endpoint, in_flight, up }
        };
        Self(Arc::new(PoolState {
            endpoints: endpoints.into_iter().map(member).collect(),
            waiting: metrics.model_waiting.with_label_values(&[role]),
            queue: Mutex::new(queue),
        }))
    }

    /// The number of endpoints.
    pub(super) fn len(&self) -> usize {
        self.0.endpoints.len()
    }

    /// An endpoint by its index.
    pub(super) fn endpoint(&self, index: usize) -> &Endpoint {
        &self.0.endpoints[index].endpoint
    }

    /// Whether any endpoint is used without reserve.
    pub(super) fn is_any_up(&self) -> bool {
        let queue = self.0.lock();
        (0..self.len()).any(|endpoint| queue.is_up(endpoint))
    }

    /// Waits for a slot. May be dropped at any time.
    pub(super) async fn acquire(&self, priority: Priority) -> Permit {
        let waiting = match self.enter(priority) {
            Ok(permit) => return permit,
            Err(waiting) => waiting,
        };
        let slot = waiting.served().await;
        self.permit(slot)
    }

    fn enter(&self, priority: Priority) -> Result<Permit, QueuedCall<'_>> {
        let shared = &*self.0;
        let mut queue = shared.lock();
        if let Some(slot) = queue.slot_now(Instant::now()) {
            drop(queue);
            return Ok(self.permit(slot));
        }
        let (server, served) = oneshot::channel();
        let ticket = queue.enqueue(priority, server);
        // A cooldown may be over whose end nobody was there to see.
        shared.serve(&mut queue);
        Err(QueuedCall { shared, ticket, served, _waiting: GaugeGuard::new(&shared.waiting) })
    }

    fn permit(&self, slot: Slot) -> Permit {
        let member = &self.0.endpoints[slot.endpoint];
        Permit {
            shared: Arc::clone(&self.0),
            index: slot.endpoint,
            slot: Some(slot),
            _in_flight: GaugeGuard::new(&member.in_flight),
        }
    }
}

impl PoolState {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The schedule does not panic halfway through a change, so what is there is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives slots to waiting calls, as many as there are. Sending under the lock makes a call that is not
    /// in the queue any more certain to find its slot in the channel.
    fn serve(&self, queue: &mut Queue) {
        let now = Instant::now();
        while let Some((waiter, slot)) = queue.serve(now) {
            if let Err(slot) = waiter.send(slot) {
                queue.release(slot, HealthSignal::Unknown, now);
            }
        }
    }

    fn release(self: &Arc<Self>, slot: Slot, signal: HealthSignal) {
        let index = slot.endpoint;
        let mut queue = self.lock();
        let cooled = queue.cools_until(index).is_some();
        queue.release(slot, signal, Instant::now());
        let cools = !cooled && queue.cools_until(index).is_some();
        self.serve(&mut queue);
        let up = queue.is_up(index);
        drop(queue);
        self.endpoints[index].show(up);
        if cools && matches!(signal, HealthSignal::Failed(_)) {
            tokio::spawn(wake_after_cooldown(Arc::downgrade(self), index));
        }
    }

    /// Serves the queue if the endpoint's cooldown is over; else tells when it will be.
    fn end_cooldown(&self, index: usize) -> Option<Instant> {
        let mut queue = self.lock();
        let until = queue.cools_until(index)?;
        if until > Instant::now() {
            return Some(until);
        }
        self.serve(&mut queue);
        None
    }
}

/// Waiting calls sleep until a slot is free; the end of a cooldown frees slots without anything else happening.
async fn wake_after_cooldown(pool: Weak<PoolState>, index: usize) {
    while let Some(until) = pool.upgrade().and_then(|pool| pool.end_cooldown(index)) {
        sleep_until(until).await;
    }
}

impl PoolMember {
    fn show(&self, up: bool) {
        let was_up = self.up.get() == 1;
        self.up.set(up.into());
        match (was_up, up) {
            (true, false) => warn!(endpoint = self.endpoint.name, "endpoint fails; left alone for a while"),
            (false, true) => info!(endpoint = self.endpoint.name, "endpoint answers again"),
            _ => {}
        }
    }
}

impl GaugeGuard {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Permit {
    /// Where to send the request.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoints[self.index].endpoint
    }

    /// The endpoint's index.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Gives the slot back and tells how the request went.
    pub(super) fn finish(mut self, signal: HealthSignal) {
        self.give_back(signal);
    }

    fn give_back(&mut self, signal: HealthSignal) {
        if let Some(slot) = self.slot.take() {
            self.shared.release(slot, signal);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(HealthSignal::Unknown);
    }
}

impl QueuedCall<'_> {
    async fn served(mut self) -> Slot {
        (&mut self.served).await.expect("the queue keeps the sender until it serves or is asked to forget")
    }
}

impl Drop for QueuedCall<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        if queue.withdraw(self.ticket).is_none()
            && let Ok(slot) = self.served.try_recv()
        {
            queue.release(slot, HealthSignal::Unknown, Instant::now());
            self.shared.serve(&mut queue);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
