//! What cannot be used: the reason, in words that say what to do, and an identity that outlives the run.

use super::prompt::ContentHash;

/// Why a line cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum RejectReason {
    /// The line is not JSON.
    #[error("not JSON ({detail}); write one JSON object a line")]
    NotJson {
        /// What the parser says.
        detail: String,
    },
    /// The line is JSON, but no object.
    #[error("{found} where an object with columns should be; write one JSON object a line")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// The line is not text.
    #[error("invalid UTF-8 at byte {at}; convert the file to UTF-8")]
    InvalidUtf8 {
        /// How many bytes before it are valid.
        at: usize,
    },
    /// None of the columns says where the prompt is.
    #[error("no known columns among: {found}; say where the prompt is, with --column prompt=NAME")]
    NoKnownColumns {
        /// The columns that are there.
        found: String,
    },
    /// A known column does not hold what its name promises.
    #[error("column {column}: {detail}")]
    BadColumn {
        /// The column.
        column: String,
        /// What it holds and what it should.
        detail: String,
    },
    /// A turn of the user has no text.
    #[error("empty prompt (turn {turn}); give the user's turn a text")]
    EmptyPrompt {
        /// Which turn, from 1.
        turn: usize,
    },
    /// Nobody asks anything.
    #[error("no user turn; a conversation needs at least one")]
    NoUserTurn,
    /// The order of turns is one that trainers skip.
    #[error(
        "roles do not alternate: turn {turn} is {found}, expected {expected}; after one optional system message \
         user and assistant take turns"
    )]
    RolesDoNotAlternate {
        /// Which turn, from 1.
        turn: usize,
        /// Whose turn it is.
        found: &'static str,
        /// Whose it should be.
        expected: &'static str,
    },
    /// A role that has no place here.
    #[error(
        "unknown role {role:?} (turn {turn}); use system, user or assistant; calls of tools are not read"
    )]
    UnknownRole {
        /// Which turn, from 1.
        turn: usize,
        /// The role given.
        role: String,
    },
    /// A turn that is not text.
    #[error("content of turn {turn} is {found}, not text; only strings and lists of text parts are read")]
    ContentNotText {
        /// Which turn, from 1.
        turn: usize,
        /// What it is instead.
        found: String,
    },
    /// The line is longer than the limit.
    #[error("larger than {limit} bytes; shorten it or raise the limit")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The id cannot name anything.
    #[error("invalid id: {detail}; use a short non-empty string or an integer, or leave the column out")]
    InvalidId {
        /// What is wrong with it.
        detail: String,
    },
    /// The source breaks off here; nothing after this place was read.
    #[error("the input is damaged from here on: {detail}; repair the file and give it again")]
    CorruptInput {
        /// What the decoder says.
        detail: String,
    },
}

impl RejectReason {
    /// The name in files and metrics.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RejectedLine {
    /// Number of the line, element or row, from 1.
    pub line: u64,
    /// Why.
    pub reason: RejectReason,
    /// How the line begins, for people to recognise it.
    pub excerpt: String,
    /// Hash of the line's bytes, of an over-long line up to the limit.
    pub line_hash: ContentHash,
}

/// The most characters of a line that an excerpt shows.
const EXCERPT_CHARS: usize = 160;

/// Keeps hashes of rejects apart from any other use of the same function.
const CONTEXT: &str = "avr source reject v1";

impl RejectedLine {
    pub(super) fn new(line: u64, bytes: &[u8], reason: RejectReason) -> Self {
        let hash = blake3::Hasher::new().update(bytes).clone();
        Self { line, reason, excerpt: excerpt(bytes), line_hash: ContentHash::of(&hash) }
    }

    /// Names this reject for ever: the same line of the same source, rejected for the same reason, has the same
    /// id in every run. `source_identity` is [`PromptSource::identity`](super::PromptSource::identity).
    pub fn id(&self, source_identity: &str) -> String {
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&(source_identity.len() as u64).to_le_bytes());
        hasher.update(source_identity.as_bytes());
        hasher.update(&self.line.to_le_bytes());
        hasher.update(self.reason.as_str().as_bytes());
        hasher.update(&self.line_hash.0);
        ContentHash::of(&hasher).to_string()
    }
}

/// The line's beginning as text; the cut is in bytes first, so that a long line costs nothing.
fn excerpt(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(EXCERPT_CHARS * 4)];
    shorten(&String::from_utf8_lossy(head), EXCERPT_CHARS)
}

/// At most `chars` characters of `text`.
pub(super) fn shorten(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_depends_on_place_reason_and_bytes() {
        let reject = |line, bytes: &[u8], reason| RejectedLine::new(line, bytes, reason).id("/data/a.jsonl");
        let too_large = || RejectReason::TooLarge { limit: 8 };
        let first = reject(1, b"x", RejectReason::NoUserTurn);
        assert_eq!(first, reject(1, b"x", RejectReason::NoUserTurn));
        let others = [
            reject(2, b"x", RejectReason::NoUserTurn),
            reject(1, b"y", RejectReason::NoUserTurn),
            reject(1, b"x", too_large()),
            RejectedLine::new(1, b"x", RejectReason::NoUserTurn).id("/data/b.jsonl"),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn an_excerpt_is_short_and_survives_broken_text() {
        let line = "é".repeat(10_000);
        assert_eq!(
            RejectedLine::new(1, line.as_bytes(), RejectReason::NoUserTurn).excerpt.chars().count(),
            160
        );
        assert_eq!(RejectedLine::new(1, b"a\xff", RejectReason::NoUserTurn).excerpt, "a\u{fffd}");
    }
}
