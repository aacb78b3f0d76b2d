//! When a call that fails is not sent again: a pure rule.
//!
//! What may pass is repeated for as long as it takes, because an outage passes. But a server may fail on one request
//! alone, each time, while it answers all others: that does not pass. So a failure counts against its request where
//! the server answered something else since the request's failure before. While nothing is answered, nothing counts.
//!
//! Where nothing else is asked, nothing else can be answered, and the last requests of a run would be repeated for ever.
//! So while few calls fail, the caller of one that failed some times in a row asks for something small before it repeats:
//! if the server has an answer to that, it works, and works still when it fails on the request a moment later. This
//! counts against the call that asked, and against no other.
//!
//! A server that has an answer to what is small may be unable to serve any request in earnest: it has no memory for long
//! ones, or too much to do. Then all calls fail, and many calls that fail are an outage that is waited out. A time-out
//! tells of load rather than of the request, so it gives no reason to ask either. What is left to chance is an outage
//! of that sort while a client has no more than a few calls to make.

use super::failure::{Class, Failure, MAX_UNREADABLE};

/// Failures in a row, all of which may be the request's, after which a proof is wanted that the server works. In an
/// outage most waits are at their longest by then, so that proofs are no load.
const PROOF_AFTER: u32 = 8;

/// Calls of a client that fail at the same time, beyond which it is an outage. Not one alone: the calls of one step hold
/// the same prompt and fail together (an improve step of the usual recipe makes four, a score step five), and would wait
/// for each other for ever.
const MOST_FAILING: usize = 8;

/// What one call has seen so far.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Unreadable answers in a row.
    unreadable: u32,
    /// Failures in a row that give reason to ask for a proof.
    suspicious: u32,
    /// Whether the server has just proved to this call that it works.
    proved: bool,
    /// Failures while the server answered others.
    alone: u32,
    /// The answers of each endpoint at the latest failure.
    answers: Option<Vec<u64>>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The request is sent again.
    Repeat,
    /// The failure is the call's result.
    Final,
    /// The server fails on this request alone, this many times by now.
    Hopeless(u32),
}

impl Patience {
    /// Notes a failure at `endpoint`, by which time each endpoint had given so many `answers`. `most` failures may
    /// come while the server answers others.
    pub(super) fn after(&mut self, failure: &Failure, endpoint: usize, answers: Vec<u64>, most: u32) -> Then {
        let Failure::Transient { class, .. } = failure else { return Then::Final };
        if *class == Class::Unreadable {
            self.unreadable += 1;
            return if self.unreadable < MAX_UNREADABLE { Then::Repeat } else { Then::Final };
        }
        self.unreadable = 0;
        let proved = std::mem::take(&mut self.proved) && class.wants_proof();
        self.suspicious = if class.wants_proof() { self.suspicious + 1 } else { 0 };
        let before = self.answers.replace(answers);
        let answered_others =
            before.zip(self.answers.as_ref()).is_some_and(|(before, now)| now[endpoint] > before[endpoint]);
        if proved || class.may_be_the_request() && answered_others {
            self.alone += 1;
        }
        if self.alone >= most { Then::Hopeless(self.alone) } else { Then::Repeat }
    }

    /// Whether the request may be what is wrong and nothing tells: no more than a few calls are `failing`, this one
    /// among them, and `endpoint` has answered nothing since its latest failure, now that it has given so many
    /// `answers`.
    pub(super) fn wants_proof(&self, endpoint: usize, answers: u64, failing: usize) -> bool {
        let is_silent = |before: &Vec<u64>| before[endpoint] == answers;
        let is_suspicious = self.suspicious >= PROOF_AFTER && failing <= MOST_FAILING;
        is_suspicious && self.answers.as_ref().is_some_and(is_silent)
    }

