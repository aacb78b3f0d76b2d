//! The way of a thread through the stages, as its recipe and what is in it decide.
//!
//! ```text
//!   stage1       draft ─▶ critique ─▶ improve ─▶ score ─▶ select
//!   stage2       draft ─▶ critique ─▶ improve ─▶ score ─▶ select
//!                            ▲                     │
//!                            └──── it gained ──────┘
//!   long-pairs   draft ─▶ score ─▶ select
//!   evaluation   draft ─▶ select, or without a reward
//!                draft ─▶ critique ─▶ improve ─▶ select
//!                            ▲          │
//!                            └──────────┘ as many rounds as it has
//!   fusion       draft ─▶ critique ─▶ improve ─▶ score ─▶ select, or without a verdict
//!                draft ─▶ critique ─▶ improve ─▶ select
//! ```

use super::{
    recipe::{Base, Recipe},
    recursion::{first_improvement, goes_on},
};
use crate::record::Thread;

/// What is to be done next with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStage {
    /// Its answer is to be criticised.
    Critique,
    /// What is new in it is to be scored.
    Score,
    /// It is finished: records are to be selected from it.
    Select,
}

/// What follows the first answers.
pub fn after_draft(recipe: &Recipe) -> NextStage {
    match recipe.base {
        Base::Stage1 | Base::Stage2 | Base::Fusion => NextStage::Critique,
        Base::LongPairs => NextStage::Score,
        Base::Evaluation if recipe.rounds > 0 => NextStage::Critique,
        Base::Evaluation => NextStage::Select,
    }
}

/// What follows the improvements of a round: their rewards, or without a reward the next round, while each brings an
/// improvement. Of two drafts only what was made out of both is worth a reward.
pub fn after_improve(recipe: &Recipe, thread: &Thread) -> NextStage {
    let rounds = thread.rounds.len();
    let improved = thread.rounds.last().and_then(first_improvement).is_some();
    let is_fused = thread.fusion.as_ref().is_some_and(|fusion| fusion.fused.is_some());
    match recipe.base {
        Base::Stage1 | Base::Stage2 | Base::LongPairs => NextStage::Score,
        Base::Fusion if is_fused => NextStage::Score,
        Base::Fusion => NextStage::Select,
        Base::Evaluation if improved && rounds < recipe.rounds as usize => NextStage::Critique,
        Base::Evaluation => NextStage::Select,
    }
}

/// What follows the rewards of a round: another round where the recursion goes on.
pub fn after_score(recipe: &Recipe, thread: &Thread) -> NextStage {
    match recipe.base {
        Base::Stage2 if goes_on(thread, recipe.rounds) => NextStage::Critique,
        _ => NextStage::Select,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::samples::thread_of;

    #[test]
    fn the_recursion_goes_round_until_nothing_gains() {
        let cases: [(&[&[f64]], NextStage); 5] = [
            (&[&[1.0, 0.5]], NextStage::Critique),
            (&[&[0.0, -1.0]], NextStage::Select),
            (&[&[1.0], &[2.0]], NextStage::Critique),
            (&[&[1.0], &[1.0]], NextStage::Select),
            (&[&[1.0], &[2.0], &[3.0], &[4.0], &[5.0]], NextStage::Select),
        ];
        for (rounds, next) in cases {
            let thread = thread_of(Some(0.0), rounds);
            assert_eq!(after_score(&Recipe::stage2(), &thread), next, "{rounds:?}");
            assert_eq!(after_score(&Recipe::stage1(), &thread), NextStage::Select);
        }
        assert_eq!(after_score(&Recipe::stage2(), &thread_of(None, &[&[1.0]])), NextStage::Select);
    }

    #[test]
    fn without_a_reward_every_round_is_made() {
        let recipe = Recipe { long_answers: 0, rounds: 2, ..Recipe::evaluation() };
        assert_eq!(
            (after_draft(&recipe), after_draft(&Recipe::evaluation())),
            (NextStage::Critique, NextStage::Select)
        );
        let cases: [(&[&[f64]], NextStage); 3] = [
            (&[&[1.0]], NextStage::Critique),
            (&[&[]], NextStage::Select),
            (&[&[1.0], &[2.0]], NextStage::Select),
        ];
        for (rounds, next) in cases {
            assert_eq!(after_improve(&recipe, &thread_of(None, rounds)), next, "{rounds:?}");
        }
    }
}
