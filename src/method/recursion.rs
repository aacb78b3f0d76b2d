//! Greedy refinement over several rounds: after each, whether to go on, and from which answer.
//!
//! The decision follows from the rounds so far and nothing else, so a thread that comes back after a crash goes
//! the same way.

use super::scored::{ScoredImprovement, first_best, scored_improvements};
use crate::record::{Round, Thread};

/// What came of a finished round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundOutcome<'a> {
    /// The improvement of the highest reward, of equals the first; nothing where none has a reward.
    pub best: Option<ScoredImprovement<'a>>,
    /// Whether it is strictly above the reward of the round's answer.
    pub gained: bool,
}

/// What to do after the rounds so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoundDecision<'a> {
    /// Refine this answer in another round.
    Refine {
        /// The text to refine.
        answer: &'a str,
        /// Its reward, which the round has to beat.
        reward: f64,
    },
    /// Stop: the last round gained nothing, or there have been as many as there may be.
    Stop {
        /// The final answer.
        answer: &'a str,
        /// Its reward.
        reward: f64,
    },
}

/// The best of a round's improvements, of equals the first.
pub fn best_of_round(round: &Round) -> Option<ScoredImprovement<'_>> {
    first_best(&scored_improvements(round), |improvement| improvement.reward).copied()
}

/// What came of each round up to the first that did not gain, starting from `r(y0)`.
pub fn outcomes(answer_reward: f64, rounds: &[Round]) -> Vec<RoundOutcome<'_>> {
    let mut to_beat = answer_reward;
    let mut outcomes = Vec::with_capacity(rounds.len());
    for round in rounds {
        let best = best_of_round(round);
        let gained = best.is_some_and(|best| best.reward > to_beat);
        to_beat = best.filter(|_| gained).map_or(to_beat, |best| best.reward);
        outcomes.push(RoundOutcome { best, gained });
        if !gained {
            break;
        }
    }
    outcomes
}

/// What to do after `rounds`, of which there may be `most`.
pub fn next_step<'a>(
    answer: &'a str,
    answer_reward: f64,
    rounds: &'a [Round],
    most: u32,
) -> RoundDecision<'a> {
    let outcomes = outcomes(answer_reward, rounds);
    let last_gain = outcomes.iter().rev().find(|outcome| outcome.gained).and_then(|outcome| outcome.best);
    let (answer, reward) = last_gain.map_or((answer, answer_reward), |best| (best.text, best.reward));
    let failed = outcomes.last().is_some_and(|outcome| !outcome.gained);
    if failed || rounds.len() >= most as usize {
        RoundDecision::Stop { answer, reward }
    } else {
        RoundDecision::Refine { answer, reward }
    }
}

/// The answer that a round works on, by the rounds before it: the best so far by its reward, or the latest where
/// there are no rewards. Nothing where the thread has no answer.
pub fn answer_to_refine<'a>(thread: &'a Thread, rounds: &'a [Round]) -> Option<&'a str> {
    match decision(thread, rounds, u32::MAX) {
        Some(RoundDecision::Refine { answer, .. } | RoundDecision::Stop { answer, .. }) => Some(answer),
        None => {
            let latest = rounds.iter().rev().find_map(first_improvement);
            latest.or(thread.answer.as_ref().map(|answer| &answer.text)).map(String::as_str)
        }
    }
}

/// The first improvement of a round that has a text.
pub(super) fn first_improvement(round: &Round) -> Option<&String> {
    let mut improvements = round.critiques.iter().flat_map(|critique| &critique.improvements);
    improvements.find_map(|improvement| improvement.text.as_ref())
}

/// What to do after these rounds; nothing where the answer has no reward to beat.
fn decision<'a>(thread: &'a Thread, rounds: &'a [Round], most: u32) -> Option<RoundDecision<'a>> {
    let answer = thread.answer.as_ref()?;
    let reward = answer.reward.filter(|reward| reward.is_finite())?;
    Some(next_step(&answer.text, reward, rounds, most))
}

