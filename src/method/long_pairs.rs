//! Preference pairs of whole long answers, judged by their final answers.

use super::{
    all_pairs::{kept, ordered},
    final_answer::final_answer,
    pairs::{Sides, refuse},
    rows::Row,
    select::first_best,
};
use crate::record::{Message, OutcomeReason};

/// A long answer that has a final answer and a reward for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongAnswer<'a> {
    /// The whole text.
    pub text: &'a str,
    /// The final answer in it.
    pub final_answer: &'a str,
    /// The reward of the final answer, finite.
    pub reward: f64,
}

impl<'a> LongAnswer<'a> {
    /// A sample, where it can be used.
    pub fn new(text: &'a str, reward: Option<f64>) -> Option<Self> {
        let reward = reward.filter(|reward| reward.is_finite())?;
        Some(Self { text, final_answer: final_answer(text)?, reward })
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
pub fn long_pair(prompt: &[Message], sides: &Sides<LongAnswer<'_>>) -> Row {
    Row::pair(prompt.to_vec(), sides.chosen.text, sides.rejected.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_a_final_answer_or_a_reward_are_not_used() {
        let text = "thought\n\nFinal answer:\n\ny";
        assert_eq!(LongAnswer::new(text, Some(1.0)).map(|sample| sample.final_answer), Some("y"));
        assert_eq!(LongAnswer::new(text, None), None);
        assert_eq!(LongAnswer::new(text, Some(f64::NAN)), None);
        assert_eq!(LongAnswer::new("thought", Some(1.0)), None);
    }

    #[test]
    fn a_pair_needs_gain_and_contrast_and_no_greater_length() {
        let sample = |final_answer, reward| LongAnswer { text: "t", final_answer, reward };
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
