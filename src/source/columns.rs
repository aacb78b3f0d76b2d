//! One row to one prompt: which columns it has decides how it is read. Pure.
//!
//! | what | columns, the first that is there counts | forms |
//! |---|---|---|
//! | conversation | `messages`, `conversations`, `conversation`, `turns`, `dialogue`, `dialog`, `trajectory` | see [`conversation`] |
//! | else prompt | `prompt`, `instruction` with `input`, `question`, `query`, `problem`, `inputs`, `input` | a text, or a conversation |
//! | | `context` behind an instruction, before any other prompt | a text, a list of texts, or the turns before |
//! | | `history` | the turns before |
//! | else | `text` that is a conversation, `chosen`, a `context` or `history` of turns | |
//! | system message | `system`, `system_prompt`, `system_message` | a text |
//! | answer, unless the conversation ends with one | `chosen`, `completion`, `response`, `output`, `answer`, `answers`, `solution`, `targets`, `target` | a text, a turn, turns, or a list of answers, of which the first counts |
//! | id | `prompt_id`, `id` | a text, a number, a boolean |
//! | test set (AlpacaEval) | `dataset` | a text |
//!
//! A column that is null is not there. A `chosen` that begins with a system or user turn is the whole conversation
//! (UltraFeedback repeats the prompt there). A row with pictures, sounds or tools is refused: they would be missing in
//! what is made of it. All other columns are passed over unread. [`Columns::named`] puts other names in place of a row's.

use std::collections::BTreeMap;

use strum::VariantNames as _;

use super::{
    conversation::{self, has_role, is_filled},
    json_value::{JsonType, QUOTED_CHARS, RawJson, bad_column, no_object, not_json},
    prompt::Prompt,
    reject::{RejectReason, shorten},
};
use crate::record::{Message, Role};

/// The most bytes of an id: it becomes part of keys.
const MAX_ID_BYTES: usize = 512;
/// The most columns that a reject names.
const MAX_NAMED_COLUMNS: usize = 12;

/// Lists and objects around an answer, at most.
const MAX_ANSWER_DEPTH: usize = 2;

const CONVERSATION: [&str; 7] =
    ["messages", "conversations", "conversation", "turns", "dialogue", "dialog", "trajectory"];
const PROMPT: [&str; 7] = ["prompt", "instruction", "question", "query", "problem", "inputs", "input"];
const INSTRUCTION: &str = "instruction";
const INPUT: &str = "input";
const CHOSEN: &str = "chosen";
const ANSWER: [&str; 9] =
    [CHOSEN, "completion", "response", "output", "answer", "answers", "solution", "targets", "target"];
const SYSTEM: [&str; 3] = ["system", "system_prompt", "system_message"];
const ID: [&str; 2] = ["prompt_id", "id"];
const DATASET: &str = "dataset";
const TEXT: &str = "text";
/// A row of a tree of messages (OASST): `text` with who wrote it and what it replies to.
const TREE: [&str; 2] = ["role", "parent_id"];
/// What cannot be given to a model that reads text.
const NOT_TEXT: [&str; 9] =
    ["images", "image", "videos", "video", "audios", "audio", "tools", "functions", "tool_calls"];

/// What a column may be named for, by a user whose columns have names of their own.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum ColumnUse {
    /// The prompt: a text, or a conversation.
    Prompt,
    /// The answer that comes with it.
    Answer,
    /// Its name.
    Id,
    /// The system message.
    System,
    /// A text that belongs to the prompt.
    Context,
    /// The turns before it.
    History,
}

/// Which columns are read as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(BTreeMap<ColumnUse, String>);

impl Columns {
    /// The columns of data sets that are known, but for each use in `names` the column named there and no other. A
    /// name with dots that no column has is a field within a column; an empty one is no column at all.
    pub fn named(names: impl IntoIterator<Item = (ColumnUse, String)>) -> Self {
        Self(names.into_iter().collect())
    }

