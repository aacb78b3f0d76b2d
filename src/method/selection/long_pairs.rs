//! Preference pairs of whole long answers, judged by their final answers.

use super::{
    builder::{Collected, RecordBuilder, TrainingRow, named},
    provenance::ProvenanceCall,
    rules::{Sides, kept, ordered, refuse, rewarded_answer},
};
use crate::{
    method::{final_answer::final_answer, recipe::PairChoice, scored::first_best},
    record::{Message, OutcomeReason, RecordKind, Rewards, Thread, TrainingRecord},
};

/// A long answer that has a final answer and a reward for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongAnswer<'a> {
    /// Where it stands among the thread's long answers.
    pub index: usize,
    /// The whole text.
    pub text: &'a str,
    /// The final answer in it.
    pub final_answer: &'a str,
    /// The reward of the final answer, finite.
    pub reward: f64,
}

impl<'a> LongAnswer<'a> {
    /// A sample, where it can be used.
    pub fn new(index: usize, text: &'a str, reward: Option<f64>) -> Option<Self> {
        let reward = reward.filter(|reward| reward.is_finite())?;
        Some(Self { index, text, final_answer: final_answer(text)?, reward })
    }
}

/// The best and the worst of the samples, each the first of equals.
///
/// # Errors
/// [`OutcomeReason::NoImprovementReward`] where there is no sample; [`OutcomeReason::NoGain`] where the best is not strictly
/// above `r(y0)`; [`OutcomeReason::NoImprovementContrast`] where it is not strictly above the worst.
pub fn extremes<'a>(
    samples: &[LongAnswer<'a>],
    answer_reward: f64,
) -> Result<Sides<LongAnswer<'a>>, OutcomeReason> {
    let best = first_best(samples, |sample| sample.reward).ok_or(OutcomeReason::NoImprovementReward)?;
    let worst = first_best(samples, |sample| -sample.reward).ok_or(OutcomeReason::NoImprovementReward)?;
    if best.reward <= answer_reward {
        Err(OutcomeReason::NoGain)
    } else if best.reward <= worst.reward {
        Err(OutcomeReason::NoImprovementContrast)
    } else {
        Ok(Sides { chosen: *best, rejected: *worst })
    }
}

/// Every better sample over every worse one, where the better one is strictly above `r(y0)` and passes the length
/// control.
///
/// # Errors
/// Why there is none, where there is none: the reason of the first.
pub fn all_pairs<'a>(
    samples: &[LongAnswer<'a>],
    answer_reward: f64,
) -> Result<Vec<Sides<LongAnswer<'a>>>, OutcomeReason> {
    let pair = |(chosen, rejected): (&LongAnswer<'a>, &LongAnswer<'a>)| {
        let sides = Sides { chosen: *chosen, rejected: *rejected };
        refuse(chosen.reward <= answer_reward, OutcomeReason::NoGain)?;
        length_control(&sides).map(|()| sides)
    };
    let otherwise = extremes(samples, answer_reward).err().unwrap_or(OutcomeReason::NoImprovementContrast);
    kept(ordered(samples, |sample| sample.reward).map(pair), otherwise)
}

/// Length control: a pair stays only where the better final answer is not the longer one, in code points.
///
/// # Errors
/// [`OutcomeReason::TooLong`].
pub fn length_control(sides: &Sides<LongAnswer<'_>>) -> Result<(), OutcomeReason> {
    let length = |sample: &LongAnswer<'_>| sample.final_answer.chars().count();
    if length(&sides.chosen) > length(&sides.rejected) { Err(OutcomeReason::TooLong) } else { Ok(()) }
}

/// The pair of two long answers to a prompt.
pub fn long_pair(prompt: &[Message], sides: &Sides<LongAnswer<'_>>) -> TrainingRow {
    TrainingRow::pair(prompt.to_vec(), sides.chosen.text, sides.rejected.text)
}

/// Adds the pairs of a thread's long answers.
pub(super) fn add(builder: &RecordBuilder<'_>, collected: &mut Collected<'_>) {
    collected.add_all(RecordKind::LongPair, records(builder));
}

