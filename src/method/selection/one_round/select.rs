//! Selection after one round: the best improvement, the best critique and the worst.

use crate::method::scored::{ScoredImprovement, first_best, last_best};

/// A critique with the improvements that came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CritiqueGroup<'a> {
    /// The critique.
    pub text: &'a str,
    /// What came of it, at least one, in the order of asking.
    pub improvements: Vec<ScoredImprovement<'a>>,
    /// The mean of their rewards.
    pub mean: f64,
}

impl<'a> CritiqueGroup<'a> {
    fn new(text: &'a str, improvements: Vec<ScoredImprovement<'a>>) -> Self {
        let sum: f64 = improvements.iter().fold(0.0, |sum, improvement| sum + improvement.reward);
        Self { text, mean: sum / improvements.len() as f64, improvements }
    }

    /// The index of the critique in its round; the first where equal critiques were joined.
    pub fn index(&self) -> usize {
        self.improvements.first().map_or(0, |improvement| improvement.place.critique)
    }
}

/// What records are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundSelection<'a> {
    /// `y0`.
    pub answer: &'a str,
    /// `r(y0)`.
    pub answer_reward: f64,
    /// The improvement of the highest reward that is at least `r(y0)`; of equals the last.
    pub best: ScoredImprovement<'a>,
    /// The critique of the highest mean; of equals the first.
    pub best_critique: CritiqueGroup<'a>,
    /// The critique of the lowest mean; of equals the first.
    pub worst_critique: CritiqueGroup<'a>,
}

/// Selects from a round's scored improvements. Nothing where no improvement reaches `r(y0)`.
pub fn select<'a>(
    answer: &'a str,
    answer_reward: f64,
    scored: &[ScoredImprovement<'a>],
) -> Option<RoundSelection<'a>> {
    let best = *last_best(scored, |improvement| improvement.reward)?;
    if best.reward < answer_reward {
        return None;
    }
    let critiques = critique_groups(scored);
    let best_critique = first_best(&critiques, |critique| critique.mean)?.clone();
    let worst_critique = first_best(&critiques, |critique| -critique.mean)?.clone();
    Some(RoundSelection { answer, answer_reward, best, best_critique, worst_critique })
}

/// The critiques in the order of asking, those of equal text as one.
pub(super) fn critique_groups<'a>(scored: &[ScoredImprovement<'a>]) -> Vec<CritiqueGroup<'a>> {
    let mut groups: Vec<(&'a str, Vec<ScoredImprovement<'a>>)> = Vec::new();
    for improvement in scored {
        match groups.iter_mut().find(|(text, _)| *text == improvement.critique) {
            Some((_, group)) => group.push(*improvement),
            None => groups.push((improvement.critique, vec![*improvement])),
        }
    }
    groups.into_iter().map(|(text, group)| CritiqueGroup::new(text, group)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::method::scored::ImprovementPlace;

    fn improvements(rows: &[(&'static str, f64)]) -> Vec<ScoredImprovement<'static>> {
        let row = |(index, (critique, reward)): (usize, &(&'static str, f64))| ScoredImprovement {
            critique,
            text: "y",
            reward: *reward,
            place: ImprovementPlace { critique: 0, improvement: index },
        };
        rows.iter().enumerate().map(row).collect()
    }

    #[test]
    fn of_equal_improvements_the_last_is_best() {
        let rows = improvements(&[("a", 1.0), ("a", 1.0), ("b", 0.5)]);
        let selection = select("y0", 1.0, &rows).expect("one reaches the answer");
        assert_eq!(selection.best.place.improvement, 1);
    }

    #[test]
    fn of_equal_critiques_the_first_is_best_and_worst() {
        let rows = improvements(&[("a", 1.0), ("b", 0.0), ("b", 2.0)]);
        let selection = select("y0", 0.0, &rows).expect("one reaches the answer");
        assert_eq!((selection.best_critique.text, selection.worst_critique.text), ("a", "a"));
    }

    #[test]
    fn critiques_of_equal_text_are_one() {
        let rows = improvements(&[("a", 3.0), ("b", 2.0), ("a", 0.0)]);
        let selection = select("y0", 0.0, &rows).expect("one reaches the answer");
        assert_eq!(selection.best_critique.text, "b");
        assert_eq!(selection.worst_critique.improvements.len(), 2);
    }

    #[test]
    fn nothing_is_selected_below_the_answer() {
        assert_eq!(select("y0", 1.0, &improvements(&[("a", 0.9)])), None);
        assert_eq!(select("y0", 1.0, &[]), None);
    }

    proptest! {
        #[test]
        fn the_best_is_never_below_anything(
            rewards in prop::collection::vec((prop::sample::select(vec!["a", "b", "c"]), -3_i8..3), 0..9),
            answer in -3_i8..3,
        ) {
            let rows: Vec<_> = rewards.iter().map(|(critique, reward)| (*critique, f64::from(*reward))).collect();
            let rows = improvements(&rows);
            let reaches = rows.iter().any(|row| row.reward >= f64::from(answer));
            let selection = select("y0", f64::from(answer), &rows);
            prop_assert_eq!(selection.is_some(), reaches);
            if let Some(selection) = selection {
                prop_assert!(rows.iter().all(|row| row.reward <= selection.best.reward));
                prop_assert!(selection.best_critique.mean >= selection.worst_critique.mean);
            }
        }
    }
}
