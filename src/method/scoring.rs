//! What is to be scored in a thread: each text with the place for its reward.

use std::iter::once;

use super::final_answer::final_answer;
use crate::record::{Answer, Improvement, Message, Thread, ThreadId};

/// A thread that is being scored.
#[derive(Debug, PartialEq)]
pub struct Scoring<'a> {
    /// The thread's id.
    pub thread: &'a ThreadId,
    /// The conversation that the texts answer.
    pub prompt: &'a [Message],
    /// The latest round of refinement, from 0.
    pub round: u32,
    /// What is to be scored in it.
    pub texts: Vec<ToScore<'a>>,
}

/// A text to score.
#[derive(Debug, PartialEq)]
pub struct ToScore<'a> {
    /// Which of the round's texts it is, from 0; one that is missing keeps its index, so that the others keep theirs.
    pub index: u32,
    /// The text.
    pub text: &'a str,
    /// Where its reward goes.
    pub reward: &'a mut Option<f64>,
}

/// A text, where there is one, and the place for its reward.
type Scorable<'a> = (Option<&'a str>, &'a mut Option<f64>);

impl<'a> Scoring<'a> {
    /// The texts to score: `y0` where it has not been scored in an earlier round, the improvements of the latest round,
    /// the final answers of long ones, the second draft and what was made out of both.
    pub fn of(thread: &'a mut Thread) -> Self {
        let Thread { id, prompt, answer, rounds, long_answers, fusion, .. } = thread;
        let is_first_round = rounds.len() <= 1;
        let round = rounds.len().saturating_sub(1) as u32;
        let answer = answer.as_mut().filter(|_| is_first_round).map(of_answer);
        let critiques = rounds.last_mut().into_iter().flat_map(|round| &mut round.critiques);
        let improvements = critiques.flat_map(|critique| &mut critique.improvements).map(of_improvement);
        let finals = long_answers
            .iter_mut()
            .map(|sample| (sample.text.as_deref().and_then(final_answer), &mut sample.reward));
        let of_fusion = fusion.iter_mut().flat_map(|fusion| {
            [Some(of_answer(&mut fusion.other)), fusion.fused.as_mut().map(of_improvement)]
        });
        let all = once(answer).chain(improvements.chain(finals).map(Some)).chain(of_fusion);
        let texts = all.zip(0..).filter_map(|(scorable, index)| {
            let (text, reward) = scorable?;
            Some(ToScore { index, text: text?, reward })
        });
        Self { thread: id, prompt, round, texts: texts.collect() }
    }
}

fn of_answer(answer: &mut Answer) -> Scorable<'_> {
    (Some(&answer.text), &mut answer.reward)
}

fn of_improvement(improvement: &mut Improvement) -> Scorable<'_> {
    (improvement.text.as_deref(), &mut improvement.reward)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::method::samples::{call, thread_of};

    /// The indexes and texts that are to be scored; each gets the reward of its place in `rewards`.
    fn score(thread: &mut Thread, rewards: &[f64]) -> Vec<(u32, String)> {
        let texts = Scoring::of(thread).texts;
        assert_eq!(texts.len(), rewards.len());
        let scored = texts.into_iter().zip(rewards).map(|(one, reward)| {
            *one.reward = Some(*reward);
            (one.index, one.text.to_owned())
        });
        scored.collect()
    }

    fn expected(texts: &[(u32, &str)]) -> Vec<(u32, String)> {
        texts.iter().map(|(index, text)| (*index, (*text).to_owned())).collect()
    }

    #[test]
    fn the_answer_is_scored_once_and_only_what_is_new_with_it() {
        let mut first = thread_of(None, &[&[1.0, 2.0]]);
        assert_eq!(score(&mut first, &[7.0, 8.0, 9.0]), expected(&[(0, "y0"), (1, "1"), (2, "2")]));
        assert_eq!(first.answer.as_ref().and_then(|answer| answer.reward), Some(7.0));
        let mut second = thread_of(Some(0.5), &[&[1.0, 2.0], &[3.0]]);
        assert_eq!(score(&mut second, &[9.0]), expected(&[(1, "3")]));
        assert_eq!(second.answer.as_ref().and_then(|answer| answer.reward), Some(0.5));
        assert_eq!(second.rounds[1].critiques[0].improvements[0].reward, Some(9.0));
        assert_eq!(second.rounds[0].critiques[0].improvements[0].reward, Some(1.0));
    }

    #[test]
    fn of_long_answers_the_final_ones_are_scored() {
        let mut thread = thread_of(None, &[]);
        let sample = |text| json!({"text": text, "reward": null, "call": call()});
        let none = sample(None);
        let samples = json!([none, sample(Some("so\n\nFinal answer:\n\ny1\n"))]);
        thread.long_answers = serde_json::from_value(samples).expect("samples");
        assert_eq!(score(&mut thread, &[0.5, 1.0]), expected(&[(0, "y0"), (2, "y1")]));
        let rewards: Vec<_> = thread.long_answers.iter().map(|sample| sample.reward).collect();
        assert_eq!(
            (thread.answer.and_then(|answer| answer.reward), rewards),
            (Some(0.5), vec![None, Some(1.0)])
        );
    }

    #[test]
    fn of_a_fusion_both_drafts_and_what_was_made_of_them_are_scored() {
        let mut thread = thread_of(None, &[]);
        let fusion = json!({
            "other": {"text": "z0", "reward": null, "call": null}, "comparisons": [],
            "fused": {"text": "both", "reward": null, "call": call()},
        });
        thread.fusion = serde_json::from_value(fusion).expect("a fusion");
        assert_eq!(score(&mut thread, &[1.0, 2.0, 3.0]), expected(&[(0, "y0"), (1, "z0"), (2, "both")]));
        let fusion = thread.fusion.expect("a fusion");
        let fused = fusion.fused.and_then(|fused| fused.reward);
        assert_eq!((fusion.other.reward, fused), (Some(2.0), Some(3.0)));
    }
}
