//! The final answer inside a long one.

use super::text_class::is_python_space;

/// The line and the blank line after which the final answer stands. Fixed: readers of long answers look for it.
pub const FINAL_HEADING: &str = "Final answer:\n\n";

/// What follows the first [`FINAL_HEADING`], to the end, without the white space around it. An empty one counts.
pub fn final_answer(text: &str) -> Option<&str> {
    let (_, answer) = text.split_once(FINAL_HEADING)?;
    Some(answer.trim_matches(is_python_space))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_follows_the_first_heading() {
        let cases = [
            ("x\n\nFinal answer:\n\n y \n", Some("y")),
            ("Final answer:\n\n", Some("")),
            ("Final answer:\n\na Final answer:\n\nb", Some("a Final answer:\n\nb")),
            ("Final answer:\ny", None),
            ("final answer:\n\ny", None),
            ("Final answer:\n\n\u{1c}\u{1f}\u{a0}\u{3000}y\u{85}\u{1d}\u{1e}", Some("y")),
            ("Final answer:\n\n\u{200b}y\u{feff}", Some("\u{200b}y\u{feff}")),
        ];
        for (text, expected) in cases {
            assert_eq!(final_answer(text), expected, "{text:?}");
        }
    }
}
