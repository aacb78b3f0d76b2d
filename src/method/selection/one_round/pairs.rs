//! The rules that a selection must pass to become records: rejection sampling and the three preference pairs.
//!
//! ```text
//! rule 1 ─▶ response pair ─▶ rules 3, 4 ─┬▶ critique pair
//!                                        └▶ improvement pair
//! ```
//! A rule that fails withholds every pair after it, and says which rule it was.

use super::select::{CritiqueGroup, RoundSelection};
use crate::{
    method::{
        redundancy::is_redundant,
        scored::{ScoredImprovement, first_best, last_best},
        selection::rules::{Sides, refuse},
    },
    record::OutcomeReason,
};

/// From so many characters on, an improvement must not be much longer than the answer.
const LENGTH_SLACK: usize = 400;
/// An improvement shorter than this many times the answer is never too long.
const LENGTH_RATIO: f64 = 1.2;

/// Each pair, or why it is withheld.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundPairs<'s, 'a> {
    /// The best improvement over the answer.
    pub response: Result<&'s ScoredImprovement<'a>, OutcomeReason>,
    /// The best critique over the worst.
    pub critique: Result<Sides<&'s CritiqueGroup<'a>>, OutcomeReason>,
    /// Of the best critique's improvements, the best over the worst.
    pub improvement: Result<Sides<&'s ScoredImprovement<'a>>, OutcomeReason>,
}

/// Whether the selection gives a record for supervised fine-tuning.
///
/// # Errors
/// [`OutcomeReason::NoGain`] or [`OutcomeReason::TooLong`].
pub fn sft(selection: &RoundSelection<'_>) -> Result<(), OutcomeReason> {
    if selection.best.reward <= selection.answer_reward {
        return Err(OutcomeReason::NoGain);
    }
    if !length_is_earned(selection.answer, selection.best.text) {
        return Err(OutcomeReason::TooLong);
    }
    Ok(())
}

/// Lengths in code points. Of an empty answer the ratio is infinite.
fn length_is_earned(answer: &str, improvement: &str) -> bool {
    let (before, after) = (answer.chars().count(), improvement.chars().count());
    after < before + LENGTH_SLACK || after as f64 / (before as f64) < LENGTH_RATIO
}

/// The pairs that the selection gives.
pub fn pairs<'s, 'a>(selection: &'s RoundSelection<'a>) -> RoundPairs<'s, 'a> {
    let response = response_pair(selection);
    let contrast = response.and_then(|_| critique_contrast(selection));
    RoundPairs {
        response,
        critique: contrast.and_then(|_| critique_pair(selection)),
        improvement: contrast.and_then(|extremes| improvement_pair(selection, extremes)),
    }
}

/// Rules 1 and 2.
fn response_pair<'s, 'a>(
    selection: &'s RoundSelection<'a>,
) -> Result<&'s ScoredImprovement<'a>, OutcomeReason> {
    let best = &selection.best;
    refuse(is_redundant(selection.answer), OutcomeReason::RedundantAnswer)?;
    refuse(is_redundant(best.text), OutcomeReason::RedundantImprovement)?;
    refuse(best.reward <= selection.answer_reward, OutcomeReason::NoGain)?;
    Ok(best)
}

/// Of one critique's improvements, the highest and the lowest.
type Extremes<'s, 'a> = Option<(&'s ScoredImprovement<'a>, &'s ScoredImprovement<'a>)>;

/// Rules 3 and 4.
fn critique_contrast<'s, 'a>(selection: &'s RoundSelection<'a>) -> Result<Extremes<'s, 'a>, OutcomeReason> {
    let (best, worst) = (&selection.best_critique, &selection.worst_critique);
    let extremes = extremes(&best.improvements);
    let below = |improvement: &ScoredImprovement<'_>| improvement.reward < selection.answer_reward;
    refuse(extremes.is_some_and(|(highest, _)| below(highest)), OutcomeReason::WeakBestCritique)?;
    refuse(is_redundant(best.text), OutcomeReason::RedundantCritique)?;
    refuse(best.text == worst.text || best.mean <= worst.mean, OutcomeReason::NoCritiqueContrast)?;
    refuse(best.improvements.iter().all(below), OutcomeReason::WeakBestCritique)?;
    Ok(extremes)
}