    /// The uses, as they are written.
    pub fn uses() -> &'static [&'static str] {
        ColumnUse::VARIANTS
    }

    /// Whether a column is read, for readers that can leave the others out.
    pub(super) fn reads(&self, column: &str) -> bool {
        let is_named = |name: &String| name == column || name.split('.').next() == Some(column);
        let uses = [ColumnUse::Prompt, ColumnUse::Answer, ColumnUse::Id, ColumnUse::System];
        let with_default = uses.into_iter().chain([ColumnUse::Context, ColumnUse::History]);
        self.0.values().any(is_named)
            || with_default.into_iter().any(|of| self.names(of).contains(&column))
            || self.conversation().contains(&column)
            || [INPUT, DATASET, TEXT].contains(&column)
            || TREE.contains(&column)
            || NOT_TEXT.contains(&column)
    }

    fn names(&self, of: ColumnUse) -> Vec<&str> {
        match (self.0.get(&of), of) {
            (Some(name), _) => vec![name],
            (None, ColumnUse::Prompt) => PROMPT.to_vec(),
            (None, ColumnUse::Answer) => ANSWER.to_vec(),
            (None, ColumnUse::Id) => ID.to_vec(),
            (None, ColumnUse::System) => SYSTEM.to_vec(),
            (None, ColumnUse::Context) => vec!["context"],
            (None, ColumnUse::History) => vec!["history"],
        }
    }

    fn conversation(&self) -> &'static [&'static str] {
        if self.0.contains_key(&ColumnUse::Prompt) { &[] } else { &CONVERSATION }
    }
}

/// Reads one line, without its line end.
///
/// # Errors
/// Whatever is wrong with the line; no input makes it panic.
pub fn parse(line: &[u8], columns: &Columns) -> Result<Prompt, RejectReason> {
    let row = Row::read(line, columns)?;
    let id = row.id()?;
    let prompt = conversation::split(id, row.turns()?)?;
    Ok(Prompt { dataset: row.dataset(), ..prompt })
}

/// The columns of one row that may be read.
struct Row<'a> {
    columns: &'a Columns,
    values: Vec<(String, RawJson<'a>)>,
    /// The names of all columns, as far as a reject shows them.
    names: Vec<String>,
}

/// A column that is there, with its name.
type Column<'n, 'a> = (&'n str, RawJson<'a>);

impl<'a> Row<'a> {
    fn read(line: &'a [u8], columns: &'a Columns) -> Result<Self, RejectReason> {
        let mut row = Row { columns, values: Vec::new(), names: Vec::new() };
        let mut twice = None;
        let is_object = RawJson::new(line).visit_fields(|name, value| {
            if row.names.len() < MAX_NAMED_COLUMNS {
                row.names.push(shorten(name, QUOTED_CHARS));
            }
            if !columns.reads(name) {
                return;
            }
            if row.values.iter().any(|(known, _)| known == name) {
                twice = Some(name.to_owned());
            }
            row.values.push((name.to_owned(), value));
        });
        match twice {
            _ if !is_object => Err(no_object(line)),
            Some(name) => Err(not_json(&format!("duplicate field `{name}`"))),
            None => Ok(row),
        }
    }

