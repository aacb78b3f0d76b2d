//! Plausible English out of a small list of words: sentences, paragraphs, and what is wrong with some answers.

use super::draw::Draws;

/// Bytes of text that count as one token, for prompts and answers alike.
pub(super) const BYTES_PER_TOKEN: u64 = 4;

/// The sentence with which an improvement begins; the number behind it says how often the text was improved.
const REVISION: &str = "Revision ";

/// More often than any rule against repetition allows.
const REPETITIONS: usize = 80;

const WORDS: &[&str] = &[
    "answer",
    "question",
    "reader",
    "example",
    "detail",
    "result",
    "method",
    "step",
    "reason",
    "choice",
    "value",
    "measure",
    "source",
    "limit",
    "change",
    "effect",
    "number",
    "system",
    "process",
    "pattern",
    "purpose",
    "balance",
    "context",
    "evidence",
    "principle",
    "condition",
    "structure",
    "practice",
    "advice",
    "summary",
    "water",
    "light",
    "paper",
    "garden",
    "market",
    "river",
    "city",
    "teacher",
    "engine",
    "memory",
    "language",
    "music",
    "winter",
    "harvest",
    "journey",
    "kitchen",
    "library",
    "mountain",
    "village",
    "window",
    "clear",
    "short",
    "careful",
    "useful",
    "common",
    "simple",
    "direct",
    "honest",
    "likely",
    "strong",
    "gentle",
    "early",
    "local",
    "broad",
    "narrow",
    "steady",
    "recent",
    "familiar",
    "practical",
    "accurate",
    "complete",
    "modest",
    "explains",
    "shows",
    "gives",
    "keeps",
    "takes",
    "follows",
    "needs",
    "helps",
    "leads",
    "covers",
    "compares",
    "suggests",
    "requires",
    "supports",
    "describes",
    "improves",
    "depends",
    "begins",
    "remains",
    "changes",
    "matters",
    "works",
    "grows",
    "reaches",
    "connects",
    "the",
    "a",
    "this",
    "that",
    "each",
    "every",
    "some",
    "most",
    "many",
    "another",
    "and",
    "but",
    "because",
    "while",
    "although",
    "before",
    "after",
    "when",
    "where",
    "if",
    "with",
    "without",
    "about",
    "between",
    "through",
    "under",
    "against",
    "along",
    "across",
    "toward",
    "often",
    "usually",
    "rarely",
    "slowly",
    "quickly",
    "together",
    "instead",
    "almost",
    "exactly",
    "further",
];

/// How many tokens a text counts as; at least 1.
pub(super) fn token_count(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN).max(1)
}

/// Appends sentences until `text` has grown by about `tokens`.
pub(super) fn write_sentences(text: &mut String, tokens: u64, draws: &mut Draws) {
    let bytes = usize::try_from(tokens.saturating_mul(BYTES_PER_TOKEN)).unwrap_or(usize::MAX);
    let end = text.len().saturating_add(bytes);
    let mut sentences = 0;
    while text.len() < end {
        if sentences > 0 {
            text.push_str(if sentences % 4 == 0 { "\n\n" } else { " " });
        }
        write_sentence(text, end, draws);
        sentences += 1;
    }
}

fn write_sentence(text: &mut String, end: usize, draws: &mut Draws) {
    let first = WORDS[draws.below(WORDS.len())];
    text.push(char::from(first.as_bytes()[0].to_ascii_uppercase()));
    text.push_str(&first[1..]);
    let words = 6 + draws.below(12);
    for _ in 1..words {
        if text.len() >= end {
            break;
        }
        text.push(' ');
        text.push_str(WORDS[draws.below(WORDS.len())]);
    }
    text.push('.');
}

/// Appends one word so often that the text counts as redundant.
pub(super) fn write_repetition(text: &mut String, draws: &mut Draws) {
    let word = WORDS[draws.below(WORDS.len())];
    for _ in 0..REPETITIONS {
        text.push(' ');
        text.push_str(word);
    }
}

/// Appends the opening of a text that was improved `revision` times.
pub(super) fn write_revision(text: &mut String, revision: u32) {
    text.push_str(&format!("{REVISION}{revision}. "));
}

/// How often a text was improved, by its opening; 0 for one that never was.
pub(super) fn revision_of(text: &str) -> u32 {
    text.strip_prefix(REVISION).map_or(0, leading_number)
}

/// The highest revision that stands anywhere in a text, as in a transcript of a conversation.
pub(super) fn revision_within(text: &str) -> u32 {
    text.split(REVISION).skip(1).map(leading_number).max().unwrap_or(0)
}

/// The number before the first full stop; 0 if there is none of at most two digits.
fn leading_number(text: &str) -> u32 {
    let Some((digits, _)) = text.split_once('.') else { return 0 };
    if digits.len() > 2 { 0 } else { digits.parse().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::draw::Fingerprint;

    #[test]
    fn revisions_are_read_back() {
        let mut text = String::new();
        write_revision(&mut text, 3);
        assert_eq!((revision_of(&text), revision_within(&format!("answer: {text} more"))), (3, 3));
        for never in ["", "Revision", "Revision x. ", "Revision 123. ", "About Revision 2."] {
            assert_eq!(revision_of(never), 0, "{never}");
        }
    }

    #[test]
    fn sentences_have_the_length_asked_for() {
        for tokens in [1, 10, 280, 4000] {
            let mut text = String::new();
            write_sentences(&mut text, tokens, &mut Fingerprint::new(tokens).draws());
            let counted = token_count(&text);
            assert!(counted >= tokens && counted <= tokens + 5, "{counted} of {tokens}: {text}");
        }
    }
}