/// Of equal highest the first, of equal lowest the last; nothing where all are equal.
fn extremes<'s, 'a>(improvements: &'s [ScoredImprovement<'a>]) -> Extremes<'s, 'a> {
    let highest = first_best(improvements, |improvement| improvement.reward)?;
    let lowest = last_best(improvements, |improvement| -improvement.reward)?;
    (highest.reward != lowest.reward).then_some((highest, lowest))
}

/// Rule 5.
fn critique_pair<'s, 'a>(
    selection: &'s RoundSelection<'a>,
) -> Result<Sides<&'s CritiqueGroup<'a>>, OutcomeReason> {
    refuse(is_redundant(selection.worst_critique.text), OutcomeReason::RedundantCritique)?;
    Ok(Sides { chosen: &selection.best_critique, rejected: &selection.worst_critique })
}

/// Rule 6.
fn improvement_pair<'s, 'a>(
    selection: &RoundSelection<'a>,
    extremes: Extremes<'s, 'a>,
) -> Result<Sides<&'s ScoredImprovement<'a>>, OutcomeReason> {
    let (chosen, rejected) = extremes.ok_or(OutcomeReason::NoImprovementContrast)?;
    refuse(rejected.reward == selection.answer_reward, OutcomeReason::RejectedEqualsAnswer)?;
    let redundant = is_redundant(chosen.text) || is_redundant(rejected.text);
    refuse(redundant, OutcomeReason::RedundantImprovement)?;
    Ok(Sides { chosen, rejected })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::method::{scored::ImprovementPlace, selection::one_round::select::select};

    /// Rows of critique, improvement and reward; then the reasons of SFT and the three pairs, `None` for kept.
    struct Case {
        answer: String,
        answer_reward: f64,
        rows: Vec<(String, String, f64)>,
        expected: [Option<OutcomeReason>; 4],
    }

    fn case(
        answer: &str,
        answer_reward: f64,
        rows: &[(&str, &str, f64)],
        expected: [Option<OutcomeReason>; 4],
    ) -> Case {
        let rows = rows.iter().map(|(c, y, r)| ((*c).to_owned(), (*y).to_owned(), *r)).collect();
        Case { answer: answer.to_owned(), answer_reward, rows, expected }
    }

    fn scored_row(index: usize, (critique, text, reward): &(String, String, f64)) -> ScoredImprovement<'_> {
        ScoredImprovement {
            critique,
            text,
            reward: *reward,
            place: ImprovementPlace { critique: index, improvement: 0 },
        }
    }

    fn scored_rows(rows: &[(String, String, f64)]) -> Vec<ScoredImprovement<'_>> {
        rows.iter().enumerate().map(|(index, row)| scored_row(index, row)).collect()
    }

    fn check(case: &Case) {
        let scored = scored_rows(&case.rows);
        let selection = select(&case.answer, case.answer_reward, &scored).expect("one reaches the answer");
        let found = pairs(&selection);
        let reasons =
            [sft(&selection).err(), found.response.err(), found.critique.err(), found.improvement.err()];
        assert_eq!(reasons, case.expected, "{:?}", case.rows);
    }

    #[test]
    fn each_rule_withholds_what_comes_after_it() {
        use OutcomeReason::{
            NoCritiqueContrast, NoGain, NoImprovementContrast, RedundantAnswer, RedundantCritique,
            RedundantImprovement, RejectedEqualsAnswer, TooLong,
        };
        let loops = "loop ".repeat(60);
        let long = "long text of many different words, none of them often: ".repeat(8);
        let all = |reason| [None, Some(reason), Some(reason), Some(reason)];
        let cases = [
            case("y", 0.0, &[("a", "p", 2.0), ("a", "q", 1.0), ("b", "r", 0.5)], [None; 4]),
            case("y", 0.0, &[("a", "p", 0.0)], [Some(NoGain); 4]),
            case(
                "y",
                0.0,
                &[("a", &long, 2.0), ("a", "q", 1.0), ("b", "r", 0.5)],
                [Some(TooLong), None, None, None],
            ),
            case(&loops, 0.0, &[("a", "p", 2.0), ("b", "r", 0.5)], all(RedundantAnswer)),
            case("y", 0.0, &[("a", &loops, 2.0), ("b", "r", 0.5)], all(RedundantImprovement)),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("a", "q", 1.0)],
                [None, None, Some(NoCritiqueContrast), Some(NoCritiqueContrast)],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("b", "q", 2.0)],
                [None, None, Some(NoCritiqueContrast), Some(NoCritiqueContrast)],
            ),
            case(
                "y",
                0.0,
                &[(&loops, "p", 2.0), ("b", "q", 1.0)],
                [None, None, Some(RedundantCritique), Some(RedundantCritique)],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("a", "q", 1.0), (&loops, "r", 0.5)],
                [None, None, Some(RedundantCritique), None],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("b", "q", 1.0)],
                [None, None, None, Some(NoImprovementContrast)],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("a", "q", 2.0), ("b", "r", 1.0)],
                [None, None, None, Some(NoImprovementContrast)],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("a", "q", 0.0), ("b", "r", 0.5)],
                [None, None, None, Some(RejectedEqualsAnswer)],
            ),
            case(
                "y",
                0.0,
                &[("a", "p", 2.0), ("a", &loops, 1.0), ("b", "r", 0.5)],
                [None, None, None, Some(RedundantImprovement)],
            ),
        ];
        cases.iter().for_each(check);
    }

    #[test]
    fn a_best_critique_may_be_weaker_than_the_answer() {
        // The best improvement came of the critique whose other improvement spoiled its mean.
        let weak = Some(OutcomeReason::WeakBestCritique);
        let one = [("a", "p", 2.0), ("a", "q", -9.0), ("b", "r", -1.0)];
        check(&case("y", 0.0, &one, [None, None, weak, weak]));
        let two = [("a", "p", 2.0), ("a", "q", -9.0), ("b", "r", -1.0), ("b", "s", -0.5)];
        check(&case("y", 0.0, &two, [None, None, weak, weak]));
    }

    #[test]
    fn of_equal_extremes_the_first_highest_and_the_last_lowest_count() {
        let rows = [("a", "p", 2.0), ("a", "q", 2.0), ("a", "r", 1.0), ("a", "s", 1.0), ("b", "t", 0.5)];
        let case = case("y", 0.0, &rows, [None; 4]);
        let scored = scored_rows(&case.rows);
        let selection = select("y", 0.0, &scored).expect("one reaches the answer");
        let sides = pairs(&selection).improvement.expect("kept");
        assert_eq!((sides.chosen.text, sides.rejected.text), ("p", "s"));
    }

    #[test]
    fn length_is_counted_in_code_points() {
        let cases = [("", 399, true), ("", 400, false), ("漢", 400, true), ("漢", 401, false)];
        for (answer, length, earned) in cases {
            assert_eq!(length_is_earned(answer, &"é".repeat(length)), earned, "{answer:?} {length}");
        }
        assert!(length_is_earned(&"a".repeat(2001), &"b".repeat(2401)));
        assert!(!length_is_earned(&"a".repeat(2000), &"b".repeat(2400)));
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_better_than_what_is_rejected(
            rows in prop::collection::vec(("[abc]", "[xyz]{1,3}", -3_i8..3), 1..9),
            answer_reward in -3_i8..3,
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(c, y, r)| (c, y, f64::from(r))).collect();
            let scored = scored_rows(&rows);
            let Some(selection) = select("y", f64::from(answer_reward), &scored) else { return Ok(()) };
            let found = pairs(&selection);
            prop_assert_eq!(found.response.is_ok(), sft(&selection).is_ok());
            if let Ok(sides) = found.critique {
                prop_assert!(sides.chosen.mean > sides.rejected.mean);
            }
            if let Ok(sides) = found.improvement {
                prop_assert!(sides.chosen.reward > sides.rejected.reward);
                prop_assert_eq!(sides.chosen.critique, sides.rejected.critique);
            }
        }
    }
}
