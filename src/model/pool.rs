//! The endpoints of one role, shared by all calls: a thin shell around the [schedule](super::schedule) that
//! adds a clock, wake-ups and gauges.
//!
//! ```text
//! acquire(priority) ──▶ Permit { endpoint } ──▶ request ──▶ permit.finish(outcome)
//!        │                                                      │
//!        └── waits in the schedule's queue ◀── a place is free ─┘
//! ```
//!
//! The lock is held for a few comparisons and never across an await. A waiting call that is dropped leaves
//! the queue, and gives back a place that was just given to it; a permit that is dropped gives its place back.

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
    schedule::{Outcome, Place, Priority, Schedule, Ticket},
};
use crate::observe::Metrics;

type Queue = Schedule<oneshot::Sender<Place>>;

/// The endpoints of one role. Cloning shares them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    endpoints: Vec<Member>,
    waiting: IntGauge,
    queue: Mutex<Queue>,
}

struct Member {
    endpoint: Endpoint,
    in_flight: IntGauge,
    up: IntGauge,
}

/// One more in a gauge, for as long as this lives.
pub(super) struct Counted(IntGauge);

/// The right to send one request to [`Permit::endpoint`].
pub(super) struct Permit {
    shared: Arc<Shared>,
    index: usize,
    /// Taken out when it is given back.
    place: Option<Place>,
    _in_flight: Counted,
}

/// A call in the queue.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    served: oneshot::Receiver<Place>,
    _waiting: Counted,
}

impl Pool {
    /// A pool of `endpoints`, all of which are taken for working until they fail.
    pub(super) fn new(endpoints: Vec<Endpoint>, options: &ModelOptions, metrics: &Metrics) -> Self {
        let queue = Schedule::new(endpoints.len(), options.max_in_flight, options.rest, fastrand::Rng::new());
        let role = options.role.as_str();
        let member = |endpoint: Endpoint| {
            let in_flight = metrics.model_in_flight.with_label_values(&[role, endpoint.name.as_str()]);
            let up = metrics.endpoint_up.with_label_values(&[role, endpoint.name.as_str()]);
            up.set(1);
            Member { endpoint, in_flight, up }
        };
        Self(Arc::new(Shared {
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

    /// Waits for a place. May be dropped at any time.
    pub(super) async fn acquire(&self, priority: Priority) -> Permit {
        let waiting = match self.enter(priority) {
            Ok(permit) => return permit,
            Err(waiting) => waiting,
        };
        let place = waiting.served().await;
        self.permit(place)
    }

    fn enter(&self, priority: Priority) -> Result<Permit, Waiting<'_>> {
        let shared = &*self.0;
        let mut queue = shared.lock();
        if let Some(place) = queue.place_now(Instant::now()) {
            drop(queue);
            return Ok(self.permit(place));
        }
        let (server, served) = oneshot::channel();
        let ticket = queue.enqueue(priority, server);
        // A rest may be over whose end nobody was there to see.
        shared.serve(&mut queue);
        Err(Waiting { shared, ticket, served, _waiting: Counted::new(&shared.waiting) })
    }

    fn permit(&self, place: Place) -> Permit {
        let member = &self.0.endpoints[place.endpoint];
        Permit {
            shared: Arc::clone(&self.0),
            index: place.endpoint,
            place: Some(place),
            _in_flight: Counted::new(&member.in_flight),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The schedule does not panic halfway through a change, so what is there is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives places to waiting calls, as many as there are. Sending under the lock makes a call that is not
    /// in the queue any more certain to find its place in the channel.
    fn serve(&self, queue: &mut Queue) {
        let now = Instant::now();
        while let Some((waiter, place)) = queue.serve(now) {
            if let Err(place) = waiter.send(place) {
                queue.release(place, Outcome::Unknown, now);
            }
        }
    }

    fn release(self: &Arc<Self>, place: Place, outcome: Outcome) {
        let index = place.endpoint;
        let mut queue = self.lock();
        let rested = queue.rests_until(index).is_some();
        queue.release(place, outcome, Instant::now());
        let rests = !rested && queue.rests_until(index).is_some();
        self.serve(&mut queue);
        let up = queue.is_up(index);
        drop(queue);
        self.endpoints[index].show(up);
        if rests && matches!(outcome, Outcome::Failed(_)) {
            tokio::spawn(wake_after_rest(Arc::downgrade(self), index));
        }
    }

    /// Serves the queue if the endpoint's rest is over; else tells when it will be.
    fn end_rest(&self, index: usize) -> Option<Instant> {
        let mut queue = self.lock();
        let until = queue.rests_until(index)?;
        if until > Instant::now() {
            return Some(until);
        }
        self.serve(&mut queue);
        None
    }
}

/// Waiting calls sleep until a place is free; the end of a rest frees places without anything else happening.
async fn wake_after_rest(pool: Weak<Shared>, index: usize) {
    while let Some(until) = pool.upgrade().and_then(|pool| pool.end_rest(index)) {
        sleep_until(until).await;
    }
}

impl Member {
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

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
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

    /// Gives the place back and tells how the request went.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.give_back(outcome);
    }

    fn give_back(&mut self, outcome: Outcome) {
        if let Some(place) = self.place.take() {
            self.shared.release(place, outcome);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Outcome::Unknown);
    }
}

impl Waiting<'_> {
    async fn served(mut self) -> Place {
        (&mut self.served).await.expect("the queue keeps the sender until it serves or is asked to forget")
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        if queue.withdraw(self.ticket).is_none()
            && let Ok(place) = self.served.try_recv()
        {
            queue.release(place, Outcome::Unknown, Instant::now());
            self.shared.serve(&mut queue);
        }
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
