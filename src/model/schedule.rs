//! Which waiting call goes to which endpoint, and when: a plain value without clock, lock or network.
//!
//! - A call goes to the endpoint with the fewest requests in flight, of equals to the one served longest ago.
//! - No endpoint has more than its limit in flight.
//! - Waiting calls are served by priority, and in the order of their coming within one.
//! - An endpoint that fails **rests**: at once when nothing listens there or when it asks for it
//!   (`Retry-After`), after [`FAILURES_TO_REST`] failures in a row otherwise, so that a single error of a
//!   single request costs no capacity. When the rest is over one request goes there as a **probe**; only
//!   when that was answered the others follow, and when it fails the next rest is longer.
//!
//! The number of waiting calls is bounded by who makes them: the engine bounds its steps, and a step its calls.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Failures in a row, of requests that did reach the server, that send an endpoint to rest.
pub(super) const FAILURES_TO_REST: u32 = 3;

/// How urgent a call is: the rank of its stage. Higher ranks, nearer the end of the pipeline, are served first,
/// so that little work is half done.
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
pub(super) struct Place {
    /// Index of the endpoint.
    pub(super) endpoint: usize,
    probe: bool,
}

/// What a request tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The server works: it answered, be it with a refusal.
    Answered,
    /// The server, or the way to it, failed.
    Failed(Fault),
    /// Nothing: the request was given up before its end.
    Unknown,
}

/// In what way an endpoint failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
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
    Resting { until: Instant },
    Probed,
}

#[derive(Debug)]
struct Endpoint {
    in_flight: usize,
    /// The number of the grant that came here last.
    last_grant: u64,
    failures: u32,
    health: Health,
}

/// The state of a pool; `W` stands for a waiting call.
#[derive(Debug)]
pub(super) struct Schedule<W> {
    endpoints: Vec<Endpoint>,
    limit: usize,
    rest: Backoff,
    random: fastrand::Rng,
    waiting: BTreeMap<Ticket, W>,
    tickets: u64,
    grants: u64,
}

impl<W> Schedule<W> {
    /// `count` endpoints that take `limit` requests each and rest as `rest` says.
    pub(super) fn new(count: usize, limit: usize, rest: Backoff, random: fastrand::Rng) -> Self {
        let new = || Endpoint { in_flight: 0, last_grant: 0, failures: 0, health: Health::Up };
        let endpoints = (0..count).map(|_| new()).collect();
        Self { endpoints, limit, rest, random, waiting: BTreeMap::new(), tickets: 0, grants: 0 }
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

    /// A place for a call that just came, if there is one and nobody waits for it.
    pub(super) fn place_now(&mut self, now: Instant) -> Option<Place> {
        if self.waiting.is_empty() { self.place(now) } else { None }
    }

    /// The next waiting call together with its place, as long as there is both.
    pub(super) fn serve(&mut self, now: Instant) -> Option<(W, Place)> {
        let ticket = *self.waiting.first_key_value()?.0;
        let place = self.place(now)?;
        let waiter = self.waiting.remove(&ticket)?;
        Some((waiter, place))
    }

    /// Gives a place back.
    pub(super) fn release(&mut self, place: Place, outcome: Outcome, now: Instant) {
        let endpoint = &mut self.endpoints[place.endpoint];
        endpoint.in_flight -= 1;
        match outcome {
            Outcome::Answered => endpoint.answered(),
            Outcome::Unknown => endpoint.given_up(&place, now),
            Outcome::Failed(fault) => endpoint.failed(fault, &place, now, self.rest, self.random.f64()),
        }
    }

    /// Until when an endpoint rests; none when it does not.
    pub(super) fn rests_until(&self, endpoint: usize) -> Option<Instant> {
        match self.endpoints[endpoint].health {
            Health::Resting { until } => Some(until),
            Health::Up | Health::Probed => None,
        }
    }

    /// Whether an endpoint is used without reserve.
    pub(super) fn is_up(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].health == Health::Up
    }

    fn place(&mut self, now: Instant) -> Option<Place> {
        let (index, endpoint) = self
            .endpoints
            .iter_mut()
            .enumerate()
            .filter(|(_, endpoint)| endpoint.in_flight < self.limit && endpoint.admits(now))
            .min_by_key(|(_, endpoint)| (endpoint.in_flight, endpoint.last_grant))?;
        self.grants += 1;
        endpoint.last_grant = self.grants;
        endpoint.in_flight += 1;
        let probe = endpoint.health != Health::Up;
        if probe {
            endpoint.health = Health::Probed;
        }
        Some(Place { endpoint: index, probe })
    }
}

impl Endpoint {
    fn admits(&self, now: Instant) -> bool {
        match self.health {
            Health::Up => true,
            Health::Resting { until } => until <= now,
            Health::Probed => false,
        }
    }

    /// An answer ends a probe, but not a rest: it may be to a request from before the failure.
    fn answered(&mut self) {
        self.failures = 0;
        if self.health == Health::Probed {
            self.health = Health::Up;
        }
    }

    /// A probe that was given up must not keep the next one from being sent.
    fn given_up(&mut self, place: &Place, now: Instant) {
        if place.probe && self.health == Health::Probed {
            self.health = Health::Resting { until: now };
        }
    }

    fn failed(&mut self, fault: Fault, place: &Place, now: Instant, rest: Backoff, luck: f64) {
        let asked = if let Fault::Busy(wait) = fault { wait } else { Duration::ZERO };
        if let Health::Resting { until } = self.health {
            // Requests sent before the rest fail together: they count once, not each.
            let until = until.max(now + asked);
            self.health = Health::Resting { until };
            return;
        }
        self.failures = self.failures.saturating_add(1);
        if place.probe || fault != Fault::Error || self.failures >= FAILURES_TO_REST {
            let wait = rest.wait(self.failures, luck).max(asked);
            self.health = Health::Resting { until: now + wait };
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
