//! What follows from a failed attempt: a pure rule.
//!
//! What may pass is retried for as long as it takes, because an outage passes. But a server may fail on one request
//! alone, each time, while it answers all others: that does not pass. So a failure counts against its request where
//! the server answered another request that was sent after the failure that counted before. An answer to an older
//! request says nothing: the server may have broken down since it took it. While nothing is answered, nothing counts.
//!
//! Where nothing else is asked, nothing else can be answered, and the last requests of a run would be retried for ever.
//! So while few calls fail, the caller of one that failed some times in a row sends a *probe*, a request for something
//! small, before it retries: if the server has an answer to that, it works, and works still when it fails on the
//! request a moment later. This counts against the call that asked, and against no other.
//!
//! A server that has an answer to a probe may be unable to serve any request in earnest: it has no memory for long
//! ones, or too much to do. Then all calls fail, and many calls that fail are an outage that is waited out. A time-out
//! tells of load rather than of the request, so it gives no reason to probe either. What is left to chance is an outage
//! of that sort while a client has no more than a few calls to make.

use std::time::Duration;

use super::{
    Backoff,
    failure::{AttemptFailure, FailureKind, MAX_UNREADABLE},
};

/// Failures in a row, all of which may be the request's, after which a probe is sent. In an outage most waits are at
/// their longest by then, so that probes are no load.
const PROBE_AFTER: u32 = 8;

/// Calls of a client that fail at the same time, beyond which it is an outage. Not one alone: the calls of one step hold
/// the same prompt and fail together (an improve step of the usual recipe makes four, a score step five), and would wait
/// for each other for ever.
const MOST_FAILING: usize = 8;

/// When a call is retried.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryPolicy {
    /// Failures while the server answers others, at which a request is given up.
    pub(super) max_while_healthy: u32,
    /// Waits before the retries.
    pub(super) backoff: Backoff,
}

/// What one call has seen so far.
#[derive(Debug, Default)]
pub(super) struct CallHistory {
    /// Requests sent.
    pub(super) attempts: u32,
    /// Unreadable answers in a row.
    unreadable: u32,
    /// Failures in a row that give reason to probe.
    suspicious: u32,
    /// Whether the server has just answered this call's probe.
    probed: bool,
    /// Failures while the server answered others.
    while_healthy: u32,
    /// When the latest failure came that counted, or else the first.
    since: Option<Moment>,
}

/// A moment in the life of a client, counted in attempts begun.
pub(super) type Moment = u64;

/// What is known when an attempt has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// The moment.
    pub(super) now: Moment,
    /// When the youngest request was sent that the endpoint answered; none where it has answered none.
    pub(super) newest_answered: Option<Moment>,
}

/// What follows from a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The request is sent again after a wait.
    RetryAfter(Duration),
    /// The failure is the call's result.
    Final,
    /// The server fails on this request alone, this many times by now.
    GiveUp {
        /// Failures while the server answered others.
        failures: u32,
    },
}

impl RetryPolicy {
    /// Notes a failed attempt and decides. `jitter` in `0.0..1.0` chooses within the range of the wait.
    pub(super) fn decide(
        &self,
        history: &mut CallHistory,
        failure: &AttemptFailure,
        evidence: Evidence,
        jitter: f64,
    ) -> Decision {
        let kind = failure.kind;
        if !kind.is_transient() {
            return Decision::Final;
        }
        let retry = Decision::RetryAfter(self.backoff.wait(history.attempts, jitter));
        if kind == FailureKind::Unreadable {
            history.unreadable += 1;
            return if history.unreadable < MAX_UNREADABLE { retry } else { Decision::Final };
        }
        history.unreadable = 0;
        history.note(kind, evidence);
        match history.while_healthy {
            failures if failures >= self.max_while_healthy => Decision::GiveUp { failures },
            _ => retry,
        }
    }
}

