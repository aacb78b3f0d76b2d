//! Every pair of a round instead of the best over the worst, by the same rules.
//!
//! A rule of [`pairs`](mod@super::pairs) that withholds a kind because of its best or worst text withholds here each pair
//! that has such a text.

use super::select::CritiqueGroup;
use crate::{
    method::{
        redundancy::is_redundant,
        scored::ScoredImprovement,
        selection::rules::{Sides, kept, ordered, refuse},
    },
    record::OutcomeReason,
};

/// The improvements that are better than the answer.
///
/// # Errors
/// Why there is none, where there is none: the reason of the first.
pub(super) fn responses<'s, 'a>(
    answer: &str,
    answer_reward: f64,
    scored: &'s [ScoredImprovement<'a>],
) -> Result<Vec<&'s ScoredImprovement<'a>>, OutcomeReason> {
    if is_redundant(answer) {
        return Err(OutcomeReason::RedundantAnswer);
    }
    let better = |improvement: &'s ScoredImprovement<'a>| {
        refuse(improvement.reward <= answer_reward, OutcomeReason::NoGain)?;
        refuse(is_redundant(improvement.text), OutcomeReason::RedundantImprovement)?;
        Ok(improvement)
    };
    kept(scored.iter().map(better), OutcomeReason::NoGain)
}

/// Every critique over every one that led to less, where an improvement of the better one reaches `r(y0)`.
///
/// # Errors
/// As above.
pub(super) fn critiques<'s, 'a>(
    answer_reward: f64,
    groups: &'s [CritiqueGroup<'a>],
) -> Result<Vec<Sides<&'s CritiqueGroup<'a>>>, OutcomeReason> {
    let pair = |(chosen, rejected): (&'s CritiqueGroup<'a>, &'s CritiqueGroup<'a>)| {
        let reaches = chosen.improvements.iter().any(|improvement| improvement.reward >= answer_reward);
        refuse(!reaches, OutcomeReason::WeakBestCritique)?;
        refuse(is_redundant(chosen.text) || is_redundant(rejected.text), OutcomeReason::RedundantCritique)?;
        Ok(Sides { chosen, rejected })
    };
    let pairs = ordered(groups, |critique| critique.mean).map(pair);
    kept(pairs, OutcomeReason::NoCritiqueContrast)
}

/// Of each critique's improvements every better over every worse, where the better one reaches `r(y0)`.
///
/// # Errors
/// As above.
pub(super) fn improvements<'s, 'a>(
    answer_reward: f64,
    groups: &'s [CritiqueGroup<'a>],
) -> Result<Vec<Sides<&'s ScoredImprovement<'a>>>, OutcomeReason> {
    let pair = |(chosen, rejected): (&'s ScoredImprovement<'a>, &'s ScoredImprovement<'a>)| {
        refuse(chosen.reward < answer_reward, OutcomeReason::WeakBestCritique)?;
        refuse(rejected.reward == answer_reward, OutcomeReason::RejectedEqualsAnswer)?;
        let redundant = is_redundant(chosen.text) || is_redundant(rejected.text);
        refuse(redundant, OutcomeReason::RedundantImprovement)?;
        Ok(Sides { chosen, rejected })
    };
    let of_critique = |critique: &'s CritiqueGroup<'a>| ordered(&critique.improvements, |one| one.reward);
    kept(groups.iter().flat_map(of_critique).map(pair), OutcomeReason::NoImprovementContrast)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::method::{
        scored::ImprovementPlace,
        selection::one_round::{
            pairs::pairs,
            select::{critique_groups, select},
        },
    };

    /// Critique, improvement and reward.
    fn scored<'a>(rows: &'a [(String, String, f64)]) -> Vec<ScoredImprovement<'a>> {
        let row = |(index, (critique, text, reward)): (usize, &'a (String, String, f64))| {
            let place = ImprovementPlace { critique: index, improvement: 0 };
            ScoredImprovement { critique, text, reward: *reward, place }
        };
        rows.iter().enumerate().map(row).collect()
    }

    fn rows(rows: &[(&str, &str, f64)]) -> Vec<(String, String, f64)> {
        rows.iter().map(|(c, y, r)| ((*c).to_owned(), (*y).to_owned(), *r)).collect()
    }

    #[test]
    fn each_better_text_stands_over_each_worse() {
        let rows =
            rows(&[("a", "p", 3.0), ("a", "q", 2.0), ("a", "r", -1.0), ("b", "s", 1.0), ("c", "t", -2.0)]);
        let scored = scored(&rows);
        let groups = critique_groups(&scored);
        let texts = |found: Vec<&ScoredImprovement<'_>>| {
            found.iter().map(|one| one.text.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(responses("y", 0.0, &scored).map(texts), Ok(vec!["p".into(), "q".into(), "s".into()]));
        let critiques = critiques(0.0, &groups).expect("some");
        let sides: Vec<_> = critiques.iter().map(|pair| (pair.chosen.text, pair.rejected.text)).collect();
        assert_eq!(sides, [("a", "b"), ("a", "c"), ("b", "c")]);
        let improvements = improvements(0.0, &groups).expect("some");
        let sides: Vec<_> = improvements.iter().map(|pair| (pair.chosen.text, pair.rejected.text)).collect();
        assert_eq!(sides, [("p", "q"), ("p", "r"), ("q", "r")]);
    }

    #[test]
    fn where_there_is_no_pair_the_first_reason_is_told() {
        let loops = "loop ".repeat(60);
        let rows = rows(&[("a", &loops, 1.0), ("b", "q", -1.0)]);
        let scored = scored(&rows);
        let groups = critique_groups(&scored);
        assert_eq!(responses("y", 0.0, &scored), Err(OutcomeReason::RedundantImprovement));
        assert_eq!(responses(&loops, 0.0, &scored), Err(OutcomeReason::RedundantAnswer));
        assert_eq!(improvements(0.0, &groups), Err(OutcomeReason::NoImprovementContrast));
        assert_eq!(critiques(2.0, &groups), Err(OutcomeReason::WeakBestCritique));
        assert_eq!(critiques(0.0, &groups[..1]), Err(OutcomeReason::NoCritiqueContrast));
    }

    proptest! {
        /// Whatever the paper's rules pair is among all pairs.
        #[test]
        fn the_best_over_the_worst_is_one_of_all(
            rows in prop::collection::vec(("[abc]", "[xyz]{1,3}", -3_i8..3), 1..9),
            answer_reward in -3_i8..3,
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(c, y, r)| (c, y, f64::from(r))).collect();
            let (scored, answer_reward) = (scored(&rows), f64::from(answer_reward));
            let Some(selection) = select("y", answer_reward, &scored) else { return Ok(()) };
            let (groups, best) = (critique_groups(&scored), pairs(&selection));
            if let Ok(response) = best.response {
                prop_assert!(responses("y", answer_reward, &scored).is_ok_and(|all| all.contains(&response)));
            }
            if let Ok(sides) = best.critique {
                prop_assert!(critiques(answer_reward, &groups).is_ok_and(|all| all.contains(&sides)));
            }
            if let Ok(sides) = best.improvement {
                prop_assert!(improvements(answer_reward, &groups).is_ok_and(|all| all.contains(&sides)));
            }
        }
    }
}
