//! Several long answers: a pair of the best and the worst.

use super::{Made, Maker, rewarded_answer};
use crate::{
    method::{
        long_pairs::{LongAnswer, extremes, length_control, long_pair},
        provenance::Source,
    },
    record::{Kind, Rewards, Thread, TrainingRecord, Verdict},
};

/// The pair of a thread's long answers.
pub(super) fn make(maker: &Maker<'_>) -> Made {
    let mut made = Made::default();
    made.add(maker.recipe, Kind::LongPair, record(maker));
    made
}

fn record(maker: &Maker<'_>) -> Result<TrainingRecord, Verdict> {
    let thread = maker.thread;
    if thread.answer.is_none() {
        return Err(Verdict::NoAnswer);
    }
    if thread.long_answers.iter().all(|sample| sample.text.is_none()) {
        return Err(Verdict::NoFinalAnswer);
    }
    let (_, answer) = rewarded_answer(thread)?;
    let sides = extremes(&usable(thread), answer)?;
    length_control(&sides)?;
    let rewards = Rewards { answer, chosen: sides.chosen.reward, rejected: Some(sides.rejected.reward) };
    let steps = [sides.chosen, sides.rejected].map(|side| step(thread, &side));
    let row = long_pair(&thread.prompt, &sides);
    Ok(maker.record(Kind::LongPair, row, rewards, steps.into_iter().flatten().collect()))
}

/// The samples that have a final answer and a reward for it.
fn usable(thread: &Thread) -> Vec<LongAnswer<'_>> {
    let samples = thread.long_answers.iter();
    samples.filter_map(|sample| LongAnswer::new(sample.text.as_deref()?, sample.reward)).collect()
}

/// The call that gave a side; of equal texts the first.
fn step<'a>(thread: &'a Thread, side: &LongAnswer<'_>) -> Option<Source<'a>> {
    let index = thread.long_answers.iter().position(|sample| sample.text.as_deref() == Some(side.text))?;
    Source::long_answer(thread, index)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        method::{
            Recipe, Templates, harvest,
            samples::{call, thread_of},
        },
        record::{Harvest, Message},
    };

    fn harvest_of(answer_reward: Option<f64>, samples: &[(Option<&str>, Option<f64>)]) -> Harvest {
        let mut thread = thread_of(answer_reward, &[]);
        let sample = |(text, reward): &(Option<&str>, Option<f64>)| {
            let text = text.map(|text| format!("thought\n\nFinal answer:\n\n{text}"));
            json!({"text": text, "reward": reward, "call": call()})
        };
        let samples: Vec<Value> = samples.iter().map(sample).collect();
        thread.long_answers = serde_json::from_value(samples.into()).expect("samples");
        harvest(&thread, &Recipe::long_pairs(), &Templates::builtin())
    }

    #[test]
    fn the_best_stands_against_the_worst() {
        let samples =
            [(Some("a"), Some(1.0)), (None, None), (Some("b"), Some(3.0)), (Some("cc"), Some(-1.0))];
        let harvest = harvest_of(Some(0.5), &samples);
        let record = &harvest.records[0];
        assert_eq!(record.id, "own:1/long_pair");
        assert_eq!(record.chosen, [Message::assistant("thought\n\nFinal answer:\n\nb")]);
        assert_eq!(record.rejected, [Message::assistant("thought\n\nFinal answer:\n\ncc")]);
        assert_eq!(record.rewards, Rewards { answer: 0.5, chosen: 3.0, rejected: Some(-1.0) });
        assert_eq!((record.gain, harvest.outcome.best_reward), (2.5, Some(3.0)));
        let provenance: Value = serde_json::from_str(&record.provenance).expect("JSON");
        let calls = [&provenance["calls"][0]["long_answer"], &provenance["calls"][1]["long_answer"]];
        assert_eq!(calls, [2, 3]);
    }

    #[test]
    fn what_is_missing_is_told() {
        let cases = [
            (None, vec![(None, None)], Verdict::NoFinalAnswer),
            (None, vec![(Some("a"), Some(1.0))], Verdict::NoAnswerReward),
            (Some(0.0), vec![(Some("a"), None)], Verdict::NoImprovementReward),
            (Some(1.0), vec![(Some("a"), Some(1.0)), (Some("b"), Some(0.0))], Verdict::NoGain),
            (Some(0.0), vec![(Some("a"), Some(1.0))], Verdict::NoImprovementContrast),
            (Some(0.0), vec![(Some("long"), Some(1.0)), (Some("b"), Some(0.0))], Verdict::TooLong),
        ];
        for (answer_reward, samples, verdict) in cases {
            assert_eq!(harvest_of(answer_reward, &samples).outcome.verdict, verdict, "{samples:?}");
        }
    }
}
