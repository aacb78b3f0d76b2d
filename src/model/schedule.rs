//! Which waiting call goes to which endpoint, and when: a plain value without clock, lock or network.
//!
//! - A call goes to the endpoint with the fewest requests in flight, of equals to the one served longest ago.
//! - No endpoint has more than its limit in flight.
//! - Waiting calls are served by priority, and in the order of their coming within one.
//! - An endpoint that fails **cools down**, as behind a circuit breaker: at once when nothing listens there or when it
//!   asks for it (`Retry-After`), after [`FAILURES_TO_COOL_DOWN`] failures in a row otherwise, so that a single error
//!   of a single request costs no capacity. When the cooldown is over the endpoint is **half-open**: one request goes
//!   there as a trial; only when that was answered the others follow, and when it fails the next cooldown is longer.
//!
//! The number of waiting calls is bounded by who makes them: the engine bounds its steps, and a step its calls.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::Backoff;

/// Failures in a row, of requests that did reach the server, after which an endpoint cools down.
pub(super) const FAILURES_TO_COOL_DOWN: u32 = 3;

/// How urgent a call is. Higher ones, those of stages nearer the end of the pipeline, are served first, so that little
/// work is half done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub u8);

/// A waiting call's position: by priority, then by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    priority: Reverse<Priority>,
    number: u64,
}

/// The right to have one request in flight at an endpoint. Not `Clone`: it is given back once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Index of the endpoint.
    pub(super) endpoint: usize,
    is_trial: bool,
}

/// What a request tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthSignal {
    /// The server works: it answered, be it with a refusal.
    Answered,
    /// The server, or the way to it, failed.
    Failed(EndpointFault),
    /// Nothing: the request was given up before its end.
    Unknown,
}

/// In what way an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndpointFault {
    /// Nothing listens there.
    Unreachable,
    /// The server wants to be left alone for so long.
    Busy(Duration),
    /// One request failed.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    CoolingDown { until: Instant },
    HalfOpen,
}

#[derive(Debug)]
struct EndpointLoad {
    in_flight: usize,
    /// The number of the grant that came here last.
    last_grant: u64,
    failures: u32,
    health: Health,
}

/// The state of a pool; `W` stands for a waiting call.
#[derive(Debug)]
pub(super) struct Schedule<W> {
    endpoints: Vec<EndpointLoad>,
    limit: usize,
    cooldown: Backoff,
    random: fastrand::Rng,
    waiting: BTreeMap<Ticket, W>,
    tickets: u64,
    grants: u64,
}

impl<W> Schedule<W> {
    /// `count` endpoints that take `limit` requests each and cool down as `cooldown` says.
    pub(super) fn new(count: usize, limit: usize, cooldown: Backoff, random: fastrand::Rng) -> Self {
        let new = || EndpointLoad { in_flight: 0, last_grant: 0, failures: 0, health: Health::Up };
        let endpoints = (0..count).map(|_| new()).collect();
        Self { endpoints, limit, cooldown, random, waiting: BTreeMap::new(), tickets: 0, grants: 0 }
    }

    /// Puts a call into the queue.
    pub(super) fn enqueue(&mut self, priority: Priority, waiter: W) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket { priority: Reverse(priority), number: self.tickets };
        self.waiting.insert(ticket, waiter);
        ticket
    }

    /// Takes a call out of the queue; none if it was served already.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<W> {
        self.waiting.remove(&ticket)
    }

    /// A slot for a call that just came, if there is one and nobody waits for it.
    pub(super) fn slot_now(&mut self, now: Instant) -> Option<Slot> {
        if self.waiting.is_empty() { self.slot(now) } else { None }
    }

    /// The next waiting call together with its slot, as long as there is both.
    pub(super) fn serve(&mut self, now: Instant) -> Option<(W, Slot)> {
        let ticket = *self.waiting.first_key_value()?.0;
        let slot = self.slot(now)?;
        let waiter = self.waiting.remove(&ticket)?;
        Some((waiter, slot))
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, slot: Slot, signal: HealthSignal, now: Instant) {
        let endpoint = &mut self.endpoints[slot.endpoint];
        endpoint.in_flight -= 1;
        match signal {
            HealthSignal::Answered => endpoint.answered(),
            HealthSignal::Unknown => endpoint.given_up(&slot, now),
            HealthSignal::Failed(fault) => {
                endpoint.failed(fault, &slot, now, self.cooldown, self.random.f64())
            }
        }
    }

    /// Until when an endpoint cools down; none when it does not.
    pub(super) fn cools_until(&self, endpoint: usize) -> Option<Instant> {
        match self.endpoints[endpoint].health {
            Health::CoolingDown { until } => Some(until),
            Health::Up | Health::HalfOpen => None,
        }
    }

    /// Whether an endpoint is used without reserve.
    pub(super) fn is_up(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].health == Health::Up
    }

    fn slot(&mut self, now: Instant) -> Option<Slot> {
        let (index, endpoint) = self
            .endpoints
            .iter_mut()
            .enumerate()
            .filter(|(_, endpoint)| endpoint.in_flight < self.limit && endpoint.admits(now))
            .min_by_key(|(_, endpoint)| (endpoint.in_flight, endpoint.last_grant))?;
        self.grants += 1;
        endpoint.last_grant = self.grants;
        endpoint.in_flight += 1;
        let is_trial = endpoint.health != Health::Up;
        if is_trial {
            endpoint.health = Health::HalfOpen;
        }
        Some(Slot { endpoint: index, is_trial })
    }
}

impl EndpointLoad {
    fn admits(&self, now: Instant) -> bool {
        match self.health {
            Health::Up => true,
            Health::CoolingDown { until } => until <= now,
            Health::HalfOpen => false,
        }
    }

    /// An answer ends the half-open state, but not a cooldown: it may be to a request from before the failure.
    fn answered(&mut self) {
        self.failures = 0;
        if self.health == Health::HalfOpen {
            self.health = Health::Up;
        }
    }

    /// A trial that was given up must not keep the next one from being sent.
    fn given_up(&mut self, slot: &Slot, now: Instant) {
        if slot.is_trial && self.health == Health::HalfOpen {
            self.health = Health::CoolingDown { until: now };
        }
    }

    fn failed(&mut self, fault: EndpointFault, slot: &Slot, now: Instant, cooldown: Backoff, jitter: f64) {
        let asked = if let EndpointFault::Busy(wait) = fault { wait } else { Duration::ZERO };
        if let Health::CoolingDown { until } = self.health {
            // Requests sent before the cooldown fail together: they count once, not each.
            let until = until.max(now + asked);
            self.health = Health::CoolingDown { until };
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if slot.is_trial || fault != EndpointFault::Error || self.failures >= FAILURES_TO_COOL_DOWN {
            let wait = cooldown.wait(self.failures, jitter).max(asked);
            self.health = Health::CoolingDown { until: now + wait };
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
