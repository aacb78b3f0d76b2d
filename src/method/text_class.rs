//! Characters as Python's `re` and `str` see them.
//!
//! Rust's own classes differ: its alphanumerics include marks, and the `\w` of the `regex` crate adds marks,
//! connectors and joiners and lacks `²`. So the classes are read from the general categories themselves, once.

use std::sync::LazyLock;

use regex_syntax::hir::{ClassUnicodeRange, HirKind};

/// What the redundancy rule wants to know of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextClass {
    /// `\d`: category Nd. Python counts it among `\w`, too.
    Digit,
    /// `\w` without `\d`: the other characters of categories L and N, and the underscore.
    Word,
    /// `\W`.
    Other,
}

impl TextClass {
    /// Whether Python's `\w` matches.
    pub(crate) fn is_word(self) -> bool {
        !matches!(self, Self::Other)
    }
}

/// The classes of the first plane in a table, of the others by binary search.
struct Classes {
    plane_zero: Vec<TextClass>,
    words: Vec<ClassUnicodeRange>,
    digits: Vec<ClassUnicodeRange>,
}

static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    let mut classes = Classes {
        plane_zero: vec![TextClass::Other; 0x1_0000],
        words: ranges(r"[\p{L}\p{N}_]"),
        digits: ranges(r"\p{Nd}"),
    };
    fill(&mut classes.plane_zero, &classes.words, TextClass::Word);
    fill(&mut classes.plane_zero, &classes.digits, TextClass::Digit);
    classes
});

/// The characters that a class of the regular expression syntax holds, in order.
fn ranges(class: &str) -> Vec<ClassUnicodeRange> {
    let parsed = regex_syntax::parse(class).expect("the classes are constant and covered by tests");
    match parsed.kind() {
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => class.ranges().to_vec(),
        _ => Vec::new(),
    }
}

fn fill(table: &mut [TextClass], ranges: &[ClassUnicodeRange], class: TextClass) {
    for range in ranges {
        let end = (range.end() as usize + 1).min(table.len());
        if let Some(part) = table.get_mut(range.start() as usize..end) {
            part.fill(class);
        }
    }
}

fn find(ranges: &[ClassUnicodeRange], character: char) -> Option<ClassUnicodeRange> {
    let after = ranges.partition_point(|range| range.start() <= character);
    let range = ranges.get(after.checked_sub(1)?)?;
    (character <= range.end()).then_some(*range)
}

/// The class of a character.
pub(crate) fn class_of(character: char) -> TextClass {
    let classes = &*CLASSES;
    if let Some(class) = classes.plane_zero.get(character as usize) {
        *class
    } else if find(&classes.digits, character).is_some() {
        TextClass::Digit
    } else if find(&classes.words, character).is_some() {
        TextClass::Word
    } else {
        TextClass::Other
    }
}

/// The value of a decimal digit of any script, 0 to 9. Unicode keeps each script's ten digits together and in
/// order, and neighbouring scripts' tens side by side, so the distance from the range's start tells it.
pub(crate) fn digit_value(character: char) -> Option<u32> {
    let ascii = character.to_digit(10);
    ascii.or_else(|| {
        let range = find(&CLASSES.digits, character)?;
        Some((u32::from(character) - u32::from(range.start())) % 10)
    })
}

/// What Python's `str.strip` removes: Unicode white space, and also the four separators U+001C to U+001F.
pub(crate) fn is_python_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_general_categories() {
        let cases = [
            ('a', TextClass::Word),
            ('_', TextClass::Word),
            ('²', TextClass::Word),
            ('Ⅷ', TextClass::Word),
            ('漢', TextClass::Word),
            ('ⓐ', TextClass::Other),
            ('\u{301}', TextClass::Other),
            ('\u{203f}', TextClass::Other),
            ('\u{200d}', TextClass::Other),
            ('7', TextClass::Digit),
            ('٣', TextClass::Digit),
            ('🙂', TextClass::Other),
            ('𝟘', TextClass::Digit),
            ('𠀀', TextClass::Word),
        ];
        for (character, class) in cases {
            assert_eq!(class_of(character), class, "{character:?}");
        }
    }

    #[test]
    fn the_table_and_the_search_agree() {
        for character in (0..0x1_0000).filter_map(char::from_u32) {
            let digit = find(&CLASSES.digits, character).is_some();
            assert_eq!(class_of(character) == TextClass::Digit, digit, "{character:?}");
            let word = find(&CLASSES.words, character).is_some();
            assert_eq!(class_of(character).is_word(), word, "{character:?}");
        }
    }

    #[test]
    fn every_range_of_digits_is_made_of_whole_tens() {
        for range in &CLASSES.digits {
            assert_eq!((u32::from(range.end()) + 1 - u32::from(range.start())) % 10, 0, "{range:?}");
        }
    }

    #[test]
    fn digits_of_other_scripts_have_their_value() {
        for (character, value) in [('0', 0), ('9', 9), ('٣', 3), ('७', 7), ('５', 5), ('𝟡', 9), ('𝟬', 0)]
        {
            assert_eq!(digit_value(character), Some(value), "{character:?}");
        }
        assert_eq!(digit_value('²'), None);
    }
}
