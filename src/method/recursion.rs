//! Greedy refinement over several rounds: after each, whether to go on, and from which answer.
//!
//! The decision follows from the rounds so far and nothing else, so a thread that comes back after a crash goes
//! the same way.

use super::select::{Scored, first_best, scored};
use crate::record::Round;

/// What came of a finished round.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// The improvement of the highest reward, of equals the first; nothing where none has a reward.
    pub best: Option<Scored<'a>>,
    /// Whether it is strictly above the reward of the round's answer.
    pub gained: bool,
}

/// What to do after the rounds so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step<'a> {
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
pub fn best_of_round(round: &Round) -> Option<Scored<'_>> {
    first_best(&scored(round), |improvement| improvement.reward).copied()
}

/// What came of each round up to the first that did not gain, starting from `r(y0)`.
pub fn outcomes(answer_reward: f64, rounds: &[Round]) -> Vec<Outcome<'_>> {
    let mut to_beat = answer_reward;
    let mut outcomes = Vec::with_capacity(rounds.len());
    for round in rounds {
        let best = best_of_round(round);
        let gained = best.is_some_and(|best| best.reward > to_beat);
        to_beat = best.filter(|_| gained).map_or(to_beat, |best| best.reward);
        outcomes.push(Outcome { best, gained });
        if !gained {
            break;
        }
    }
    outcomes
}

/// What to do after `rounds`, of which there may be `most`.
pub fn next_step<'a>(answer: &'a str, answer_reward: f64, rounds: &'a [Round], most: u32) -> Step<'a> {
    let outcomes = outcomes(answer_reward, rounds);
    let last_gain = outcomes.iter().rev().find(|outcome| outcome.gained).and_then(|outcome| outcome.best);
    let (answer, reward) = last_gain.map_or((answer, answer_reward), |best| (best.text, best.reward));
    let failed = outcomes.last().is_some_and(|outcome| !outcome.gained);
    if failed || rounds.len() >= most as usize {
        Step::Stop { answer, reward }
    } else {
        Step::Refine { answer, reward }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// A round of one critique, whose improvements are named after their rewards.
    fn round(rewards: &[Option<f64>]) -> Round {
        let call = json!({
            "model": "m", "seed": 0, "temperature": 0.7, "attempts": 1, "finish_reason": "stop",
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
        let refine = |answer, reward| Step::Refine { answer, reward };
        let stop = |answer, reward| Step::Stop { answer, reward };
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
            let (Step::Refine { reward, .. } | Step::Stop { reward, .. }) = next_step("y0", 0.0, &rounds, most);
            prop_assert_eq!(reward, gains.last().copied().unwrap_or(0.0));
        }
    }
}
