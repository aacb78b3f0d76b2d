//! The rating that ends a critique, as `[[n]]`.

use super::text_class::digit_value;

/// The largest rating; the smallest is 1.
pub const MAX_RATING: u8 = 10;

/// The rating in a critique: the number in the first `[[digits]]`, where it is from 1 to 10.
///
/// Only the first counts: a first number out of range makes the critique invalid even if a later one would do.
/// Digits of any script count, as they do for Python's `\d` and `int`.
pub fn rating(text: &str) -> Option<u8> {
    let number = openings(text).find_map(bracketed_number)?;
    (1..=MAX_RATING).contains(&number).then_some(number)
}

/// What follows each `[[`, overlapping ones included: of `[[[7]]` the second is the one that matches.
fn openings(text: &str) -> impl Iterator<Item = &str> {
    let pairs = text.as_bytes().windows(2).enumerate();
    pairs.filter(|(_, pair)| *pair == b"[[").map(|(start, _)| &text[start + 2..])
}

/// The number at the start of `text`, if `]]` follows it. Too large a number stays at the largest of its type,
/// which is out of range all the same.
fn bracketed_number(text: &str) -> Option<u8> {
    let length = text.find(|character| digit_value(character).is_none())?;
    let (digits, rest) = text.split_at(length);
    if digits.is_empty() || !rest.starts_with("]]") {
        return None;
    }
    let values = digits.chars().filter_map(digit_value);
    Some(values.fold(0_u8, |number, digit| {
        number.saturating_mul(10).saturating_add(u8::try_from(digit).unwrap_or(u8::MAX))
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_python_reads() {
        let cases = [
            ("Rating: [[7]]", Some(7)),
            ("[[11]] then [[7]]", None),
            ("[[0]]", None),
            ("[[[7]]", Some(7)),
            ("[[7]", None),
            ("[[a]] [[7]]", Some(7)),
            ("[[]] [[3]]", Some(3)),
            ("[[ 7 ]]", None),
            ("[[٣]]", Some(3)),
            ("[[1٠]]", Some(10)),
            ("[[²]]", None),
            ("[[00000000010]]", Some(10)),
            ("[[", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(rating(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_number_of_any_length_does_not_overflow() {
        assert_eq!(rating(&format!("[[{}]]", "9".repeat(100_000))), None);
        assert_eq!(rating(&format!("[[256{}]]", "0".repeat(300))), None);
    }

    proptest! {
        #[test]
        fn agrees_with_the_expression(text in r"([\[\]0-9a٣७² ]|\[\[|\]\]){0,20}") {
            let expression = regex::Regex::new(r"\[\[(\p{Nd}+)\]\]").expect("constant");
            let first = expression.captures(&text).map(|found| {
                found[1].chars().fold(0_u128, |number, digit| {
                    number * 10 + u128::from(digit_value(digit).expect("a digit"))
                })
            });
            let expected = first.filter(|number| (1..=10).contains(number));
            prop_assert_eq!(rating(&text).map(u128::from), expected);
        }
    }
}
