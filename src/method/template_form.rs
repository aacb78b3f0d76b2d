//! What a text around what models say must have: its form, the values that it shows, and what can be wrong with it.

use minijinja::{Environment, value::Serde};
use serde::Serialize;

use crate::record::Message;

/// What a text is for, which decides what it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemplateForm {
    /// Said to a model as it is; these marks must be in it, so that the model knows to write them.
    Instruction(&'static [&'static str]),
    /// Rendered with the conversation and these values, each of which must show.
    Transcript(&'static [&'static str]),
    /// A line inside the long record. A blank line follows it there.
    Heading,
}

/// A text with its name.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) form: TemplateForm,
    pub(crate) text: &'static str,
}

macro_rules! definitions {
    ($($name:literal, $extension:literal, $form:expr;)*) => {
        /// Every text there is.
        pub(crate) const DEFINITIONS: &[Definition] = &[$(Definition {
            name: $name,
            form: $form,
            text: include_str!(concat!("../../templates/", $name, $extension)),
        },)*];
    };
}

definitions! {
    "multi_turn_critique", ".txt", TemplateForm::Instruction(&["[["]);
    "multi_turn_improve", ".txt", TemplateForm::Instruction(&[]);
    "single_turn_critique_system", ".txt", TemplateForm::Instruction(&["[["]);
    "single_turn_critique_user", ".jinja", TemplateForm::Transcript(&["answer"]);
    "single_turn_improve_system", ".txt", TemplateForm::Instruction(&[]);
    "single_turn_improve_user", ".jinja", TemplateForm::Transcript(&["answer", "critique"]);
    "pairwise_system", ".txt", TemplateForm::Instruction(&["[[A]]", "[[B]]"]);
    "pairwise_user", ".jinja", TemplateForm::Transcript(&["first", "second"]);
    "fusion_system", ".txt", TemplateForm::Instruction(&[]);
    "fusion_user", ".jinja", TemplateForm::Transcript(&["first", "second", "verdict"]);
    "long_open", ".txt", TemplateForm::Heading;
    "long_answer_heading", ".txt", TemplateForm::Heading;
    "long_critique_heading", ".txt", TemplateForm::Heading;
    "long_improve_heading", ".txt", TemplateForm::Heading;
    "long_close", ".txt", TemplateForm::Heading;
}

/// What a transcript shows. Values that a template does not use may be there or not.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) messages: &'a [Message],
    #[serde(flatten)]
    pub(crate) values: Values<'a>,
}

/// The values beside the conversation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Values<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) critique: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<&'a str>,
}

pub(crate) fn render(
    environment: &Environment<'_>,
    name: &str,
    shown: &Shown<'_>,
) -> Result<String, TemplateErrorKind> {
    let rendered = environment.get_template(name).and_then(|template| template.render(Serde(shown)));
    rendered.map_err(|error| TemplateErrorKind::Render(one_line(&error)))
}

pub(crate) fn one_line(error: &minijinja::Error) -> String {
    error.to_string().replace('\n', " ")
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateErrorKind {
    /// Nothing has this name.
    #[error("there is none of this name; the names are {known}")]
    Unknown {
        /// The names there are.
        known: String,
    },
    /// An instruction without words.
    #[error("it is empty; write the instruction, or leave the key out to use the built-in text")]
    Empty,
    /// The model would not be told to write what is read from its answer.
    #[error("it does not contain {0}, which the model must be told to write")]
    LacksMark(&'static str),
    /// It is not a template.
    #[error("its syntax is wrong: {0}")]
    Syntax(String),
    /// It cannot be rendered.
    #[error("it cannot be rendered: {0}")]
    Render(String),
    /// It leaves out what the model must see, or changes it.
    #[error("what it renders does not show {0} unchanged; put it in, without filters")]
    LacksValue(String),
    /// It would be taken for the place where the final answer begins.
    #[error("it contains \"Final answer:\", which must stand only before the final answer")]
    HoldsFinalHeading,
}
