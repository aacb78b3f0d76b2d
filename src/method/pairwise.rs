//! The verdict of a comparison of two answers, and which comparison counts.

use crate::record::{Comparison, Fusion, OutcomeReason, Preferred};

/// The verdict in a comparison: `[[A]]` or `[[B]]`. Where both are there it is A, wherever they stand.
pub fn verdict(text: &str) -> Option<Preferred> {
    if text.contains("[[A]]") {
        Some(Preferred::First)
    } else if text.contains("[[B]]") {
        Some(Preferred::Second)
    } else {
        None
    }
}

/// What a fusion is made from: two drafts in the order in which the comparison shows them, and its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared<'a> {
    /// The draft called A.
    pub first: &'a str,
    /// The draft called B.
    pub second: &'a str,
    /// The comparison.
    pub verdict: &'a str,
}

/// The comparison that counts: the first that has a verdict. Models tend to prefer one place, whichever answer stands
/// there, so where verdicts `must_agree` both orders must have one, for the same draft.
///
/// # Errors
/// [`OutcomeReason::NoVerdict`] where a verdict is missing, [`OutcomeReason::VerdictsDisagree`].
pub fn compared<'a>(
    answer: &'a str,
    fusion: &'a Fusion,
    must_agree: bool,
) -> Result<Compared<'a>, OutcomeReason> {
    let shown = [(answer, fusion.other.text.as_str()), (fusion.other.text.as_str(), answer)];
    let usable: Vec<_> = fusion.comparisons.iter().zip(shown).filter_map(usable).collect();
    let (_, compared) = *usable.first().ok_or(OutcomeReason::NoVerdict)?;
    match usable[..] {
        [(first, _), (second, _)] if must_agree && first != second.swapped() => {
            Err(OutcomeReason::VerdictsDisagree)
        }
        [_] if must_agree => Err(OutcomeReason::NoVerdict),
        _ => Ok(compared),
    }
}

fn usable<'a>(
    (comparison, (first, second)): (&'a Comparison, (&'a str, &'a str)),
) -> Option<(Preferred, Compared<'a>)> {
    let verdict = comparison.text.as_deref()?;
    Some((comparison.preferred?, Compared { first, second, verdict }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::method::samples::call;

    #[test]
    fn reads_the_verdict() {
        let cases = [
            ("Verdict: [[A]]", Some(Preferred::First)),
            ("[[B]]", Some(Preferred::Second)),
            ("[[B]] or [[A]]", Some(Preferred::First)),
            ("[[C]] A B", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(verdict(text), expected, "{text:?}");
        }
        assert_eq!(Preferred::First.swapped(), Preferred::Second);
    }

    fn fusion(verdicts: [Option<&str>; 2]) -> Fusion {
        let comparison = |(text, preferred): (&str, Option<&str>)| json!({"text": preferred.map(|_| text), "preferred": preferred, "call": call()});
        let comparisons: Vec<Value> =
            ["as they are", "swapped"].into_iter().zip(verdicts).map(comparison).collect();
        let other = json!({"text": "other", "reward": null, "call": null});
        serde_json::from_value(json!({"other": other, "comparisons": comparisons})).expect("a fusion")
    }

    #[test]
    fn only_verdicts_for_the_same_draft_agree() {
        let (first, second) = (Some("first"), Some("second"));
        let cases = [
            ([first, second], Ok("as they are")),
            ([second, first], Ok("as they are")),
            ([first, first], Err(OutcomeReason::VerdictsDisagree)),
            ([second, second], Err(OutcomeReason::VerdictsDisagree)),
            ([first, None], Err(OutcomeReason::NoVerdict)),
            ([None, None], Err(OutcomeReason::NoVerdict)),
        ];
        for (verdicts, expected) in cases {
            let fusion = fusion(verdicts);
            assert_eq!(compared("answer", &fusion, true).map(|one| one.verdict), expected, "{verdicts:?}");
        }
    }

    #[test]
    fn one_verdict_is_enough_where_they_need_not_agree() {
        let swapped = fusion([None, Some("second")]);
        let expected = Compared { first: "other", second: "answer", verdict: "swapped" };
        assert_eq!(compared("answer", &swapped, false), Ok(expected));
        let disagreeing = fusion([Some("first"), Some("first")]);
        let expected = Compared { first: "answer", second: "other", verdict: "as they are" };
        assert_eq!(compared("answer", &disagreeing, false), Ok(expected));
        assert_eq!(compared("answer", &fusion([None, None]), false), Err(OutcomeReason::NoVerdict));
    }
}
