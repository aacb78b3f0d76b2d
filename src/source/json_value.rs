//! JSON values of columns, each kept as the bytes that it is until it is known what to read from it.
//!
//! Values are told apart by quotes and brackets alone. Whether one is JSON is asked only when it is read: a file whose
//! scores are `NaN` (as Python writes them) still gives its prompts.

use std::{borrow::Cow, fmt};

use super::{
    reject::{RejectReason, shorten},
    scanner::Scanner,
};

/// The most elements of a list: a longer one is no conversation, and small elements would fill memory.
pub(super) const MAX_ELEMENTS: usize = 4096;
/// The most characters of anything quoted from a line.
pub(super) const QUOTED_CHARS: usize = 60;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    Text,
    Number,
    Boolean,
    /// Also `NaN`, by which Python says that there is none.
    Null,
    List,
    Object,
    Unknown,
}

impl JsonType {
    /// The kind in a sentence.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Unknown => "no JSON value",
        }
    }
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value that was not read yet, without white space around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawJson<'a> {
    bytes: &'a [u8],
    /// Bytes of the line before it.
    at: usize,
}

impl<'a> RawJson<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { bytes: line, at: 0 }.trimmed()
    }

    fn part(self, from: usize, to: usize) -> Self {
        Self { bytes: &self.bytes[from..to], at: self.at + from }.trimmed()
    }

    fn trimmed(self) -> Self {
        let bytes = self.bytes.trim_ascii_start();
        Self { bytes: bytes.trim_ascii_end(), at: self.at + self.bytes.len() - bytes.len() }
    }

    /// Told by the first byte, and by the words that JSON has.
    pub(super) fn kind(self) -> JsonType {
        match (self.bytes.first(), self.bytes) {
            (Some(b'"'), _) => JsonType::Text,
            (Some(b'['), _) => JsonType::List,
            (Some(b'{'), _) => JsonType::Object,
            (_, b"true" | b"false") => JsonType::Boolean,
            (_, b"null" | b"NaN") => JsonType::Null,
            (Some(b'-' | b'0'..=b'9'), _) => JsonType::Number,
            _ => JsonType::Unknown,
        }
    }

    /// The value as it stands in the line.
    pub(super) fn written(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }

    /// A string's text.
    pub(super) fn read_text(self, column: &str) -> Result<String, RejectReason> {
        let written = str::from_utf8(self.bytes)
            .map_err(|error| RejectReason::InvalidUtf8 { at: self.at + error.valid_up_to() })?;
        serde_json::from_str(written).map_err(|error| not_json(&format!("column {column}: {error}")))
    }

    /// The text in a column that must hold one.
    pub(super) fn text(self, column: &str) -> Result<String, RejectReason> {
        match self.kind() {
            JsonType::Text => self.read_text(column),
            kind => Err(bad_column(column, format!("{kind} where a string should be"))),
        }
    }

    /// A list's elements, unread; refused when there are more than [`MAX_ELEMENTS`].
    pub(super) fn elements(self, column: &str) -> Result<Vec<Self>, RejectReason> {
        if self.kind() != JsonType::List {
            return Err(bad_column(column, format!("{} where a list should be", self.kind())));
        }
        let malformed = || bad_column(column, "a list that is no JSON".to_owned());
        let (mut elements, mut from) = (Vec::new(), 1);
        loop {
            let (end, delimiter) = self.value_end(from).ok_or_else(malformed)?;
            let element = self.part(from, end);
            let is_last = delimiter == b']';
            if !element.bytes.is_empty() {
                elements.push(element);
            } else if !(is_last && elements.is_empty()) {
                return Err(malformed());
            }
            if elements.len() > MAX_ELEMENTS {
                return Err(bad_column(column, format!("more than {MAX_ELEMENTS} elements")));
            }
            match (is_last, end + 1 == self.bytes.len()) {
                (true, true) => return Ok(elements),
                (false, _) if delimiter == b',' => from = end + 1,
                _ => return Err(malformed()),
            }
        }
    }

    /// Shows each name and value of an object; false where it is none.
    pub(super) fn visit_fields(self, mut visit: impl FnMut(&str, Self)) -> bool {
        if self.kind() != JsonType::Object {
            return false;
        }
        let mut from = 1;
        loop {
            let Some((name, colon)) = self.name(from) else {
                let is_empty = from == 1 && self.part(1, self.bytes.len()).bytes == b"}";
                return is_empty;
            };
            let Some((end, delimiter)) = self.value_end(colon + 1) else { return false };
            let value = self.part(colon + 1, end);
            if value.bytes.is_empty() {
                return false;
            }
            visit(&name, value);
            match (delimiter, end + 1 == self.bytes.len()) {
                (b'}', true) => return true,
                (b',', _) => from = end + 1,
                _ => return false,
            }
        }
    }

    /// The value of the field called `name`, of an object that has it.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let mut found = None;
        self.visit_fields(|field, value| {
            if field == name {
                found = Some(value);
            }
        });
        found
    }

    /// The name that begins at or after `from`, and where the colon behind it is.
    fn name(self, from: usize) -> Option<(Cow<'a, str>, usize)> {
        let begin = from + self.bytes[from..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        if self.bytes[begin] != b'"' {
            return None;
        }
        let mut scanner = Scanner::default();
        let length = self.bytes[begin..].iter().position(|byte| {
            scanner.step(*byte);
            !scanner.in_string()
        })?;
        let end = begin + length;
        let colon = end + 1 + self.bytes[end + 1..].iter().position(|byte| !byte.is_ascii_whitespace())?;
        let plain = &self.bytes[begin + 1..end];
        let name = match plain.contains(&b'\\') {
            false => String::from_utf8_lossy(plain),
            true => Cow::Owned(serde_json::from_slice(&self.bytes[begin..=end]).ok()?),
        };
        (self.bytes[colon] == b':').then_some((name, colon))
    }

    /// Where the value that begins at or after `from` ends, and the comma or bracket there.
    fn value_end(self, from: usize) -> Option<(usize, u8)> {
        let mut scanner = Scanner::default();
        let rest = self.bytes.get(from..)?;
        rest.iter().enumerate().find_map(|(at, byte)| Some((from + at, scanner.step(*byte)?)))
    }
}

/// Why a line that should be an object is none.
pub(super) fn no_object(line: &[u8]) -> RejectReason {
    let text = match str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return RejectReason::InvalidUtf8 { at: error.valid_up_to() },
    };
    let kind = RawJson::new(line).kind();
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(error) => not_json(&error.to_string()),
        Ok(_) if kind == JsonType::Object => not_json("a name or a comma is missing"),
        Ok(_) => RejectReason::NotAnObject { found: kind.as_str() },
    }
}

pub(super) fn not_json(detail: &str) -> RejectReason {
    RejectReason::NotJson { detail: shorten(detail, 2 * QUOTED_CHARS) }
}

pub(super) fn bad_column(column: &str, detail: String) -> RejectReason {
    RejectReason::BadColumn { column: column.to_owned(), detail }
}
