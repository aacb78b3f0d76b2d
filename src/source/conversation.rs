//! Lists of turns, and the rules that make a prompt of them. Pure.
//!
//! After one optional system message, user and assistant take turns: trainers pass over anything else without a
//! word (LLaMA-Factory), so it is refused here, with one.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    json_value::{JsonType, List, QUOTED_CHARS, bad_column, read},
    prompt::Prompt,
    reject::{RejectReason, shorten},
};
use crate::record::{Extra, Message, Role};

/// Reads a column that holds a list of turns, `{role, content}` or ShareGPT's `{from, value}`.
pub(super) fn turns(column: &str, list: &RawValue) -> Result<Vec<Message>, RejectReason> {
    let List(elements) = List::read(column, list)?;
    elements.iter().enumerate().map(|(index, element)| message(column, index + 1, element)).collect()
}

/// One turn as it is written; a null is not there.
#[derive(Deserialize)]
struct WrittenTurn<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    from: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

fn message(column: &str, turn: usize, element: &RawValue) -> Result<Message, RejectReason> {
    if JsonType::of(element) != JsonType::Object {
        return Err(bad_column(column, format!("turn {turn} is {}, not an object", JsonType::of(element))));
    }
    let written: WrittenTurn<'_> = serde_json::from_str(element.get())
        .map_err(|error| bad_column(column, format!("turn {turn}: {error}")))?;
    let role = role(turn, written.role.or(written.from))?;
    let content = content(turn, written.content.or(written.value))?;
    Ok(Message { role, content, extra: Extra::new() })
}

fn role(turn: usize, name: Option<&RawValue>) -> Result<Role, RejectReason> {
    let name = name.map_or("null", RawValue::get);
    match name.trim_matches('"') {
        "system" => Ok(Role::System),
        "user" | "human" => Ok(Role::User),
        "assistant" | "gpt" => Ok(Role::Assistant),
        other => Err(RejectReason::UnknownRole { turn, role: shorten(other, QUOTED_CHARS) }),
    }
}

fn content(turn: usize, value: Option<&RawValue>) -> Result<String, RejectReason> {
    let not_text = |found: &str| RejectReason::ContentNotText { turn, found: found.to_owned() };
    let value = value.ok_or_else(|| not_text("missing"))?;
    match JsonType::of(value) {
        JsonType::Text => read(value),
        JsonType::List => parts(turn, value),
        kind => Err(not_text(kind.as_str())),
    }
}

/// One part of a content in parts.
#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// Text parts are joined with line feeds, as vLLM joins them for models that take strings.
fn parts(turn: usize, list: &RawValue) -> Result<String, RejectReason> {
    let List(elements) = List::read("content", list)?;
    let texts = elements.iter().map(|element| part(turn, element)).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n"))
}

fn part(turn: usize, element: &RawValue) -> Result<String, RejectReason> {
    let not_text = |found: String| RejectReason::ContentNotText { turn, found };
    if JsonType::of(element) == JsonType::List {
        return Err(not_text("a list of lists".to_owned()));
    }
    match read(element) {
        Ok(Part { kind, text: Some(text) }) if kind == "text" => Ok(text),
        Ok(Part { kind, .. }) => {
            Err(not_text(format!("a list with a part of type {:?}", shorten(&kind, QUOTED_CHARS))))
        }
        Err(_) => Err(not_text("a list of something else than text parts".to_owned())),
    }
}

/// Checks a conversation and splits it after its last user turn.
pub(super) fn split(id: Option<String>, mut turns: Vec<Message>) -> Result<Prompt, RejectReason> {
    if !turns.iter().any(|turn| turn.role == Role::User) {
        return Err(RejectReason::NoUserTurn);
    }
    check_order(&turns)?;
    check_prompts(&turns)?;
    let answer = turns.pop_if(|last| last.role == Role::Assistant).map(|turn| turn.content);
    Ok(Prompt { id, messages: turns, answer, dataset: None })
}

fn check_order(turns: &[Message]) -> Result<(), RejectReason> {
    let offset = usize::from(turns.first().is_some_and(|first| first.role == Role::System));
    let expected = [Role::User, Role::Assistant].into_iter().cycle();
    for ((index, turn), expected) in turns.iter().enumerate().skip(offset).zip(expected) {
        if turn.role != expected {
            let (found, expected) = (name(turn.role), name(expected));
            return Err(RejectReason::RolesDoNotAlternate { turn: index + 1, found, expected });
        }
    }
    Ok(())
}

fn check_prompts(turns: &[Message]) -> Result<(), RejectReason> {
    let empty = |turn: &Message| turn.role == Role::User && turn.content.trim().is_empty();
    match turns.iter().position(empty) {
        Some(index) => Err(RejectReason::EmptyPrompt { turn: index + 1 }),
        None => Ok(()),
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}
