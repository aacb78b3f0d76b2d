//! What a usable line holds, and its identity by content.

use std::fmt;

use crate::record::{Message, Role};

/// A prompt as its source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The source's own id, where it has one.
    pub id: Option<String>,
    /// `x`: the conversation up to and including its last user turn. After at most one system message, user and
    /// assistant alternate.
    pub messages: Vec<Message>,
    /// The assistant turn right after `x`, where there is one.
    pub answer: Option<String>,
    /// The name of the test set that the prompt is from, where its source says one. It has no part in the identity.
    pub dataset: Option<String>,
}

/// Whether the answer that came with a prompt is part of what is made of it, and so of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerUse {
    /// The answer is the one to refine: other answers, other work.
    Used,
    /// An answer will be drafted: the given one makes no difference.
    Ignored,
}

/// Keeps hashes of prompts apart from any other use of the same function.
const CONTEXT: &str = "avr source prompt content v1";

impl Prompt {
    /// A hash of the conversation, and of the answer if it is used; the id has no part in it.
    pub fn content_hash(&self, answer: AnswerUse) -> ContentHash {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        for message in &self.messages {
            hash_turn(&mut hasher, message.role, &message.content);
        }
        if let (AnswerUse::Used, Some(text)) = (answer, &self.answer) {
            hash_turn(&mut hasher, Role::Assistant, text);
        }
        ContentHash::of(&hasher)
    }
}

/// The length stands before the text, so that no two conversations run together into the same bytes.
fn hash_turn(hasher: &mut blake3::Hasher, role: Role, text: &str) {
    let tag = match role {
        Role::System => b's',
        Role::User => b'u',
        Role::Assistant => b'a',
    };
    hasher.update(&[tag]);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// The first 16 bytes of a BLAKE3 hash; prints as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 16]);

impl ContentHash {
    pub(super) fn of(hasher: &blake3::Hasher) -> Self {
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Extra;

    fn prompt(turns: &[&str], answer: Option<&str>) -> Prompt {
        let speaker = |turn| if turn % 2 == 0 { Role::User } else { Role::Assistant };
        let message = |(turn, text): (usize, &&str)| Message {
            role: speaker(turn),
            content: (*text).to_owned(),
            extra: Extra::new(),
        };
        let messages = turns.iter().enumerate().map(message).collect();
        Prompt { id: None, messages, answer: answer.map(str::to_owned), dataset: None }
    }

    #[test]
    fn the_answer_counts_only_where_it_is_used() {
        let (one, other) = (prompt(&["q"], Some("a")), prompt(&["q"], Some("b")));
        assert_eq!(one.content_hash(AnswerUse::Ignored), other.content_hash(AnswerUse::Ignored));
        assert_ne!(one.content_hash(AnswerUse::Used), other.content_hash(AnswerUse::Used));
        let without = prompt(&["q"], None);
        assert_eq!(one.content_hash(AnswerUse::Ignored), without.content_hash(AnswerUse::Used));
    }

    #[test]
    fn neither_the_id_nor_a_shift_of_text_between_turns_confuses_it() {
        let mut named = prompt(&["q"], None);
        named.id = Some("name".into());
        let hash = |p: &Prompt| p.content_hash(AnswerUse::Used);
        assert_eq!(hash(&named), hash(&prompt(&["q"], None)));
        assert_ne!(hash(&prompt(&["ab", "c", "d"], None)), hash(&prompt(&["a", "bc", "d"], None)));
        let system = Prompt { id: None, messages: vec![Message::system("q")], answer: None, dataset: None };
        assert_ne!(hash(&system), hash(&prompt(&["q"], None)));
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        let hash = prompt(&["What is a log?"], Some("A list.")).content_hash(AnswerUse::Used);
        assert_eq!(hash.to_string(), "8a3f98487b3345f79c22120cb887d048");
    }
}