impl CallHistory {
    fn note(&mut self, kind: FailureKind, evidence: Evidence) {
        let probed = std::mem::take(&mut self.probed) && kind.wants_probe();
        self.suspicious = if kind.wants_probe() { self.suspicious + 1 } else { 0 };
        let counts = probed || kind.may_be_the_request() && self.is_healthy(evidence.newest_answered);
        self.while_healthy += u32::from(counts);
        if counts || self.since.is_none() {
            self.since = Some(evidence.now);
        }
    }

    /// Whether the endpoint answered a request that was sent after the failure that counted before.
    fn is_healthy(&self, newest_answered: Option<Moment>) -> bool {
        self.since.zip(newest_answered).is_some_and(|(since, answered)| answered >= since)
    }

    /// Whether the request may be what is wrong and nothing tells: no more than a few calls are `failing`, this one
    /// among them, and the endpoint has answered nothing since.
    pub(super) fn wants_probe(&self, newest_answered: Option<Moment>, failing: usize) -> bool {
        self.suspicious >= PROBE_AFTER && failing <= MOST_FAILING && !self.is_healthy(newest_answered)
    }

    /// Notes that the server to which the request goes next has answered a probe.
    pub(super) fn probe_answered(&mut self) {
        self.probed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(8);
    const RETRY: Decision = Decision::RetryAfter(WAIT);

    fn policy(max_while_healthy: u32) -> RetryPolicy {
        RetryPolicy { max_while_healthy, backoff: Backoff { first: WAIT, most: WAIT } }
    }

    fn failure(kind: FailureKind) -> AttemptFailure {
        AttemptFailure::new(kind, "")
    }

    /// A call that fails again and again, and what else happens at its endpoint.
    struct Case {
        history: CallHistory,
        evidence: Evidence,
        policy: RetryPolicy,
    }

    impl Case {
        fn new(max_while_healthy: u32) -> Self {
            let evidence = Evidence { now: 5, newest_answered: Some(4) };
            Self { history: CallHistory::default(), evidence, policy: policy(max_while_healthy) }
        }

        /// The endpoint answers a request that was sent only now.
        fn other_answered(&mut self) -> &mut Self {
            self.evidence.newest_answered = Some(self.evidence.now);
            self.evidence.now += 1;
            self
        }

        fn fails(&mut self, kind: FailureKind) -> Decision {
            self.evidence.now += 1;
            self.policy.decide(&mut self.history, &failure(kind), self.evidence, 1.0)
        }

        fn wants_probe(&self, failing: usize) -> bool {
            self.history.wants_probe(self.evidence.newest_answered, failing)
        }
    }

    #[test]
    fn a_request_on_which_a_healthy_server_fails_is_given_up() {
        let mut case = Case::new(3);
        let decisions: Vec<_> = (0..4).map(|_| case.other_answered().fails(FailureKind::Server)).collect();
        assert_eq!(decisions, [RETRY, RETRY, RETRY, Decision::GiveUp { failures: 3 }]);
        let mut case = Case::new(2);
        let slow_or_cut = [FailureKind::Timeout, FailureKind::Cut, FailureKind::Timeout];
        let decisions = slow_or_cut.map(|kind| case.other_answered().fails(kind));
        assert_eq!(decisions, [RETRY, RETRY, Decision::GiveUp { failures: 2 }]);
    }

    #[test]
    fn an_outage_is_waited_out() {
        let mut case = Case::new(1);
        assert!((0..100).all(|_| case.fails(FailureKind::Server) == RETRY));
        let mut case = Case::new(2);
        case.other_answered().fails(FailureKind::Server);
        case.other_answered().fails(FailureKind::Server);
        assert!((0..100).all(|_| case.fails(FailureKind::Server) == RETRY), "one failure is one failure");
    }

    #[test]
    fn answers_to_requests_from_before_the_failure_say_nothing() {
        let mut case = Case::new(1);
        case.fails(FailureKind::Server);
        for older in [4, 5] {
            case.evidence.newest_answered = Some(older);
            assert_eq!(case.fails(FailureKind::Server), RETRY, "sent at {older}");
        }
        case.evidence.newest_answered = Some(6);
        assert_eq!(case.fails(FailureKind::Server), Decision::GiveUp { failures: 1 });
    }

    #[test]
    fn a_server_that_answered_nothing_yet_says_nothing_of_the_request() {
        let mut case = Case::new(1);
        case.evidence.newest_answered = None;
        assert!((0..10).all(|_| case.fails(FailureKind::Server) == RETRY));
    }

    #[test]
    fn a_probe_is_wanted_of_a_server_that_fails_and_says_nothing_else() {
        let mut case = Case::new(9);
        let wanted: Vec<bool> = (0..PROBE_AFTER)
            .map(|_| {
                case.fails(FailureKind::Server);
                case.wants_probe(1)
            })
            .collect();
        assert_eq!(wanted.iter().position(|wanted| *wanted), Some(PROBE_AFTER as usize - 1));
        case.fails(FailureKind::Connect);
        assert!(!case.wants_probe(1));
        case.fails(FailureKind::Server);
        assert!(!case.wants_probe(1), "it begins anew");
        (0..PROBE_AFTER).for_each(|_| _ = case.fails(FailureKind::Cut));
        assert!(case.wants_probe(MOST_FAILING));
        assert!(!case.wants_probe(MOST_FAILING + 1), "many that fail are an outage");
        assert!(!case.other_answered().wants_probe(1), "it answered others");
    }

    #[test]
    fn time_outs_give_no_reason_to_probe() {
        let mut case = Case::new(9);
        for _ in 0..100 {
            case.fails(FailureKind::Timeout);
            assert!(!case.wants_probe(1));
        }
    }

    #[test]
    fn a_probe_counts_once_and_not_against_a_time_out() {
        let mut case = Case::new(2);
        let mut fails = |kind, probed| {
            if probed {
                case.history.probe_answered();
            }
            case.fails(kind)
        };
        assert_eq!(fails(FailureKind::Server, true), RETRY);
        let then = [(FailureKind::Server, false), (FailureKind::Timeout, true), (FailureKind::Busy, true)];
        assert!(then.into_iter().all(|(kind, probed)| fails(kind, probed) == RETRY));
        assert_eq!(fails(FailureKind::Cut, true), Decision::GiveUp { failures: 2 });
    }

    #[test]
    fn a_server_that_is_busy_or_away_says_nothing_of_the_request() {
        let mut case = Case::new(1);
        for kind in [FailureKind::Busy, FailureKind::Connect].repeat(20) {
            assert_eq!(case.other_answered().fails(kind), RETRY);
        }
    }

    #[test]
    fn unreadable_answers_end_a_request_after_five_in_a_row() {
        let mut case = Case::new(9);
        let three = [FailureKind::Unreadable, FailureKind::Unreadable, FailureKind::Connect];
        assert_eq!(three.map(|kind| case.fails(kind)), [RETRY; 3]);
        let five = [FailureKind::Unreadable; 5].map(|kind| case.fails(kind));
        assert_eq!(five, [RETRY, RETRY, RETRY, RETRY, Decision::Final]);
        assert_eq!(case.fails(FailureKind::Unusable), Decision::Final);
    }

    #[test]
    fn the_wait_grows_with_the_attempts() {
        let backoff = Backoff { first: WAIT, most: Duration::from_secs(1) };
        let policy = RetryPolicy { max_while_healthy: 9, backoff };
        let mut history = CallHistory { attempts: 3, ..CallHistory::default() };
        let evidence = Evidence { now: 0, newest_answered: None };
        let decision = policy.decide(&mut history, &failure(FailureKind::Connect), evidence, 0.0);
        assert_eq!(decision, Decision::RetryAfter(WAIT * 2));
    }
}
