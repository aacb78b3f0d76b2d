//! What the rules of all recipes share: the sides of a pair, reasons for refusing one, and what a thread must have.

use crate::record::{OutcomeReason, Round, Thread};

/// The two sides of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Sides<T> {
    /// The better one.
    pub chosen: T,
    /// The worse one.
    pub rejected: T,
}

pub(super) fn refuse(fails: bool, reason: OutcomeReason) -> Result<(), OutcomeReason> {
    if fails { Err(reason) } else { Ok(()) }
}

/// Every two items of which the first has the strictly higher value.
pub(super) fn ordered<'s, T>(
    items: &'s [T],
    value: impl Fn(&T) -> f64 + Copy + 's,
) -> impl Iterator<Item = (&'s T, &'s T)> {
    let over = move |better: &'s T| items.iter().map(move |worse| (better, worse));
    items.iter().flat_map(over).filter(move |(better, worse)| value(better) > value(worse))
}

/// What was kept; where nothing was, the first reason, or `otherwise` where there was nothing to keep.
pub(super) fn kept<T>(
    pairs: impl Iterator<Item = Result<T, OutcomeReason>>,
    otherwise: OutcomeReason,
) -> Result<Vec<T>, OutcomeReason> {
    let (mut kept, mut reason) = (Vec::new(), None);
    for pair in pairs {
        match pair {
            Ok(pair) => kept.push(pair),
            Err(first) => reason = reason.or(Some(first)),
        }
    }
    if kept.is_empty() { Err(reason.unwrap_or(otherwise)) } else { Ok(kept) }
}

/// `y0` and `r(y0)`, or what of them is missing.
pub(super) fn rewarded_answer(thread: &Thread) -> Result<(&str, f64), OutcomeReason> {
    let answer = thread.answer.as_ref().ok_or(OutcomeReason::NoAnswer)?;
    let reward = answer.reward.filter(|reward| reward.is_finite()).ok_or(OutcomeReason::NoAnswerReward)?;
    Ok((&answer.text, reward))
}

/// Whether the models gave what there is to score in this round.
pub(super) fn improved(thread: &Thread, round: Option<&Round>) -> Result<(), OutcomeReason> {
    if thread.answer.is_none() {
        return Err(OutcomeReason::NoAnswer);
    }
    let critiques = round.map_or(&[][..], |round| &round.critiques);
    let given: Vec<_> = critiques.iter().filter(|critique| critique.text.is_some()).collect();
    if given.is_empty() {
        return Err(OutcomeReason::NoCritique);
    }
    let mut improvements = given.iter().flat_map(|critique| &critique.improvements);
    let any = improvements.any(|improvement| improvement.text.is_some());
    if any { Ok(()) } else { Err(OutcomeReason::NoImprovement) }
}