/// Whether there is another round, of which there may be `most`.
pub(super) fn goes_on(thread: &Thread, most: u32) -> bool {
    matches!(decision(thread, &thread.rounds, most), Some(RoundDecision::Refine { .. }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::method::samples::thread_of;

    /// A round of one critique, whose improvements are named after their rewards.
    fn round(rewards: &[Option<f64>]) -> Round {
        let call = json!({
            "model": "m", "seed": 0, "temperature": 0.7, "tries": 1, "finish_reason": "stop",
            "prompt_tokens": 0, "completion_tokens": 0, "failure": null,
        });
        let name = |reward: &Option<f64>| reward.map(|reward| reward.to_string()).unwrap_or_default();
        let improvement = |reward| json!({"text": name(reward), "reward": reward, "call": call});
        let improvements: Vec<Value> = rewards.iter().map(improvement).collect();
        let critique = json!({"text": "c", "rating": 5, "call": call, "improvements": improvements});
        serde_json::from_value(json!({"critiques": [critique]})).expect("a round")
    }

    #[test]
    fn goes_on_from_the_best_until_nothing_gains() {
        let refine = |answer, reward| RoundDecision::Refine { answer, reward };
        let stop = |answer, reward| RoundDecision::Stop { answer, reward };
        let gain = round(&[Some(1.0), None, Some(2.0)]);
        let cases = [
            (vec![], refine("y0", 0.0)),
            (vec![gain.clone()], refine("2", 2.0)),
            (vec![round(&[Some(0.0)])], stop("y0", 0.0)),
            (vec![round(&[None])], stop("y0", 0.0)),
            (vec![gain.clone(), round(&[Some(2.0)])], stop("2", 2.0)),
            (vec![gain.clone(), round(&[Some(3.0)])], refine("3", 3.0)),
            (vec![gain, round(&[Some(3.0)]), round(&[Some(4.0)])], stop("4", 4.0)),
        ];
        for (rounds, step) in cases {
            assert_eq!(next_step("y0", 0.0, &rounds, 3), step, "{rounds:?}");
        }
    }

    #[test]
    fn of_equal_improvements_the_first_is_best() {
        let round = round(&[Some(1.0), Some(1.0)]);
        assert_eq!(best_of_round(&round).map(|best| best.place.improvement), Some(0));
    }

    #[test]
    fn a_round_works_on_the_best_so_far_or_on_the_latest() {
        let thread = thread_of(Some(0.0), &[&[1.0, 2.0], &[1.5]]);
        let answers: Vec<_> =
            (0..=2).map(|round| answer_to_refine(&thread, &thread.rounds[..round])).collect();
        assert_eq!(answers, [Some("y0"), Some("2"), Some("2")]);
        let thread = thread_of(None, &[&[1.0, 2.0], &[1.5]]);
        let answers: Vec<_> =
            (0..=2).map(|round| answer_to_refine(&thread, &thread.rounds[..round])).collect();
        assert_eq!(answers, [Some("y0"), Some("1"), Some("1.5")]);
    }

    proptest! {
        #[test]
        fn the_answer_only_ever_gets_better(
            rounds in prop::collection::vec(prop::collection::vec(prop::option::of(-3_i8..9), 0..5), 0..7),
            most in 1_u32..7,
        ) {
            let rounds: Vec<Round> = rounds.iter()
                .map(|row| round(&row.iter().map(|reward| reward.map(f64::from)).collect::<Vec<_>>()))
                .collect();
            let outcomes = outcomes(0.0, &rounds);
            let gains: Vec<f64> = outcomes.iter().filter(|one| one.gained).filter_map(|one| one.best).map(|best| best.reward).collect();
            prop_assert!(gains.windows(2).all(|pair| pair[0] < pair[1]) && gains.iter().all(|gain| *gain > 0.0));
            let (RoundDecision::Refine { reward, .. } | RoundDecision::Stop { reward, .. }) = next_step("y0", 0.0, &rounds, most);
            prop_assert_eq!(reward, gains.last().copied().unwrap_or(0.0));
        }
    }
}