    /// The column called `name`, or the field within one.
    fn value(&self, name: &str) -> Option<RawJson<'a>> {
        let column = |name| self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let within = || {
            let (first, rest) = name.split_once('.')?;
            rest.split('.').try_fold(column(first)?, |value, part| value.field(part))
        };
        column(name).or_else(within).filter(|value| value.kind() != JsonType::Null)
    }

    fn first<'n>(&self, names: &[&'n str]) -> Option<Column<'n, 'a>> {
        names.iter().find_map(|name| Some((*name, self.value(name)?)))
    }

    fn id(&self) -> Result<Option<String>, RejectReason> {
        let found = self.first(&self.columns.names(ColumnUse::Id));
        Ok(found.map(|(_, value)| id(value)).transpose()?.flatten())
    }

    /// The test set's name. Other sources may mean something else by this column, which is then no reason to refuse.
    fn dataset(&self) -> Option<String> {
        self.value(DATASET)?.text(DATASET).ok()
    }

    fn turns(&self) -> Result<Vec<Message>, RejectReason> {
        let filled = |name: &&&str| self.value(name).is_some_and(is_filled);
        if let Some(name) = NOT_TEXT.iter().find(filled) {
            let detail = "only text is read, and without this the prompt would be another";
            return Err(bad_column(name, detail.to_owned()));
        }
        let asked = self.asked()?;
        let has_asked = asked.is_some();
        let answered = self.answered(asked.unwrap_or_default())?;
        let is_asked = has_asked || answered.iter().any(|turn| turn.role == Role::User);
        if !is_asked && self.value(CHOSEN).is_none() {
            let found = if self.names.is_empty() { "(none)".to_owned() } else { self.names.join(", ") };
            return Err(RejectReason::NoKnownColumns { found });
        }
        self.with_system(answered)
    }

    /// The conversation up to the prompt, or with its answer; none where no column says what it is.
    fn asked(&self) -> Result<Option<Vec<Message>>, RejectReason> {
        // Elsewhere a number of turns may be called so.
        let is_told =
            |(_, value): &Column<'_, '_>| ![JsonType::Number, JsonType::Boolean].contains(&value.kind());
        if let Some((name, value)) = self.first(self.columns.conversation()).filter(is_told) {
            return Ok(Some(conversation::turns(name, value)?));
        }
        let names = self.columns.names(ColumnUse::Prompt);
        let filled =
            names.iter().find(|name| self.value(name).is_some_and(is_filled)).map(|name| vec![*name]);
        if let Some((name, value)) = self.first(&filled.unwrap_or(names)) {
            return self.prompted(name, value).map(Some);
        }
        if let Some(turns) = self.told()? {
            return Ok(Some(turns));
        }
        for of in [ColumnUse::Context, ColumnUse::History] {
            match self.first(&self.columns.names(of)) {
                Some((name, value)) if is_turns(value) => return Ok(Some(conversation::turns(name, value)?)),
                // Stanford's SHP: the posts that were answered.
                Some((name, value)) if of == ColumnUse::History && value.kind() == JsonType::Text => {
                    return Ok(Some(vec![Message::user(value.text(name)?)]));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// A prompt with what stands before and behind it.
    fn prompted(&self, name: &str, value: RawJson<'_>) -> Result<Vec<Message>, RejectReason> {
        let mut before = match self.first(&self.columns.names(ColumnUse::History)) {
            Some((name, value)) if is_filled(value) => conversation::turns(name, value)?,
            _ => Vec::new(),
        };
        let context = self.first(&self.columns.names(ColumnUse::Context));
        let context = match context.filter(|(_, value)| is_filled(*value)) {
            Some((name, value)) if is_turns(value) => {
                before.extend(conversation::turns(name, value)?);
                String::new()
            }
            Some((name, value)) => texts(name, value)?,
            None => String::new(),
        };
        let mut turns = match value.kind() {
            JsonType::List | JsonType::Object => conversation::turns(name, value)?,
            _ => {
                let text = value.text(name)?;
                conversation::written(name, &text)?.unwrap_or_else(|| vec![Message::user(text)])
            }
        };
        let input = match self.value(INPUT).filter(|_| name == INSTRUCTION) {
            Some(value) => value.text(INPUT)?,
            None => String::new(),
        };
        if let Some(first) = turns.iter_mut().find(|turn| turn.role == Role::User) {
            let instruction = std::mem::take(&mut first.content);
            let parts = match name {
                INSTRUCTION => [instruction, input, context],
                _ => [context, instruction, input],
            };
            let filled: Vec<_> = parts.into_iter().filter(|part| !part.trim().is_empty()).collect();
            first.content = filled.join("\n\n");
        }
        before.extend(turns);
        Ok(before)
    }

    /// What a column of running text tells, if it tells a conversation.
    fn told(&self) -> Result<Option<Vec<Message>>, RejectReason> {
        let Some(value) = self.value(TEXT).filter(|value| value.kind() == JsonType::Text) else {
            return Ok(None);
        };
        match TREE.map(|name| self.value(name)) {
            [Some(_), Some(_)] => {
                let detail =
                    "a reply in a tree of messages; only the first message of each stands for itself";
                Err(bad_column(TREE[1], detail.to_owned()))
            }
            [Some(role), None] => {
                let turn = conversation::spoken(role, value)?;
                Ok(Some(vec![turn]))
            }
            [None, _] => conversation::written(TEXT, &value.text(TEXT)?),
        }
    }

    /// Adds the answer that came with the prompt, or puts the whole conversation that it is in its place.
    fn answered(&self, mut turns: Vec<Message>) -> Result<Vec<Message>, RejectReason> {
        if turns.last().is_some_and(|last| last.role == Role::Assistant) {
            return Ok(turns);
        }
        let names = self.columns.names(ColumnUse::Answer);
        for name in names {
            let Some(value) = self.value(name) else { continue };
            let answer = answer(name, value, 0)?;
            match answer.first().map(|turn| turn.role) {
                None => {}
                Some(Role::Assistant) => {
                    turns.extend(answer);
                    break;
                }
                Some(Role::System | Role::User) => return Ok(repeated(turns, answer)),
            }
        }
        Ok(turns)
    }

    fn with_system(&self, mut turns: Vec<Message>) -> Result<Vec<Message>, RejectReason> {
        let Some((name, value)) = self.first(&self.columns.names(ColumnUse::System)) else {
            return Ok(turns);
        };
        let text = value.text(name)?;
        match turns.first().filter(|first| first.role == Role::System) {
            _ if text.trim().is_empty() => {}
            None => turns.insert(0, Message::system(text)),
            Some(first) if first.content.trim() == text.trim() => {}
            Some(_) => {
                let detail = "another text than the conversation's own system message; leave one of them out";
                return Err(bad_column(name, detail.to_owned()));
            }
        }
        Ok(turns)
    }
}

/// An answer that repeats what it answers: all of `asked`, or the end of it.
fn repeated(mut asked: Vec<Message>, mut answer: Vec<Message>) -> Vec<Message> {
    let last = answer.pop_if(|last| last.role == Role::Assistant);
    if !asked.ends_with(&answer) {
        asked.truncate(usize::from(answer[0].role == Role::User && asked.first().is_some_and(is_system)));
        asked.append(&mut answer);
    }
    asked.extend(last);
    asked
}

fn is_system(turn: &Message) -> bool {
    turn.role == Role::System
}

/// Whether a value is a list of turns, or of pairs.
fn is_turns(value: RawJson<'_>) -> bool {
    let first = value.elements("").ok().and_then(|list| list.first().copied());
    first.is_some_and(|first| has_role(first) || first.kind() == JsonType::List)
}

/// The turns of an answer: usually one; none of an empty one, because a column of text cannot be absent in many files.
fn answer(column: &str, value: RawJson<'_>, depth: usize) -> Result<Vec<Message>, RejectReason> {
    let one =
        |text: String| (!text.trim().is_empty()).then(|| Message::assistant(text)).into_iter().collect();
    match value.kind() {
        JsonType::Text => {
            let text = value.text(column)?;
            Ok(conversation::written(column, &text)?.unwrap_or_else(|| one(text)))
        }
        JsonType::Number | JsonType::Boolean => Ok(one(value.written().into_owned())),
        _ if depth > MAX_ANSWER_DEPTH => Err(no_answer(column, value)),
        JsonType::Object if has_role(value) => conversation::turns(column, value),
        JsonType::Object => {
            let named = ["content", "value", "text", "answer", "response", "output", "generated_text"];
            let text = named.iter().find_map(|name| value.field(name));
            text.map_or_else(|| Err(no_answer(column, value)), |value| answer(column, value, depth + 1))
        }
        JsonType::List => {
            let elements = value.elements(column)?;
            match best(&elements) {
                None => Ok(Vec::new()),
                Some(first) if has_role(first) => conversation::turns(column, value),
                Some(first) if first.kind() == JsonType::List => Err(no_answer(column, first)),
                Some(first) => answer(column, first, depth + 1),
            }
        }
        JsonType::Null | JsonType::Unknown => Err(no_answer(column, value)),
    }
}

/// The first of several answers, or where they are ranked (Nectar) the one of the best rank.
fn best<'a>(answers: &[RawJson<'a>]) -> Option<RawJson<'a>> {
    let rank = |answer: &RawJson<'_>| {
        answer.field("rank").and_then(|rank| rank.written().parse().ok()).unwrap_or(f64::MAX)
    };
    answers.iter().copied().min_by(|a, b| rank(a).total_cmp(&rank(b)))
}

