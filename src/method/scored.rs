//! The improvements of a round that have a reward, and which is best.

use crate::record::Round;

/// Where an improvement stands in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImprovementPlace {
    /// The critique's index.
    pub critique: usize,
    /// The improvement's index under its critique.
    pub improvement: usize,
}

/// An improvement that has a reward, with the critique that guided it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredImprovement<'a> {
    /// `c_i`.
    pub critique: &'a str,
    /// `y_ij`.
    pub text: &'a str,
    /// `r(y_ij)`, finite.
    pub reward: f64,
    /// Where it came from.
    pub place: ImprovementPlace,
}

/// Every improvement of a round that has a text and a finite reward, in the order of asking.
pub fn scored_improvements(round: &Round) -> Vec<ScoredImprovement<'_>> {
    let mut found = Vec::new();
    for (critique_index, critique) in round.critiques.iter().enumerate() {
        let Some(critique_text) = &critique.text else { continue };
        for (improvement_index, improvement) in critique.improvements.iter().enumerate() {
            let finite = improvement.reward.filter(|reward| reward.is_finite());
            let (Some(text), Some(reward)) = (&improvement.text, finite) else { continue };
            let place = ImprovementPlace { critique: critique_index, improvement: improvement_index };
            found.push(ScoredImprovement { critique: critique_text, text, reward, place });
        }
    }
    found
}

/// The item of the highest value; of equals the first.
pub(crate) fn first_best<T>(items: &[T], value: impl Fn(&T) -> f64) -> Option<&T> {
    items.iter().reduce(|best, item| if value(item) > value(best) { item } else { best })
}

/// The item of the highest value; of equals the last.
pub(crate) fn last_best<T>(items: &[T], value: impl Fn(&T) -> f64) -> Option<&T> {
    items.iter().reduce(|best, item| if value(item) >= value(best) { item } else { best })
}
