use proptest::prelude::*;

use super::*;

const COOLDOWN: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(8) };

fn schedule(count: usize, limit: usize) -> Schedule<u32> {
    Schedule::new(count, limit, COOLDOWN, fastrand::Rng::with_seed(1))
}

/// Endpoints that successive slots are at.
fn slots(schedule: &mut Schedule<u32>, now: Instant, count: usize) -> Vec<usize> {
    (0..count).map_while(|_| schedule.slot_now(now)).map(|slot| slot.endpoint).collect()
}

/// Takes a slot and gives it back with `signal`.
fn happens(schedule: &mut Schedule<u32>, now: Instant, signal: HealthSignal) {
    let slot = schedule.slot_now(now).expect("a slot is free");
    schedule.release(slot, signal, now);
}

#[test]
fn calls_spread_over_endpoints_up_to_the_limit() {
    let mut schedule = schedule(3, 2);
    let now = Instant::now();
    assert_eq!(slots(&mut schedule, now, 10), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn one_call_at_a_time_still_spreads() {
    let mut schedule = schedule(3, 2);
    let now = Instant::now();
    let mut used = Vec::new();
    for _ in 0..4 {
        let slot = schedule.slot_now(now).expect("a slot is free");
        used.push(slot.endpoint);
        schedule.release(slot, HealthSignal::Answered, now);
    }
    assert_eq!(used, [0, 1, 2, 0]);
}

#[test]
fn waiting_calls_are_served_by_priority_then_by_age() {
    let mut schedule = schedule(1, 4);
    let now = Instant::now();
    for (priority, call) in [(1, 10), (3, 30), (1, 11), (3, 31)] {
        schedule.enqueue(Priority(priority), call);
    }
    let served: Vec<u32> = std::iter::from_fn(|| schedule.serve(now)).map(|(call, _)| call).collect();
    assert_eq!(served, [30, 31, 10, 11]);
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let mut schedule = schedule(1, 1);
    schedule.enqueue(Priority(0), 1);
    assert_eq!(schedule.slot_now(Instant::now()), None);
}

#[test]
fn an_unreachable_endpoint_cools_down_and_is_tried_by_one() {
    let mut schedule = schedule(1, 4);
    let now = Instant::now();
    happens(&mut schedule, now, HealthSignal::Failed(EndpointFault::Unreachable));
    assert_eq!(schedule.slot_now(now), None);
    let later = now + COOLDOWN.first;
    let trial = schedule.slot_now(later).expect("the cooldown is over");
    assert_eq!(schedule.slot_now(later), None, "one trial at a time");
    schedule.release(trial, HealthSignal::Answered, later);
    assert!(schedule.is_up(0));
    assert_eq!(slots(&mut schedule, later, 9).len(), 4);
}

#[test]
fn a_trial_that_fails_makes_the_cooldown_longer_and_one_given_up_does_not() {
    let mut schedule = schedule(1, 4);
    let mut now = Instant::now();
    let mut cooldowns = Vec::new();
    for signal in [
        EndpointFault::Unreachable,
        EndpointFault::Error,
        EndpointFault::Error,
        EndpointFault::Error,
        EndpointFault::Error,
    ]
    .map(HealthSignal::Failed)
    {
        happens(&mut schedule, now, signal);
        let until = schedule.cools_until(0).expect("it cools down");
        cooldowns.push((until - now).as_secs_f64());
        now = until;
        happens(&mut schedule, now, HealthSignal::Unknown);
        assert_eq!(schedule.cools_until(0), Some(now));
    }
    for (cooldown, whole) in cooldowns.into_iter().zip([1.0, 2.0, 4.0, 8.0, 8.0]) {
        assert!(whole / 2.0 <= cooldown && cooldown <= whole, "{cooldown} of {whole}");
    }
}

#[test]
fn single_errors_cost_no_capacity_and_errors_in_a_row_do() {
    let mut schedule = schedule(1, 4);
    let now = Instant::now();
    let error = HealthSignal::Failed(EndpointFault::Error);
    for signal in [error, error, HealthSignal::Answered, error, error] {
        happens(&mut schedule, now, signal);
        assert!(schedule.is_up(0));
    }
    happens(&mut schedule, now, error);
    assert!(!schedule.is_up(0));
}

#[test]
fn a_time_to_wait_is_kept_to() {
    let mut schedule = schedule(2, 4);
    let now = Instant::now();
    let [first, second, third] = [(); 3].map(|()| schedule.slot_now(now).expect("a slot is free"));
    let asked = Duration::from_secs(60);
    schedule.release(first, HealthSignal::Failed(EndpointFault::Busy(asked)), now);
    assert_eq!(schedule.cools_until(0), Some(now + asked));
    // An answer to a request from before does not end the cooldown; the other endpoint goes on.
    schedule.release(third, HealthSignal::Answered, now);
    assert_eq!(schedule.cools_until(0), Some(now + asked));
    assert_eq!(slots(&mut schedule, now, 9), [1, 1, 1]);
    schedule.release(second, HealthSignal::Answered, now);
}

#[test]
fn requests_that_fail_together_count_once() {
    let mut schedule = schedule(1, 64);
    let now = Instant::now();
    let slots: Vec<Slot> = std::iter::from_fn(|| schedule.slot_now(now)).collect();
    for slot in slots {
        schedule.release(slot, HealthSignal::Failed(EndpointFault::Unreachable), now);
    }
    assert!(schedule.cools_until(0).is_some_and(|until| until <= now + COOLDOWN.first));
}

/// What may happen to a schedule.
#[derive(Clone, Debug)]
enum Step {
    Come(u8),
    GiveUp(usize),
    Finish(usize, HealthSignal),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let signal = prop_oneof![
        4 => Just(HealthSignal::Answered),
        1 => Just(HealthSignal::Unknown),
        1 => Just(HealthSignal::Failed(EndpointFault::Unreachable)),
        2 => Just(HealthSignal::Failed(EndpointFault::Error)),
        1 => (0u64..5000).prop_map(|wait| HealthSignal::Failed(EndpointFault::Busy(Duration::from_millis(wait)))),
    ];
    prop_oneof![
        4 => (0u8..4).prop_map(Step::Come),
        1 => any::<usize>().prop_map(Step::GiveUp),
        4 => (any::<usize>(), signal).prop_map(|(which, signal)| Step::Finish(which, signal)),
        2 => (0u64..3000).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens: no endpoint above its limit, slots only at endpoints that admit them, the queue in
    /// order, no free slot while a call waits, and no slot lost at the end.
    #[test]
    fn keeps_its_promises(steps in prop::collection::vec(step(), 0..200), count in 1usize..4, limit in 1usize..4) {
        let mut schedule = schedule(count, limit);
        let mut now = Instant::now();
        let mut held: Vec<Slot> = Vec::new();
        let mut waiting: Vec<(Ticket, u32)> = Vec::new();
        for (number, step) in (0u32..).zip(steps) {
            match step {
                Step::Come(priority) => waiting.push((schedule.enqueue(Priority(priority), number), number)),
                Step::GiveUp(which) if !waiting.is_empty() => {
                    let (ticket, call) = waiting.remove(which % waiting.len());
                    prop_assert_eq!(schedule.withdraw(ticket), Some(call));
                }
                Step::Finish(which, signal) if !held.is_empty() => {
                    schedule.release(held.remove(which % held.len()), signal, now);
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::GiveUp(_) | Step::Finish(..) => {}
            }
            waiting.sort();
            while let Some((call, slot)) = schedule.serve(now) {
                prop_assert_eq!(waiting.remove(0).1, call);
                prop_assert!(!matches!(schedule.cools_until(slot.endpoint), Some(until) if until > now));
                held.push(slot);
            }
            for endpoint in &schedule.endpoints {
                prop_assert!(endpoint.in_flight <= limit);
                let free = endpoint.in_flight < limit && endpoint.admits(now);
                prop_assert!(waiting.is_empty() || !free);
            }
        }
        for slot in held {
            schedule.release(slot, HealthSignal::Answered, now);
        }
        prop_assert!(schedule.endpoints.iter().all(|endpoint| endpoint.in_flight == 0));
        let rested = now + Duration::from_secs(3600);
        prop_assert!(schedule.endpoints.iter().all(|endpoint| endpoint.admits(rested)), "no endpoint is lost");
    }
}