fn records(builder: &RecordBuilder<'_>) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    let thread = builder.thread;
    refuse(thread.answer.is_none(), OutcomeReason::NoAnswer)?;
    let none_came = thread.long_answers.iter().all(|sample| sample.text.is_none());
    refuse(none_came, OutcomeReason::NoFinalAnswer)?;
    let (_, answer) = rewarded_answer(thread)?;
    match builder.recipe.pairs {
        PairChoice::BestWorst => {
            let sides = extremes(&usable(thread), answer)?;
            length_control(&sides)?;
            Ok(vec![record(builder, answer, &sides)])
        }
        PairChoice::All => {
            let name =
                |sides: &Sides<LongAnswer<'_>>| format!("{}-{}", sides.chosen.index, sides.rejected.index);
            let all = all_pairs(&usable(thread), answer)?;
            Ok(all.iter().map(|sides| named(record(builder, answer, sides), &name(sides))).collect())
        }
    }
}

fn record(builder: &RecordBuilder<'_>, answer: f64, sides: &Sides<LongAnswer<'_>>) -> TrainingRecord {
    let rewards = Rewards { answer, chosen: sides.chosen.reward, rejected: Some(sides.rejected.reward) };
    let steps =
        [sides.chosen, sides.rejected].map(|side| ProvenanceCall::long_answer(builder.thread, side.index));
    let row = long_pair(&builder.thread.prompt, sides);
    builder.record(RecordKind::LongPair, row, rewards, steps.into_iter().flatten().collect())
}

/// The samples that have a final answer and a reward for it.
fn usable(thread: &Thread) -> Vec<LongAnswer<'_>> {
    let samples = thread.long_answers.iter().enumerate();
    let usable =
        samples.map(|(index, sample)| LongAnswer::new(index, sample.text.as_deref()?, sample.reward));
    usable.flatten().collect()
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

    #[test]
    fn equal_answers_are_told_apart_by_their_places() {
        let samples = [(Some("a"), Some(3.0)), (Some("a"), Some(3.0)), (Some("b"), Some(1.0))];
        let recipe = Recipe { pairs: PairChoice::All, ..Recipe::long_pairs() };
        let records = result_by(&recipe, Some(0.5), &samples).records;
        let ids: Vec<_> = records.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, ["own:1/long_pair/0-2", "own:1/long_pair/1-2"]);
        let chosen = records.iter().map(|record| {
            let provenance: Value = serde_json::from_str(&record.provenance).expect("JSON");
            provenance["calls"][0]["long_answer"].clone()
        });
        assert_eq!(chosen.collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn samples_without_a_final_answer_or_a_reward_are_not_used() {
        let text = "thought\n\nFinal answer:\n\ny";
        assert_eq!(LongAnswer::new(0, text, Some(1.0)).map(|sample| sample.final_answer), Some("y"));
        assert_eq!(LongAnswer::new(0, text, None), None);
        assert_eq!(LongAnswer::new(0, text, Some(f64::NAN)), None);
        assert_eq!(LongAnswer::new(0, "thought", Some(1.0)), None);
    }

    #[test]
    fn a_pair_needs_gain_and_contrast_and_no_greater_length() {
        let sample = |final_answer, reward| LongAnswer { index: 0, text: "t", final_answer, reward };
        let reason = |samples: &[LongAnswer<'_>]| {
            extremes(samples, 0.0).and_then(|sides| length_control(&sides)).err()
        };
        assert_eq!(reason(&[]), Some(OutcomeReason::NoImprovementReward));
        assert_eq!(reason(&[sample("a", 0.0), sample("b", -1.0)]), Some(OutcomeReason::NoGain));
        assert_eq!(reason(&[sample("a", 1.0), sample("b", 1.0)]), Some(OutcomeReason::NoImprovementContrast));
        assert_eq!(reason(&[sample("ab", 1.0), sample("漢", -1.0)]), Some(OutcomeReason::TooLong));
        assert_eq!(reason(&[sample("é", 1.0), sample("a", -1.0)]), None);
    }
}
