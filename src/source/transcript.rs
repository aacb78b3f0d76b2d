//! Conversations written as one text, with a mark before each turn. Pure.

use crate::record::{Message, Role};

/// The marks of one way to write: of the user's turns and the assistant's, perhaps of the system's.
struct Style {
    marks: &'static [(&'static str, Role)],
    /// What may stand at the end of a turn.
    end: &'static str,
}

const STYLES: [Style; 4] = [
    // Anthropic's hh-rlhf, Nectar.
    Style { marks: &[("\n\nHuman:", Role::User), ("\n\nAssistant:", Role::Assistant)], end: "" },
    Style { marks: &[("\nHuman:", Role::User), ("\nAssistant:", Role::Assistant)], end: "" },
    // Guanaco.
    Style { marks: &[("### Human:", Role::User), ("### Assistant:", Role::Assistant)], end: "" },
    // ChatML.
    Style {
        marks: &[
            ("<|im_start|>user\n", Role::User),
            ("<|im_start|>assistant\n", Role::Assistant),
            ("<|im_start|>system\n", Role::System),
        ],
        end: "<|im_end|>",
    },
];

/// The turns of a text that begins with the user's mark, or the system's, and has the assistant's; none of any other. An
/// assistant's mark at the end, with nothing behind it, is where an answer belongs.
pub(super) fn turns(text: &str) -> Option<Vec<Message>> {
    let text = format!("\n\n{}", text.trim_start());
    let style = STYLES.iter().find(|style| style.fits(&text))?;
    let mut turns = style.split(&text);
    turns.pop_if(|last| last.role == Role::Assistant && last.content.is_empty());
    Some(turns)
}

impl Style {
    fn fits(&self, text: &str) -> bool {
        let begins = |role| self.marks.iter().any(|(mark, of)| *of == role && begins_with(text, mark));
        let answers = |(mark, role): &(&str, Role)| *role == Role::Assistant && text.contains(mark);
        (begins(Role::User) || begins(Role::System)) && self.marks.iter().any(answers)
    }

    fn split(&self, text: &str) -> Vec<Message> {
        let mut starts: Vec<_> = self
            .marks
            .iter()
            .flat_map(|(mark, role)| text.match_indices(mark).map(|(at, mark)| (at, at + mark.len(), *role)))
            .collect();
        starts.sort_unstable_by_key(|(at, ..)| *at);
        let ends = starts.iter().skip(1).map(|(at, ..)| *at).chain([text.len()]);
        let turn = |((_, from, role), to): (&(usize, usize, Role), usize)| {
            let content = text[*from..to].trim();
            let content = content.strip_suffix(self.end).unwrap_or(content).trim();
            Message { role: *role, content: content.to_owned(), extra: Default::default() }
        };
        starts.iter().zip(ends).map(turn).collect()
    }
}

/// Line feeds before the first mark are the text's own.
fn begins_with(text: &str, mark: &str) -> bool {
    text.trim_start().starts_with(mark.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let show = |turn: &Message| format!("{:?}: {}", turn.role, turn.content);
        Some(turns(text)?.iter().map(show).collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn every_style_gives_its_turns() {
        let expected = Some("User: q | Assistant: a\nHuman: b | User: r".to_owned());
        for text in [
            "\n\nHuman: q\n\nAssistant: a\nHuman: b\n\nHuman: r\n\nAssistant:",
            "### Human: q### Assistant: a\nHuman: b### Human: r",
            "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na\nHuman: b<|im_end|>\n<|im_start|>user\nr<|im_end|>\n",
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert_eq!(shown("Human: q\nAssistant: a"), Some("User: q | Assistant: a".to_owned()));
        let system =
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(shown(system), Some("System: s | User: q".to_owned()));
    }

    #[test]
    fn a_text_that_only_speaks_of_a_human_is_no_conversation() {
        for text in ["Human: an essay", "What is an Assistant:\n\nHuman: or not?", "### Human rights", "q"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
