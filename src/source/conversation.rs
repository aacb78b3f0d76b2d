//! Turns in every form that data sets have, and the rules that make a prompt of them. Pure.
//!
//! | form | example |
//! |---|---|
//! | objects | `{"role": "user", "content": "…"}`, `{"from": "human", "value": "…"}`; the text may be in parts |
//! | objects of two turns | `{"input": "…", "output": "…"}`, `{"human": "…", "assistant": "…"}` |
//! | strings | the user's and the assistant's, by turns; in the column `turns` the user's alone |
//! | lists of two | a question and its answer, or a role and a text |
//! | an object of lists | `{"role": ["user"], "content": ["…"]}` |
//! | a text | with marks ([`transcript`]), or the JSON of a list |
//!
//! After one optional system message, user and assistant take turns: trainers pass over anything else without a
//! word (LLaMA-Factory), so it is refused here, with one.

use super::{
    json_value::{JsonType, QUOTED_CHARS, RawJson, bad_column},
    prompt::Prompt,
    reject::{RejectReason, shorten},
    transcript,
};
use crate::record::{Extra, Message, Role};

/// The column whose strings are all the user's (MT-Bench).
const QUESTIONS_ALONE: &str = "turns";
/// Names of the fields of a turn, the first that is there counts.
const ROLE: [&str; 3] = ["role", "from", "speaker"];
const CONTENT: [&str; 3] = ["content", "value", "text"];
const CALLS: [&str; 2] = ["tool_calls", "function_call"];
/// Fields of an object that holds a question and its answer.
const PAIRS: [(&str, &str); 6] = [
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("prompt", "response"),
    ("instruction", "output"),
];

/// Reads a column that holds a conversation.
pub(super) fn turns(column: &str, value: RawJson<'_>) -> Result<Vec<Message>, RejectReason> {
    match value.kind() {
        JsonType::Text => {
            let text = value.text(column)?;
            written(column, &text)?
                .ok_or_else(|| bad_column(column, "a string where a list should be".to_owned()))
        }
        JsonType::Object => one_object(column, value),
        _ => listed(column, value),
    }
}

/// The conversation that a text is, if it is one.
pub(super) fn written(column: &str, text: &str) -> Result<Option<Vec<Message>>, RejectReason> {
    if let Some(turns) = transcript::turns(text) {
        return Ok(Some(turns));
    }
    let value = RawJson::new(text.as_bytes());
    let begins_with_turn = value.kind() == JsonType::List
        && value.elements(column).is_ok_and(|list| list.first().is_some_and(|first| has_role(*first)));
    begins_with_turn.then(|| listed(column, value)).transpose()
}

/// Whether a value is an object that says who speaks.
pub(super) fn has_role(value: RawJson<'_>) -> bool {
    Fields::of(value).role.is_some()
}

fn listed(column: &str, list: RawJson<'_>) -> Result<Vec<Message>, RejectReason> {
    let elements = list.elements(column)?;
    let strings = elements.iter().filter(|element| element.kind() == JsonType::Text).count();
    if column == QUESTIONS_ALONE && strings > 1 {
        let detail =
            "several questions of the user without the answers between them; give the whole conversation";
        return Err(bad_column(column, detail.to_owned()));
    }
    let mut turns = Vec::with_capacity(elements.len());
    for (index, element) in elements.into_iter().enumerate() {
        add(column, index + 1, element, &mut turns)?;
    }
    Ok(turns)
}

/// The fields of a turn as they are written; a null is not there.
#[derive(Default)]
struct Fields<'a> {
    role: Option<RawJson<'a>>,
    content: Option<RawJson<'a>>,
    calls: bool,
}

impl<'a> Fields<'a> {
    fn of(turn: RawJson<'a>) -> Self {
        let mut fields = Self::default();
        let (mut role, mut content) = (ROLE.len(), CONTENT.len());
        turn.visit_fields(|name, value| {
            if value.kind() == JsonType::Null {
                return;
            }
            let rank = |names: &[&str]| names.iter().position(|known| *known == name).unwrap_or(names.len());
            if rank(&ROLE) < role {
                (role, fields.role) = (rank(&ROLE), Some(value));
            }
            if rank(&CONTENT) < content {
                (content, fields.content) = (rank(&CONTENT), Some(value));
            }
            fields.calls |= CALLS.contains(&name) && is_filled(value);
        });
        fields
    }
}