fn no_answer(column: &str, value: RawJson<'_>) -> RejectReason {
    let found = shorten(&value.written(), QUOTED_CHARS);
    bad_column(column, format!("{} where an answer should be: {found}", value.kind()))
}

/// A text, or several with a blank line between them.
fn texts(column: &str, value: RawJson<'_>) -> Result<String, RejectReason> {
    if value.kind() != JsonType::List {
        return value.text(column);
    }
    let texts = value.elements(column)?.into_iter().map(|element| element.text(column));
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n\n"))
}

/// An id of any simple type as text; a blank one names nothing.
fn id(value: RawJson<'_>) -> Result<Option<String>, RejectReason> {
    let invalid = |detail: String| RejectReason::InvalidId { detail };
    let id = match value.kind() {
        JsonType::Text => value.text("id")?,
        JsonType::Number | JsonType::Boolean => value.written().into_owned(),
        kind => {
            return Err(invalid(format!("it is {kind}: {}", shorten(&value.written(), QUOTED_CHARS))));
        }
    };
    match id.as_str() {
        blank if blank.trim().is_empty() => Ok(None),
        long if long.len() > MAX_ID_BYTES => Err(invalid(format!("it is longer than {MAX_ID_BYTES} bytes"))),
        control if control.contains(char::is_control) => Err(invalid("it has control characters".into())),
        _ => Ok(Some(id)),
    }
}

#[cfg(test)]
mod tests;
