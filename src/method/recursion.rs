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
