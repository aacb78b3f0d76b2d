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
    recursion::{Step, next_step},
};
use crate::record::{Round, Thread};

/// What is to be done next with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its answer is to be criticised.
    Critique,
    /// What is new in it is to be scored.
    Score,
    /// It is finished: records are to be selected from it.
    Select,
}

/// What follows the first answers.
pub fn after_draft(recipe: &Recipe) -> Next {
    match recipe.base {
        Base::Stage1 | Base::Stage2 | Base::Fusion => Next::Critique,
        Base::LongPairs => Next::Score,
        Base::Evaluation if recipe.rounds > 0 => Next::Critique,
        Base::Evaluation => Next::Select,
    }
}

/// What follows the improvements of a round: their rewards, or without a reward the next round, while each brings an
/// improvement. Of two drafts only what was made out of both is worth a reward.
pub fn after_improve(recipe: &Recipe, thread: &Thread) -> Next {
    let rounds = thread.rounds.len();
    let improved = thread.rounds.last().and_then(first_improvement).is_some();
    let is_fused = thread.fusion.as_ref().is_some_and(|fusion| fusion.fused.is_some());
    match recipe.base {
        Base::Stage1 | Base::Stage2 | Base::LongPairs => Next::Score,
        Base::Fusion if is_fused => Next::Score,
        Base::Fusion => Next::Select,
        Base::Evaluation if improved && rounds < recipe.rounds as usize => Next::Critique,
        Base::Evaluation => Next::Select,
    }
}

/// What follows the rewards of a round: another round where the recursion goes on.
pub fn after_score(recipe: &Recipe, thread: &Thread) -> Next {
    match recipe.base {
        Base::Stage2 if goes_on(recipe, thread) => Next::Critique,
        _ => Next::Select,
    }
}

fn goes_on(recipe: &Recipe, thread: &Thread) -> bool {
    let step = step(thread, &thread.rounds, recipe.rounds);
    matches!(step, Some(Step::Refine { .. }))
}

/// The answer that a round works on, by the rounds before it: the best so far by its reward, or the latest where
/// there are no rewards. Nothing where the thread has no answer.
pub fn answer_after<'a>(thread: &'a Thread, rounds: &'a [Round]) -> Option<&'a str> {
    match step(thread, rounds, u32::MAX) {
        Some(Step::Refine { answer, .. } | Step::Stop { answer, .. }) => Some(answer),
        None => {
            let latest = rounds.iter().rev().find_map(first_improvement);
            latest.or(thread.answer.as_ref().map(|answer| &answer.text)).map(String::as_str)
        }
    }
}

fn first_improvement(round: &Round) -> Option<&String> {
    let mut improvements = round.critiques.iter().flat_map(|critique| &critique.improvements);
    improvements.find_map(|improvement| improvement.text.as_ref())
}

/// The step of the recursion; nothing where the answer has no reward to beat.
fn step<'a>(thread: &'a Thread, rounds: &'a [Round], most: u32) -> Option<Step<'a>> {
    let answer = thread.answer.as_ref()?;
    let reward = answer.reward.filter(|reward| reward.is_finite())?;
    Some(next_step(&answer.text, reward, rounds, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::samples::thread_of;

    #[test]
    fn the_recursion_goes_round_until_nothing_gains() {
        let cases: [(&[&[f64]], Next); 5] = [
            (&[&[1.0, 0.5]], Next::Critique),
            (&[&[0.0, -1.0]], Next::Select),
            (&[&[1.0], &[2.0]], Next::Critique),
            (&[&[1.0], &[1.0]], Next::Select),
            (&[&[1.0], &[2.0], &[3.0], &[4.0], &[5.0]], Next::Select),
        ];
        for (rounds, next) in cases {
            let thread = thread_of(Some(0.0), rounds);
            assert_eq!(after_score(&Recipe::stage2(), &thread), next, "{rounds:?}");
            assert_eq!(after_score(&Recipe::stage1(), &thread), Next::Select);
        }
        assert_eq!(after_score(&Recipe::stage2(), &thread_of(None, &[&[1.0]])), Next::Select);
    }

    #[test]
    fn without_a_reward_every_round_is_made() {
        let recipe = Recipe { long_answers: 0, rounds: 2, ..Recipe::evaluation() };
        assert_eq!(
            (after_draft(&recipe), after_draft(&Recipe::evaluation())),
            (Next::Critique, Next::Select)
        );
        let cases: [(&[&[f64]], Next); 3] =
            [(&[&[1.0]], Next::Critique), (&[&[]], Next::Select), (&[&[1.0], &[2.0]], Next::Select)];
        for (rounds, next) in cases {
            assert_eq!(after_improve(&recipe, &thread_of(None, rounds)), next, "{rounds:?}");
        }
    }

    #[test]
    fn a_round_works_on_the_best_so_far_or_on_the_latest() {
        let thread = thread_of(Some(0.0), &[&[1.0, 2.0], &[1.5]]);
        let answers: Vec<_> = (0..=2).map(|round| answer_after(&thread, &thread.rounds[..round])).collect();
        assert_eq!(answers, [Some("y0"), Some("2"), Some("2")]);
        let thread = thread_of(None, &[&[1.0, 2.0], &[1.5]]);
        let answers: Vec<_> = (0..=2).map(|round| answer_after(&thread, &thread.rounds[..round])).collect();
        assert_eq!(answers, [Some("y0"), Some("1"), Some("1.5")]);
    }
}