fn there(value: Option<RawJson<'_>>) -> Option<RawJson<'_>> {
    value.filter(|value| value.kind() != JsonType::Null)
}

/// Whether a value holds anything.
pub(super) fn is_filled(value: RawJson<'_>) -> bool {
    match value.kind() {
        JsonType::Null | JsonType::Boolean | JsonType::Number => false,
        JsonType::Unknown => true,
        JsonType::Text => !["\"\"", "\"[]\"", "\"{}\"", "\"null\""].contains(&&*value.written()),
        JsonType::List | JsonType::Object => !["[]", "{}"].contains(&&*value.written()),
    }
}

/// Adds the turn, or the two, that an element holds.
fn add(
    column: &str,
    turn: usize,
    element: RawJson<'_>,
    turns: &mut Vec<Message>,
) -> Result<(), RejectReason> {
    match element.kind() {
        JsonType::Object => return add_object(column, turn, element, turns),
        JsonType::List => return add_pair(column, turn, element, turns),
        JsonType::Text => {}
        kind => return Err(bad_column(column, format!("turn {turn} is {kind}, not an object"))),
    }
    let text = element.text(column)?;
    let is_answer = turns.last().is_some_and(|last| last.role == Role::User);
    turns.push(if is_answer { Message::assistant(text) } else { Message::user(text) });
    Ok(())
}

fn add_object(
    column: &str,
    turn: usize,
    element: RawJson<'_>,
    turns: &mut Vec<Message>,
) -> Result<(), RejectReason> {
    let fields = Fields::of(element);
    if fields.role.is_none() && fields.content.is_none() {
        for (question, answer) in PAIRS {
            if let Some(asked) = there(element.field(question)) {
                turns.push(Message::user(asked.text(question)?));
                let answered = there(element.field(answer)).map(|value| value.text(answer)).transpose()?;
                turns.extend(answered.filter(|text| !text.is_empty()).map(Message::assistant));
                return Ok(());
            }
        }
    }
    let role = match fields.role {
        None if column == QUESTIONS_ALONE => Role::User,
        role => self::role(turn, role)?,
    };
    if fields.calls {
        let found = "a call of a tool".to_owned();
        return Err(RejectReason::ContentNotText { turn, found });
    }
    let content = content(turn, fields.content)?;
    turns.push(Message { role, content, extra: Extra::new() });
    Ok(())
}

fn add_pair(
    column: &str,
    turn: usize,
    element: RawJson<'_>,
    turns: &mut Vec<Message>,
) -> Result<(), RejectReason> {
    let not_a_pair =
        || bad_column(column, format!("turn {turn} is a list, not an object or a pair of texts"));
    let pair = element.elements(column)?;
    let [first, second] = pair[..] else { return Err(not_a_pair()) };
    if first.kind() != JsonType::Text {
        return Err(not_a_pair());
    }
    if let Ok(role) = role(turn, Some(first)) {
        turns.push(Message { role, content: content(turn, Some(second))?, extra: Extra::new() });
        return Ok(());
    }
    turns.push(Message::user(first.text(column)?));
    if second.kind() != JsonType::Null {
        turns.push(Message::assistant(second.text(column)?));
    }
    Ok(())
}

/// One turn, two, or the lists that a table makes of turns.
fn one_object(column: &str, value: RawJson<'_>) -> Result<Vec<Message>, RejectReason> {
    let mut turns = Vec::new();
    let Fields { role: Some(roles), content: Some(contents), .. } = Fields::of(value) else {
        add_object(column, 1, value, &mut turns)?;
        return Ok(turns);
    };
    if roles.kind() != JsonType::List {
        add_object(column, 1, value, &mut turns)?;
        return Ok(turns);
    }
    let (roles, contents) = (roles.elements(column)?, contents.elements(column)?);
    if roles.len() != contents.len() {
        return Err(bad_column(column, "as many roles as texts should be there".to_owned()));
    }
    for (index, (speaker, text)) in roles.into_iter().zip(contents).enumerate() {
        let (role, content) = (role(index + 1, Some(speaker))?, content(index + 1, Some(text))?);
        turns.push(Message { role, content, extra: Extra::new() });
    }
    Ok(turns)
}

/// One turn whose role and text stand in columns of their own.
pub(super) fn spoken(speaker: RawJson<'_>, text: RawJson<'_>) -> Result<Message, RejectReason> {
    Ok(Message { role: role(1, Some(speaker))?, content: content(1, Some(text))?, extra: Extra::new() })
}

fn role(turn: usize, name: Option<RawJson<'_>>) -> Result<Role, RejectReason> {
    let name = name.map_or("null".into(), RawJson::written);
    let name = name.trim_matches('"');
    match name.to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" | "human" | "prompter" => Ok(Role::User),
        "assistant" | "gpt" | "chatgpt" | "model" | "bot" | "ai" => Ok(Role::Assistant),
        _ => Err(RejectReason::UnknownRole { turn, role: shorten(name, QUOTED_CHARS) }),
    }
}

fn content(turn: usize, value: Option<RawJson<'_>>) -> Result<String, RejectReason> {
    let not_text = |found: &str| RejectReason::ContentNotText { turn, found: found.to_owned() };
    let value = value.ok_or_else(|| not_text("missing"))?;
    match value.kind() {
        JsonType::Text => value.text("content"),
        JsonType::List => parts(turn, value),
        kind => Err(not_text(kind.as_str())),
    }
}

/// Text parts are joined with line feeds, as vLLM joins them for models that take strings.
fn parts(turn: usize, list: RawJson<'_>) -> Result<String, RejectReason> {
    let parts = list.elements("content")?;
    let texts = parts.into_iter().map(|element| part(turn, element)).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n"))
}

fn part(turn: usize, part: RawJson<'_>) -> Result<String, RejectReason> {
    let not_text = |found: String| RejectReason::ContentNotText { turn, found };
    match part.kind() {
        JsonType::List => return Err(not_text("a list of lists".to_owned())),
        JsonType::Object => {}
        _ => return Err(not_text("a list of something else than text parts".to_owned())),
    }
    let text = |field: &str| there(part.field(field)).map(|value| value.text(field)).transpose();
    match (text("type")?.as_deref(), text("text")?) {
        (Some("text" | "input_text" | "output_text"), Some(text)) => Ok(text),
        (Some(kind), _) => {
            Err(not_text(format!("a list with a part of type {:?}", shorten(kind, QUOTED_CHARS))))
        }
        (None, _) => Err(not_text("a list of something else than text parts".to_owned())),
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
