//! What goes wrong and when, drawn from a seed before anything runs. Moments are counts of committed outcomes, not
//! times: on a slow machine the same things happen to the same amount of work.

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Prompts submitted.
    pub(crate) prompts: usize,
    /// Workers killed by SIGKILL.
    pub(crate) kills: usize,
    /// Workers stopped by SIGTERM.
    pub(crate) terminations: usize,
    /// Brokers killed and brought back.
    pub(crate) outages: usize,
    /// Copies added, and as many removed.
    pub(crate) copies: usize,
    /// From which everything is drawn.
    pub(crate) seed: u64,
    /// How members of a group share its partitions.
    pub(crate) protocol: Protocol,
}

/// The protocol of the workers' groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Classic,
    Consumer,
}

impl Form {
    /// The short form, or what the variables `AVR_CHAOS_…` say.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str, default: usize| match std::env::var(format!("AVR_CHAOS_{name}")) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("AVR_CHAOS_{name}={text}: not a number")),
            Err(_) => default,
        };
        Self {
            prompts: number("PROMPTS", 2_000),
            kills: number("KILLS", 8),
            terminations: number("TERMINATIONS", 2),
            outages: number("OUTAGES", 1),
            copies: number("COPIES", 1),
            seed: number("SEED", 1) as u64,
            protocol: match std::env::var("AVR_CHAOS_PROTOCOL").as_deref() {
                Ok("classic") | Err(_) => Protocol::Classic,
                Ok("consumer") => Protocol::Consumer,
                Ok(other) => panic!("AVR_CHAOS_PROTOCOL={other}: neither classic nor consumer"),
            },
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Disturbance {
    /// SIGKILL for the worker at this place, modulo how many there are.
    Kill(usize),
    /// SIGTERM for it, and another start under its name.
    Terminate(usize),
    /// One more worker; the number decides what it does.
    Add(usize),
    /// SIGTERM for a worker of those that were added.
    Remove,
    /// SIGKILL for this broker.
    BrokerDies(u32),
    /// The broker is started again.
    BrokerReturns(u32),
}

/// A disturbance and its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    /// Outcomes that are committed when it comes.
    pub(crate) outcomes: usize,
    /// What happens.
    pub(crate) what: Disturbance,
}

/// Brokers are numbered from 1.
const BROKERS: u32 = 3;

/// Everything that goes wrong, in order. Nothing happens in the first and in the last twentieth, so that there is
/// work to be disturbed. Never are two brokers down at once, for the topics want two copies that are in sync.
pub(crate) fn plan(form: &Form) -> Vec<Moment> {
    let mut rng = fastrand::Rng::with_seed(form.seed);
    let (first, last) = (form.prompts / 20, form.prompts - form.prompts / 20);
    let mut moments = Vec::new();
    let mut at_random = |what: Disturbance, rng: &mut fastrand::Rng| {
        moments.push(Moment { outcomes: rng.usize(first..last), what });
    };
    for _ in 0..form.kills {
        let which = rng.usize(..);
        at_random(Disturbance::Kill(which), &mut rng);
    }
    for _ in 0..form.terminations {
        let which = rng.usize(..);
        at_random(Disturbance::Terminate(which), &mut rng);
    }
    let mut in_turn = |count: usize,
                       rng: &mut fastrand::Rng,
                       pair: &dyn Fn(usize, &mut fastrand::Rng) -> [Disturbance; 2]| {
        let share = (last - first) / count.max(1);
        for nth in 0..count {
            let begin = first + nth * share;
            let middle = begin + share / 2;
            let [one, other] = pair(nth, rng);
            moments.push(Moment { outcomes: rng.usize(begin..middle), what: one });
            moments.push(Moment { outcomes: rng.usize(middle..begin + share), what: other });
        }
    };
    in_turn(form.outages, &mut rng, &|_, rng| {
        let broker = rng.u32(1..=BROKERS);
        [Disturbance::BrokerDies(broker), Disturbance::BrokerReturns(broker)]
    });
    in_turn(form.copies, &mut rng, &|nth, _| [Disturbance::Add(nth), Disturbance::Remove]);
    moments.sort_unstable();
    moments
}

#[test]
fn a_plan_holds_what_was_asked_for_and_repeats() {
    let form = Form {
        prompts: 20_000,
        kills: 40,
        terminations: 10,
        outages: 3,
        copies: 4,
        seed: 7,
        protocol: Protocol::Classic,
    };
    let moments = plan(&form);
    assert_eq!(moments, plan(&form));
    let count = |is: fn(&Disturbance) -> bool| moments.iter().filter(|moment| is(&moment.what)).count();
    assert_eq!(count(|what| matches!(what, Disturbance::Kill(_))), 40);
    assert_eq!(count(|what| matches!(what, Disturbance::Terminate(_))), 10);
    assert_eq!(count(|what| matches!(what, Disturbance::Remove)), 4);
    let mut down = 0;
    for moment in &moments {
        match moment.what {
            Disturbance::BrokerDies(_) => down += 1,
            Disturbance::BrokerReturns(_) => down -= 1,
            _ => {}
        }
        assert!((0..=1).contains(&down), "one broker at a time");
    }
}
