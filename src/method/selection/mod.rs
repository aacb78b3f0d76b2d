//! From a finished thread to its records and its outcome.
//!
//! ```text
//!   stage1      one_round      conversation and pairs of one round
//!   stage2      long_record    one long record of several rounds
//!   long-pairs  long_pairs     the best of several long answers over the worst
//!   evaluation  evaluation     the answer to an instruction of a test
//!   fusion      fusion         the answer made out of two drafts over a draft
//!   any with rewards           from_rewards: labelled answers, and pairs for a reward model
//! ```
//!
//! Each file holds the rules of its records beside what makes them: `rules` what all share, `builder` how a record comes
//! about. Every record is held against the recipe's `thresholds`, and of its pairs the widest stay.

mod builder;
mod candidate;
mod evaluation;
mod from_rewards;
mod fusion;
pub mod long_pairs;
pub mod long_record;
pub mod one_round;
mod provenance;
mod rules;
mod thresholds;

pub use builder::TrainingRow;
pub use provenance::cut_off;
pub use rules::Sides;

use self::{
    builder::{Collected, RecordBuilder},
    candidate::reward_to_beat,
    provenance::models,
};
use super::{
    recipe::{Base, Recipe},
    template::Templates,
};
use crate::record::{Outcome, SelectionResult, SourceModels, Thread};

/// What a thread gives: its records, and one outcome that says for each kind withheld why.
///
/// `recipe` is the definition of the recipe that the thread names: it decides which kinds are asked for.
pub fn select_records(thread: &Thread, recipe: &Recipe, templates: &Templates) -> SelectionResult {
    let builder = RecordBuilder { thread, recipe, templates };
    let mut collected = Collected::new(recipe);
    match recipe.base {
        Base::Evaluation => collected.output = Some(evaluation::output(&builder)),
        Base::Stage1 => one_round::add(&builder, &mut collected),
        Base::Stage2 => long_record::add(&builder, &mut collected),
        Base::LongPairs => long_pairs::add(&builder, &mut collected),
        Base::Fusion => fusion::add(&builder, &mut collected),
    }
    from_rewards::add(&builder, &mut collected);
    thresholds::keep_widest(&mut collected.records, &mut collected.withheld, recipe.max_pairs as usize);
    let gave_something = !collected.records.is_empty() || matches!(collected.output, Some(Ok(_)));
    SelectionResult {
        outcome: outcome(thread, &collected),
        models: if gave_something { models(thread) } else { SourceModels::default() },
        records: collected.records,
        output: collected.output.and_then(Result::ok),
    }
}

fn outcome(thread: &Thread, collected: &Collected<'_>) -> Outcome {
    let (answer_reward, best_reward) = (reward_to_beat(thread), best_reward(thread));
    Outcome {
        thread: thread.id.clone(),
        recipe: thread.recipe.clone(),
        origin: thread.origin.clone(),
        reason: collected.reason(),
        records: collected.records.iter().map(|record| record.kind).collect(),
        withheld: collected.withheld.clone(),
        rounds: u32::try_from(thread.rounds.len()).unwrap_or(u32::MAX),
        answer_reward,
        best_reward,
        gain: best_reward.zip(answer_reward).map(|(best, answer)| best - answer),
        cut_off: cut_off(thread),
        retried: 0,
        error: None,
    }
}

/// The highest reward of anything that was made of the answer, in whatever round, or of the drafts.
fn best_reward(thread: &Thread) -> Option<f64> {
    let critiques = thread.rounds.iter().flat_map(|round| &round.critiques);
    let improvements = critiques.flat_map(|critique| &critique.improvements);
    let of_improvements = improvements.filter_map(|improvement| improvement.reward);
    let of_samples = thread.long_answers.iter().filter_map(|sample| sample.reward);
    let fused = thread.fusion.iter().filter_map(|fusion| fusion.fused.as_ref()?.reward);
    of_improvements.chain(of_samples).chain(fused).filter(|reward| reward.is_finite()).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::method::{
        PairChoice,
        samples::{call, thread_of},
    };

    /// A thread with everything that records are made of; with so few rewards and texts many are equal.
    fn thread(rounds: &[Vec<i8>], samples: &[(i8, &str)], drafts: (i8, i8)) -> Thread {
        let rounds: Vec<Vec<f64>> =
            rounds.iter().map(|row| row.iter().copied().map(f64::from).collect()).collect();
        let rounds: Vec<&[f64]> = rounds.iter().map(Vec::as_slice).collect();
        let sample = |(reward, text): &(i8, &str)| json!({"text": format!("Final answer:\n\n{text}"), "reward": reward, "call": call()});
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        let comparison = |preferred| json!({"text": "so", "preferred": preferred, "call": call()});
        let fusion = json!({
            "other": {"text": "z0", "reward": drafts.1, "call": call()},
            "comparisons": [comparison("first"), comparison("second")],
            "fused": {"text": "both", "reward": 3, "call": call()},
        });
        Thread {
            long_answers: serde_json::from_value(samples.into()).expect("samples"),
            fusion: serde_json::from_value(fusion).expect("a fusion"),
            ..thread_of(Some(drafts.0.into()), &rounds)
        }
    }

    proptest! {
        #[test]
        fn no_two_records_of_a_thread_have_one_id(
            rounds in prop::collection::vec(prop::collection::vec(-1_i8..3, 0..4), 1..3),
            samples in prop::collection::vec((-1_i8..3, prop::sample::select(vec!["a", "b"])), 0..5),
            drafts in (-1_i8..1, -1_i8..1),
            max_pairs in 0_u32..4,
        ) {
            let thread = thread(&rounds, &samples, drafts);
            for base in Base::all() {
                for pairs in [PairChoice::BestWorst, PairChoice::All] {
                    let recipe = Recipe { pairs, max_pairs, records: base.possible_kinds(), ..Recipe::of(base) };
                    let records = select_records(&thread, &recipe, &Templates::builtin()).records;
                    let ids: BTreeSet<&str> = records.iter().map(|record| record.id.as_str()).collect();
                    prop_assert_eq!(ids.len(), records.len(), "{:?} {:?}: {:?}", base, pairs, ids);
                }
            }
        }
    }
}
