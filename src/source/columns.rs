//! One line to one prompt: which columns a line has decides how it is read. Pure.
//!
//! | columns | conversation |
//! |---|---|
//! | `messages` | as it stands |
//! | `conversations` (ShareGPT: `from`, `value`) | as it stands |
//! | `prompt` (a string, or a list of turns), perhaps `chosen` | `chosen` alone if it begins with a system or user turn (UltraFeedback repeats the prompt there); else `prompt`, then `chosen` |
//! | `instruction`, perhaps `input`, `output` (Alpaca) | instruction, a blank line and input in one turn, then `output` unless it is empty |
//! | `chosen` | as it stands |
//!
//! The first row whose first column is there is taken; a column that is null is not there. An assistant's turn at
//! the end of the conversation is the answer. `prompt_id`, or else `id`, names the prompt; `dataset` the test set
//! that it is from (AlpacaEval). All other columns are passed over unread.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    conversation,
    json_value::{JsonType, QUOTED_CHARS, not_json, read, text},
    prompt::Prompt,
    reject::{RejectReason, shorten},
};
use crate::record::{Message, Role};

/// The columns that are read, for readers that can leave the others out.
pub(super) const KNOWN_COLUMNS: [&str; 10] = [
    "prompt_id",
    "id",
    "prompt",
    "messages",
    "conversations",
    "chosen",
    "instruction",
    "input",
    "output",
    "dataset",
];

/// The most bytes of an id: it becomes part of keys.
const MAX_ID_BYTES: usize = 512;
/// The most columns that a reject names.
const MAX_NAMED_COLUMNS: usize = 12;

/// Reads one line, without its line end.
///
/// # Errors
/// Whatever is wrong with the line; no input makes it panic.
pub fn parse(line: &[u8]) -> Result<Prompt, RejectReason> {
    let line = str::from_utf8(line).map_err(|error| RejectReason::InvalidUtf8 { at: error.valid_up_to() })?;
    let columns = known_columns(line)?;
    let id = columns.id()?;
    let prompt = conversation::split(id, columns.turns(line)?)?;
    Ok(Prompt { dataset: columns.dataset(), ..prompt })
}

/// A column that may be missing; each is read further only if the form of the line needs it.
type Column<'a> = Option<&'a RawValue>;

/// The known columns of one line.
#[derive(Default, Deserialize)]
#[serde(default)]
struct KnownColumns<'a> {
    #[serde(borrow)]
    prompt_id: Column<'a>,
    #[serde(borrow)]
    id: Column<'a>,
    #[serde(borrow)]
    prompt: Column<'a>,
    #[serde(borrow)]
    messages: Column<'a>,
    #[serde(borrow)]
    conversations: Column<'a>,
    #[serde(borrow)]
    chosen: Column<'a>,
    #[serde(borrow)]
    instruction: Column<'a>,
    #[serde(borrow)]
    input: Column<'a>,
    #[serde(borrow)]
    output: Column<'a>,
    #[serde(borrow)]
    dataset: Column<'a>,
}

/// The check for an object comes first, because serde would read a list as a struct, too.
fn known_columns(line: &str) -> Result<KnownColumns<'_>, RejectReason> {
    if line.trim_start().starts_with('{') {
        return serde_json::from_str(line).map_err(not_json);
    }
    let value: &RawValue = serde_json::from_str(line).map_err(not_json)?;
    Err(RejectReason::NotAnObject { found: JsonType::of(value).as_str() })
}

impl KnownColumns<'_> {
    fn id(&self) -> Result<Option<String>, RejectReason> {
        self.prompt_id.or(self.id).map(id).transpose()
    }

    /// The test set's name. Other sources may mean something else by this column, which is then no reason to refuse.
    fn dataset(&self) -> Option<String> {
        serde_json::from_str(self.dataset?.get()).ok()
    }

    fn turns(&self, line: &str) -> Result<Vec<Message>, RejectReason> {
        if let Some(json_value) = self.messages {
            return conversation::turns("messages", json_value);
        }
        if let Some(json_value) = self.conversations {
            return conversation::turns("conversations", json_value);
        }
        match (self.prompt, self.chosen, self.instruction) {
            (Some(prompt), Some(chosen), _) => continued(opening(prompt)?, chosen),
            (Some(prompt), None, _) => opening(prompt),
            (None, _, Some(instruction)) => self.instructed(instruction),
            (None, Some(chosen), None) => continued(Vec::new(), chosen),
            (None, None, None) => Err(RejectReason::NoKnownColumns { found: column_names(line) }),
        }
    }

    /// Alpaca. A column of text cannot be absent in many files, so an empty one means that there is none.
    fn instructed(&self, instruction: &RawValue) -> Result<Vec<Message>, RejectReason> {
        let mut request = text("instruction", instruction)?;
        let input = self.input.map(|json_value| text("input", json_value)).transpose()?.unwrap_or_default();
        if !input.trim().is_empty() {
            request = format!("{request}\n\n{input}");
        }
        let mut turns = vec![Message::user(request)];
        let output =
            self.output.map(|json_value| text("output", json_value)).transpose()?.unwrap_or_default();
        turns.extend(answer(output));
        Ok(turns)
    }
}

/// The turns of a `prompt` column.
fn opening(prompt: &RawValue) -> Result<Vec<Message>, RejectReason> {
    if JsonType::of(prompt) == JsonType::List {
        return conversation::turns("prompt", prompt);
    }
    Ok(vec![Message::user(text("prompt", prompt)?)])
}

/// A `chosen` column goes on with the prompt, or else is the whole conversation.
fn continued(mut turns: Vec<Message>, chosen: &RawValue) -> Result<Vec<Message>, RejectReason> {
    if JsonType::of(chosen) != JsonType::List {
        turns.extend(answer(text("chosen", chosen)?));
        return Ok(turns);
    }
    let chosen = conversation::turns("chosen", chosen)?;
    match chosen.first().map(|turn| turn.role) {
        Some(Role::System | Role::User) => return Ok(chosen),
        Some(Role::Assistant) | None => turns.extend(chosen),
    }
    Ok(turns)
}

fn answer(text: String) -> Option<Message> {
    (!text.trim().is_empty()).then(|| Message::assistant(text))
}

fn id(json_value: &RawValue) -> Result<String, RejectReason> {
    let invalid = |detail: String| RejectReason::InvalidId { detail };
    let id: String = match JsonType::of(json_value) {
        JsonType::Text => read(json_value)?,
        JsonType::Number if json_value.get().parse::<i128>().is_ok() => json_value.get().to_owned(),
        kind => return Err(invalid(format!("it is {kind}: {}", shorten(json_value.get(), QUOTED_CHARS)))),
    };
    match id.as_str() {
        blank if blank.trim().is_empty() => Err(invalid("it is empty".into())),
        long if long.len() > MAX_ID_BYTES => Err(invalid(format!("it is longer than {MAX_ID_BYTES} bytes"))),
        control if control.contains(char::is_control) => Err(invalid("it has control characters".into())),
        _ => Ok(id),
    }
}

/// The line is read a second time for this, which only lines without a known column need.
fn column_names(line: &str) -> String {
    let names: Names = serde_json::from_str(line).unwrap_or_default();
    if names.0.is_empty() { "(none)".to_owned() } else { names.0.join(", ") }
}

#[derive(Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            if names.len() < MAX_NAMED_COLUMNS {
                names.push(shorten(&name, QUOTED_CHARS));
            }
        }
        Ok(Names(names))
    }
}

#[cfg(test)]
mod tests;
