//! Whether a text repeats itself, as models do when they fall into a loop.
//!
//! Every text that a record could hold is asked about, so this avoids regular expressions: each pass is one walk
//! over the characters. Nearly all texts are cleared by a sketch, in which tokens of equal cheap hash share a
//! count; only where some shared count is high enough are the tokens themselves counted.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
};

use super::text_class::{TextClass, class_of};

/// So many occurrences of one token, or of one run of marks, make a text redundant.
pub const REPEATS: u32 = 60;

/// Whether a text is redundant: with spaces removed, some maximal run of characters that are digits or not word
/// characters occurs [`REPEATS`] times or more; or some token does, where the tokens are the words of the
/// lower-cased text if the text has an ASCII letter, else its single characters, spaces included.
pub fn is_redundant(text: &str) -> bool {
    // Each occurrence takes a byte at least.
    if text.len() < REPEATS as usize {
        return false;
    }
    repeats_a_token(text) || repeats_a_run(text)
}

fn repeats_a_token(text: &str) -> bool {
    // Asked before lower-casing: the Kelvin sign becomes an ASCII letter by it, and does not count as one.
    if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        repeats(stretches(&text.to_lowercase(), TextClass::is_word))
    } else {
        repeats(text.chars())
    }
}

fn repeats_a_run(text: &str) -> bool {
    let packed = text.replace(' ', "");
    repeats(stretches(&packed, |class| class != TextClass::Word))
}

/// Whether some token occurs [`REPEATS`] times.
fn repeats<T: Hash + Eq>(tokens: impl Iterator<Item = T> + Clone) -> bool {
    may_repeat(tokens.clone()) && repeats_exactly(tokens)
}

/// Whether the tokens of some cheap hash occur [`REPEATS`] times together. If not, no token does.
fn may_repeat<T: Hash>(tokens: impl Iterator<Item = T>) -> bool {
    let mut counts = [0_u32; 1 << CheapHash::BITS];
    reaches_limit(tokens, |token| {
        let mut hash = CheapHash::default();
        token.hash(&mut hash);
        let count = &mut counts[hash.finish() as usize];
        *count += 1;
        *count
    })
}

fn repeats_exactly<T: Hash + Eq>(tokens: impl Iterator<Item = T>) -> bool {
    let mut counts = HashMap::new();
    reaches_limit(tokens, |token| {
        let count = counts.entry(token).or_insert(0_u32);
        *count += 1;
        *count
    })
}

fn reaches_limit<T>(mut tokens: impl Iterator<Item = T>, mut count: impl FnMut(T) -> u32) -> bool {
    tokens.any(|token| count(token) >= REPEATS)
}

/// FNV-1a, of which the upper bits are used: quick on the few bytes of a word. A text made to collide is only
/// counted exactly, so nothing is won by making one.
#[derive(Clone, Copy)]
struct CheapHash(u64);

impl CheapHash {
    const BITS: u32 = 10;
}

impl Default for CheapHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for CheapHash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0 >> (u64::BITS - Self::BITS)
    }
}

/// The maximal stretches of characters whose class is wanted.
fn stretches(text: &str, wanted: impl Fn(TextClass) -> bool + Copy) -> impl Iterator<Item = &str> + Clone {
    text.split(move |character| !wanted(class_of(character))).filter(|stretch| !stretch.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn many(token: &str, times: usize) -> String {
        token.repeat(times)
    }

    #[test]
    fn counts_words_without_regard_to_case() {
        assert!(is_redundant(&many("Loop loop ", 30)));
        assert!(!is_redundant(&format!("{}end", many("Loop loop ", 29))));
    }

    #[test]
    fn counts_runs_of_marks_and_digits_with_spaces_removed() {
        let words = |joint: &str, count: u8| {
            let names =
                (0..count).map(|n| format!("{}{}", char::from(b'a' + n / 26), char::from(b'a' + n % 26)));
            names.collect::<Vec<_>>().join(joint)
        };
        assert!(is_redundant(&words(" - 1 ", 61)));
        assert!(!is_redundant(&words(" - 1 ", 60)));
        assert!(!is_redundant(&words(" ", 200)));
    }

    #[test]
    fn counts_characters_where_no_ascii_letter_is() {
        assert!(is_redundant(&many("漢", 60)));
        assert!(!is_redundant(&many("漢", 59)));
        assert!(is_redundant(&format!("一{}丁", many(" ", 60))));
        assert!(!is_redundant(&format!("a{}b", many(" ", 60))));
        assert!(is_redundant(&many("\u{212a}", 60)));
    }

    #[test]
    fn words_are_those_of_the_lower_cased_text() {
        // Lower-cased, the capital I with a dot is two characters, and the second is a mark: it ends the word.
        let capitals: String = (0..60).map(|n| format!("İ{} ", char::from(b'a' + n % 26))).collect();
        assert!(is_redundant(&capitals));
    }

    /// The rule in the words of its statement, slowly.
    fn reference(text: &str) -> bool {
        static RUNS: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"[^\p{L}\p{Nl}\p{No}_]+").expect("constant"));
        static WORDS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").expect("constant"));
        let packed = text.replace(' ', "");
        let lower = text.to_lowercase();
        let tokens: Vec<String> = if text.contains(|c: char| c.is_ascii_alphabetic()) {
            WORDS.find_iter(&lower).map(|found| found.as_str().to_owned()).collect()
        } else {
            text.chars().map(String::from).collect()
        };
        let runs: Vec<String> = RUNS.find_iter(&packed).map(|found| found.as_str().to_owned()).collect();
        [tokens, runs]
            .iter()
            .any(|list| list.iter().any(|token| list.iter().filter(|other| *other == token).count() >= 60))
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_on_few_tokens(
            tokens in prop::collection::vec(
                prop::sample::select(vec!["a", "B", "b", " ", "-", "1", "²", "漢", "_", "\u{301}", "İ", "Σ"]), 0..400)
        ) {
            let text = tokens.concat();
            prop_assert_eq!(is_redundant(&text), reference(&text));
        }

        #[test]
        fn agrees_with_the_rule_on_repeated_patterns(pattern in r"\PC{0,6}", tail in r"\PC{0,20}", times in 50_usize..70) {
            let text = pattern.repeat(times) + &tail;
            prop_assert_eq!(is_redundant(&text), reference(&text));
        }

        #[test]
        fn any_text_is_judged(text in any::<String>()) {
            prop_assert_eq!(is_redundant(&text), reference(&text));
        }
    }
}