    /// Notes that the server to which the request goes next works.
    pub(super) fn proved(&mut self) {
        self.proved = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schedule::Fault;

    fn failure(class: Class) -> Failure {
        Failure::Transient { class, message: String::new(), fault: Fault::Error }
    }

    /// What follows from failures of these classes, each at endpoint 0 or 1 after this many more answers of each.
    fn follows(failures: &[(Class, usize, [u64; 2])], most: u32) -> Vec<Then> {
        let (mut patience, mut answers) = (Patience::default(), vec![5, 5]);
        let mut after = |&(class, endpoint, more): &(Class, usize, [u64; 2])| {
            answers.iter_mut().zip(more).for_each(|(answers, more)| *answers += more);
            patience.after(&failure(class), endpoint, answers.clone(), most)
        };
        failures.iter().map(&mut after).collect()
    }

    #[test]
    fn a_request_on_which_a_healthy_server_fails_is_given_up() {
        let failures = [(Class::Server, 0, [1, 0]); 4];
        assert_eq!(follows(&failures, 3), [Then::Repeat, Then::Repeat, Then::Repeat, Then::Hopeless(3)]);
        let slow_or_cut = [Class::Timeout, Class::Cut, Class::Timeout].map(|class| (class, 0, [1, 0]));
        assert_eq!(follows(&slow_or_cut, 2), [Then::Repeat, Then::Repeat, Then::Hopeless(2)]);
    }

    #[test]
    fn an_outage_is_waited_out() {
        let outage = [(Class::Server, 0, [0, 0]); 100];
        assert!(follows(&outage, 1).iter().all(|then| *then == Then::Repeat));
        let flaky_then_out = [(Class::Server, 0, [9, 9]), (Class::Server, 0, [9, 9])];
        let failures: Vec<_> = flaky_then_out.into_iter().chain(outage).collect();
        assert!(follows(&failures, 2).iter().all(|then| *then == Then::Repeat), "one failure is one failure");
    }

    #[test]
    fn answers_of_another_server_say_nothing_of_the_one_that_fails() {
        let failures = [(Class::Server, 0, [0, 7]); 10];
        assert!(follows(&failures, 1).iter().all(|then| *then == Then::Repeat));
    }

    #[test]
    fn a_proof_is_wanted_of_a_server_that_fails_and_says_nothing_else() {
        let (mut patience, answers) = (Patience::default(), vec![3, 3]);
        let mut fail = |class| {
            patience.after(&failure(class), 0, answers.clone(), 9);
            patience.wants_proof(0, answers[0], 1)
        };
        let wanted: Vec<bool> = (0..PROOF_AFTER).map(|_| fail(Class::Server)).collect();
        assert_eq!(wanted.iter().position(|wanted| *wanted), Some(PROOF_AFTER as usize - 1));
        assert!(fail(Class::Server) && !fail(Class::Connect) && !fail(Class::Server), "it begins anew");
        let wanted: Vec<bool> = (0..PROOF_AFTER).map(|_| fail(Class::Cut)).collect();
        assert_eq!(wanted.last(), Some(&true));
        let wants = |answers: [u64; 2]| patience.wants_proof(0, answers[0], 1);
        assert!(wants([3, 4]) && !wants([4, 3]), "it answered others");
        let wants = |failing| patience.wants_proof(0, 3, failing);
        assert!(wants(MOST_FAILING) && !wants(MOST_FAILING + 1), "many that fail are an outage");
    }

    #[test]
    fn time_outs_give_no_reason_to_ask_for_a_proof() {
        let mut patience = Patience::default();
        for _ in 0..100 {
            patience.after(&failure(Class::Timeout), 0, vec![3], 9);
            assert!(!patience.wants_proof(0, 3, 1));
        }
    }

    #[test]
    fn a_proof_counts_once_and_not_against_a_time_out() {
        let mut patience = Patience::default();
        let mut fail = |class, proved| {
            if proved {
                patience.proved();
            }
            patience.after(&failure(class), 0, vec![3], 2)
        };
        assert_eq!(fail(Class::Server, true), Then::Repeat);
        let then = [(Class::Server, false), (Class::Timeout, true), (Class::Busy, true)];
        assert!(then.into_iter().all(|(class, proved)| fail(class, proved) == Then::Repeat));
        assert_eq!(fail(Class::Cut, true), Then::Hopeless(2));
    }

    #[test]
    fn a_server_that_is_busy_or_away_says_nothing_of_the_request() {
        let failures: Vec<_> =
            [Class::Busy, Class::Connect].repeat(20).iter().map(|c| (*c, 0, [1, 1])).collect();
        assert!(follows(&failures, 1).iter().all(|then| *then == Then::Repeat));
    }

    #[test]
    fn unreadable_answers_end_a_request_after_five_in_a_row() {
        let unreadable = (Class::Unreadable, 0, [0, 0]);
        let then = follows(&[unreadable, unreadable, (Class::Connect, 0, [0, 0])], 9);
        assert_eq!(then, [Then::Repeat; 3]);
        assert_eq!(follows(&[unreadable; 5], 9)[4], Then::Final);
        let other = Failure::Unusable(String::new());
        assert_eq!(Patience::default().after(&other, 0, vec![0], 9), Then::Final);
    }
}
