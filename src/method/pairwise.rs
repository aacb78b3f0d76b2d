//! The verdict of a comparison of two answers.

/// Which of two answers is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preferred {
    /// The one shown first, A.
    First,
    /// The one shown second, B.
    Second,
}

impl Preferred {
    /// The same preference where the two answers were shown the other way round.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
