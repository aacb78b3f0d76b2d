//! Whether a text has what the method needs of it. What a transcript shows is proven by rendering it.

use minijinja::Environment;

use super::template_form::{Definition, Shown, TemplateErrorKind, TemplateForm, Values, render};
use crate::record::Message;

/// Words that no template has, in the guise of template syntax: they must come out as they went in.
const ANSWER: &str = "{{ 'the answer' }} & <b>";
const CRITIQUE: &str = "{% raw %} & the critique";
const FIRST: &str = "{# the first #} & <i>";
const SECOND: &str = "{{ 'the second' }} & <u>";
const VERDICT: &str = "{% if the_verdict %} & <s>";

pub(super) fn check(
    environment: &Environment<'_>,
    definition: &Definition,
    text: &str,
) -> Result<(), TemplateErrorKind> {
    match definition.form {
        TemplateForm::Instruction(marks) => check_instruction(text, marks),
        TemplateForm::Transcript(values) => check_transcript(environment, definition.name, values),
        TemplateForm::Heading if text.contains("Final answer:") => Err(TemplateErrorKind::HoldsFinalHeading),
        TemplateForm::Heading => Ok(()),
    }
}

fn check_instruction(text: &str, marks: &[&'static str]) -> Result<(), TemplateErrorKind> {
    if text.is_empty() {
        return Err(TemplateErrorKind::Empty);
    }
    let lacking = marks.iter().find(|mark| !text.contains(**mark));
    lacking.map_or(Ok(()), |mark| Err(TemplateErrorKind::LacksMark(mark)))
}

/// Two conversations, since a template may treat the first or the last turn apart.
fn check_transcript(
    environment: &Environment<'_>,
    name: &str,
    values: &[&'static str],
) -> Result<(), TemplateErrorKind> {
    let short = [Message::user("{{ 'one' }} & <p>")];
    let long = [
        Message::system("{{ 'rules' }} & <p>"),
        Message::user("{% set a = 1 %} & <q>"),
        Message::assistant("{# a remark #} & <q>"),
        Message::user("{{ 'two' }} & <p>"),
    ];
    check_rendering(environment, name, values, &short)?;
    check_rendering(environment, name, values, &long)
}

fn check_rendering(
    environment: &Environment<'_>,
    name: &str,
    values: &[&'static str],
    messages: &[Message],
) -> Result<(), TemplateErrorKind> {
    let rendered = render(environment, name, &Shown { messages, values: shown_values(values) })?;
    if let Some(message) = messages.iter().find(|message| !rendered.contains(&message.content)) {
        let lacking = format!("the conversation (its {:?} turn)", message.role);
        return Err(TemplateErrorKind::LacksValue(lacking));
    }
    let lacking = values.iter().find(|value| !rendered.contains(sentinel(value).unwrap_or_default()));
    lacking.map_or(Ok(()), |value| Err(TemplateErrorKind::LacksValue((*value).to_owned())))
}

/// Only what the method will give, so that a name that is not given is an error here as it would be later.
fn shown_values(values: &[&'static str]) -> Values<'static> {
    let given = |name: &str| values.contains(&name).then(|| sentinel(name)).flatten();
    Values {
        answer: given("answer"),
        critique: given("critique"),
        first: given("first"),
        second: given("second"),
        verdict: given("verdict"),
    }
}

fn sentinel(value: &str) -> Option<&'static str> {
    let sentinels = [
        ("answer", ANSWER),
        ("critique", CRITIQUE),
        ("first", FIRST),
        ("second", SECOND),
        ("verdict", VERDICT),
    ];
    sentinels.iter().find(|(name, _)| *name == value).map(|(_, text)| *text)
}
