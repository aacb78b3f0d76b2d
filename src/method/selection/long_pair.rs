//! Several long answers: a pair of the best and the worst, or every better one over every worse one.

use super::{Made, Maker, named, rewarded_answer};
use crate::{
    method::{
        long_pairs::{LongAnswer, all_pairs, extremes, length_control, long_pair},
        pairs::Sides,
        provenance::Source,
        recipe::PairChoice,
    },
    record::{OutcomeReason, RecordKind, Rewards, Thread, TrainingRecord},
};

/// The pairs of a thread's long answers.
pub(super) fn make(maker: &Maker<'_>) -> Made {
    let mut made = Made::default();
    made.add_all(maker.recipe, RecordKind::LongPair, records(maker));
    made
}

fn records(maker: &Maker<'_>) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    let thread = maker.thread;
    if thread.answer.is_none() {
        return Err(OutcomeReason::NoAnswer);
    }
    if thread.long_answers.iter().all(|sample| sample.text.is_none()) {
        return Err(OutcomeReason::NoFinalAnswer);
    }
    let (_, answer) = rewarded_answer(thread)?;
    match maker.recipe.pairs {
        PairChoice::BestWorst => {
            let sides = extremes(&usable(thread), answer)?;
            length_control(&sides)?;
            Ok(vec![record(maker, answer, &sides)])
        }
        PairChoice::All => {
            let all = all_pairs(&usable(thread), answer)?;
            Ok(all.iter().map(|sides| named(record(maker, answer, sides), &name(thread, sides))).collect())
        }
    }
}

fn record(maker: &Maker<'_>, answer: f64, sides: &Sides<LongAnswer<'_>>) -> TrainingRecord {
    let thread = maker.thread;
    let rewards = Rewards { answer, chosen: sides.chosen.reward, rejected: Some(sides.rejected.reward) };
    let steps = [sides.chosen, sides.rejected].map(|side| step(thread, &side));
    let row = long_pair(&thread.prompt, sides);
    maker.record(RecordKind::LongPair, row, rewards, steps.into_iter().flatten().collect())
}

fn name(thread: &Thread, sides: &Sides<LongAnswer<'_>>) -> String {
    let index = |side: &LongAnswer<'_>| index_of(thread, side).unwrap_or_default();
    format!("{}-{}", index(&sides.chosen), index(&sides.rejected))
}

/// The samples that have a final answer and a reward for it.
fn usable(thread: &Thread) -> Vec<LongAnswer<'_>> {
    let samples = thread.long_answers.iter();
    samples.filter_map(|sample| LongAnswer::new(sample.text.as_deref()?, sample.reward)).collect()
}

/// The call that gave a side.
fn step<'a>(thread: &'a Thread, side: &LongAnswer<'_>) -> Option<Source<'a>> {
    Source::long_answer(thread, index_of(thread, side)?)
}

/// Where a side stands; of equal texts the first of that reward.
fn index_of(thread: &Thread, side: &LongAnswer<'_>) -> Option<usize> {
    let mut samples = thread.long_answers.iter();
    samples.position(|sample| sample.text.as_deref() == Some(side.text) && sample.reward == Some(side.reward))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        method::{
            Recipe, Templates,
            samples::{call, thread_of},
            select_records,
        },
        record::{Message, SelectionResult},
    };

    fn result_of(answer_reward: Option<f64>, samples: &[(Option<&str>, Option<f64>)]) -> SelectionResult {
        result_by(&Recipe::long_pairs(), answer_reward, samples)
    }

    fn result_by(
        recipe: &Recipe,
        answer_reward: Option<f64>,
        samples: &[(Option<&str>, Option<f64>)],
    ) -> SelectionResult {
        let mut thread = thread_of(answer_reward, &[]);
        let sample = |(text, reward): &(Option<&str>, Option<f64>)| {
            let text = text.map(|text| format!("thought\n\nFinal answer:\n\n{text}"));
            json!({"text": text, "reward": reward, "call": call()})
        };
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        thread.long_answers = serde_json::from_value(samples.into()).expect("samples");
        select_records(&thread, recipe, &Templates::builtin())
    }

    #[test]
    fn the_best_stands_against_the_worst() {
        let samples =
            [(Some("a"), Some(1.0)), (None, None), (Some("b"), Some(3.0)), (Some("cc"), Some(-1.0))];
        let result = result_of(Some(0.5), &samples);
        let record = &result.records[0];
        assert_eq!(record.id, "own:1/long_pair");
        assert_eq!(record.chosen, [Message::assistant("thought\n\nFinal answer:\n\nb")]);
        assert_eq!(record.rejected, [Message::assistant("thought\n\nFinal answer:\n\ncc")]);
        assert_eq!(record.rewards, Rewards { answer: 0.5, chosen: 3.0, rejected: Some(-1.0) });
        assert_eq!((record.gain, result.outcome.best_reward), (2.5, Some(3.0)));
        let provenance: Value = serde_json::from_str(&record.provenance).expect("JSON");
        let calls = [&provenance["calls"][0]["long_answer"], &provenance["calls"][1]["long_answer"]];
        assert_eq!(calls, [2, 3]);
    }

    #[test]
    fn what_is_missing_is_told() {
        let cases = [
            (None, vec![(None, None)], OutcomeReason::NoFinalAnswer),
            (None, vec![(Some("a"), Some(1.0))], OutcomeReason::NoAnswerReward),
            (Some(0.0), vec![(Some("a"), None)], OutcomeReason::NoImprovementReward),
            (Some(1.0), vec![(Some("a"), Some(1.0)), (Some("b"), Some(0.0))], OutcomeReason::NoGain),
            (Some(0.0), vec![(Some("a"), Some(1.0))], OutcomeReason::NoImprovementContrast),
            (Some(0.0), vec![(Some("long"), Some(1.0)), (Some("b"), Some(0.0))], OutcomeReason::TooLong),
        ];
        for (answer_reward, samples, reason) in cases {
            assert_eq!(result_of(answer_reward, &samples).outcome.reason, reason, "{samples:?}");
        }
    }

    #[test]
    fn every_better_answer_stands_over_every_worse_where_the_recipe_says_so() {
        let samples = [
            (Some("a"), Some(1.0)),
            (Some("b"), Some(3.0)),
            (Some("cc"), Some(-1.0)),
            (Some("d"), Some(0.0)),
        ];
        let recipe = Recipe { pairs: PairChoice::All, ..Recipe::long_pairs() };
        let ids = |result: SelectionResult| {
            result.records.into_iter().map(|one| one.id).collect::<Vec<_>>().join(" ")
        };
        let expected = "own:1/long_pair/0-2 own:1/long_pair/0-3 own:1/long_pair/1-0 own:1/long_pair/1-2 \
                        own:1/long_pair/1-3";
        assert_eq!(ids(result_by(&recipe, Some(0.5), &samples)), expected);
        let none = result_by(&recipe, Some(3.0), &samples);
        assert_eq!(none.outcome.reason, OutcomeReason::NoGain);
    }
}
