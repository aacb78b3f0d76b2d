//! JSON values of columns, each kept as the text that it is until it is known what to read from it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::reject::{RejectReason, shorten};

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
    Null,
    List,
    Object,
}

impl JsonType {
    /// Told by the first byte: raw values begin with their first token.
    pub(super) fn of(value: &RawValue) -> Self {
        match value.get().as_bytes().first() {
            Some(b'"') => Self::Text,
            Some(b'[') => Self::List,
            Some(b'{') => Self::Object,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// The kind in a sentence.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text in a column that must hold one.
pub(super) fn text(column: &str, json_value: &RawValue) -> Result<String, RejectReason> {
    match JsonType::of(json_value) {
        JsonType::Text => read(json_value),
        kind => Err(bad_column(column, format!("{kind} where a string should be"))),
    }
}

/// Reads what is known to be JSON; a wrong type or an escape that stands for no character can still fail.
pub(super) fn read<T: DeserializeOwned>(value: &RawValue) -> Result<T, RejectReason> {
    serde_json::from_str(value.get()).map_err(not_json)
}

pub(super) fn not_json(error: serde_json::Error) -> RejectReason {
    RejectReason::NotJson { detail: shorten(&error.to_string(), 2 * QUOTED_CHARS) }
}

pub(super) fn bad_column(column: &str, detail: String) -> RejectReason {
    RejectReason::BadColumn { column: column.to_owned(), detail }
}

/// A list's elements, unread; refused when there are more than [`MAX_ELEMENTS`].
pub(super) struct List<'a>(pub(super) Vec<&'a RawValue>);

impl<'a> List<'a> {
    pub(super) fn read(column: &str, value: &'a RawValue) -> Result<Self, RejectReason> {
        match JsonType::of(value) {
            JsonType::List => {
                serde_json::from_str(value.get()).map_err(|error| bad_column(column, error.to_string()))
            }
            kind => Err(bad_column(column, format!("{kind} where a list should be"))),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor).map(Self)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            if elements.len() == MAX_ELEMENTS {
                return Err(A::Error::custom(format_args!("more than {MAX_ELEMENTS} elements")));
            }
            elements.push(element);
        }
        Ok(elements)
    }
}
