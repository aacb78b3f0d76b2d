//! Every text that the method puts around what models say: instructions, transcripts and headings.
//!
//! The texts are our own and stand in `templates/`; a configuration can replace each by name. Instructions and
//! headings are taken as they are. Only the `…_user` ones are templates, and what models and users say goes into
//! them as values: it is never read as template syntax.
//!
//! [`Templates`] exists only when every text has what the method needs (see `template_check`), so that a bad
//! replacement is found at the start and not after hours of model calls.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior};

use super::{
    template_check,
    template_form::{DEFINITIONS, Definition, Shown, TemplateErrorKind, TemplateForm, one_line, render},
};

/// All texts, each valid.
#[derive(Clone, Debug)]
pub struct Templates {
    texts: BTreeMap<&'static str, String>,
    hashes: BTreeMap<&'static str, String>,
    transcripts: Environment<'static>,
}

impl Templates {
    /// The texts that come with the program.
    pub fn builtin() -> Self {
        Self::with_overrides(BTreeMap::new()).expect("the built-in texts are covered by tests")
    }

    /// The built-in texts, some replaced.
    ///
    /// # Errors
    /// Everything that is wrong with the replacements: names that nothing has, texts that lack what the method
    /// needs.
    pub fn with_overrides(mut overrides: BTreeMap<String, String>) -> Result<Self, Vec<TemplateError>> {
        let mut errors = Vec::new();
        let mut templates =
            Self { texts: BTreeMap::new(), hashes: BTreeMap::new(), transcripts: environment() };
        for definition in DEFINITIONS {
            let text = overrides.remove(definition.name).unwrap_or_else(|| definition.text.to_owned());
            if let Err(kind) = templates.add(definition, text) {
                errors.push(TemplateError { name: definition.name.to_owned(), kind });
            }
        }
        errors.extend(overrides.into_keys().map(TemplateError::unknown));
        if errors.is_empty() { Ok(templates) } else { Err(errors) }
    }

    fn add(&mut self, definition: &Definition, text: String) -> Result<(), TemplateErrorKind> {
        let text = normal_form(definition.form, &text);
        if let TemplateForm::Transcript(_) = definition.form {
            let added = self.transcripts.add_template_owned(definition.name, text.clone());
            added.map_err(|error| TemplateErrorKind::Syntax(one_line(&error)))?;
        }
        template_check::check(&self.transcripts, definition, &text)?;
        self.hashes.insert(definition.name, blake3::hash(text.as_bytes()).to_hex()[..16].to_owned());
        self.texts.insert(definition.name, text);
        Ok(())
    }

    /// A short hash of each text in force, by name: what provenance records.
    pub fn hashes(&self) -> &BTreeMap<&'static str, String> {
        &self.hashes
    }

    /// The user turn that asks for a critique, in the multi-turn shape and in records.
    pub fn critique_instruction(&self) -> &str {
        self.text("multi_turn_critique")
    }

    /// The user turn that asks for an improvement, in the multi-turn shape and in records.
    pub fn improve_instruction(&self) -> &str {
        self.text("multi_turn_improve")
    }

    /// The headings of the long record.
    pub fn headings(&self) -> Headings<'_> {
        Headings {
            open: self.text("long_open"),
            answer: self.text("long_answer_heading"),
            critique: self.text("long_critique_heading"),
            improve: self.text("long_improve_heading"),
            close: self.text("long_close"),
        }
    }

    pub(crate) fn text(&self, name: &'static str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    pub(crate) fn transcript(&self, name: &'static str, shown: &Shown<'_>) -> Result<String, TemplateError> {
        render(&self.transcripts, name, shown).map_err(|kind| TemplateError { name: name.to_owned(), kind })
    }
}

/// The headings of the long record, each with the blank line that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headings<'a> {
    /// Stands at the beginning.
    pub open: &'a str,
    /// Before `y0`.
    pub answer: &'a str,
    /// Before each critique.
    pub critique: &'a str,
    /// Before each improvement.
    pub improve: &'a str,
    /// Before the final heading.
    pub close: &'a str,
}

/// White space at the end is the editor's, not the text's; a heading that is there has a blank line after it.
fn normal_form(form: TemplateForm, text: &str) -> String {
    match (form, text.trim_end()) {
        (TemplateForm::Heading, "") => String::new(),
        (TemplateForm::Heading, heading) => format!("{heading}\n\n"),
        (_, text) => text.to_owned(),
    }
}

/// Strict: a misspelled name in a template is an error, not an empty place.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// A text that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template {name}: {kind}")]
pub struct TemplateError {
    /// The text's name.
    pub name: String,
    /// What is wrong with it.
    pub kind: TemplateErrorKind,
}

impl TemplateError {
    fn unknown(name: String) -> Self {
        let known: Vec<&str> = DEFINITIONS.iter().map(|definition| definition.name).collect();
        Self { name, kind: TemplateErrorKind::Unknown { known: known.join(", ") } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{method::template_form::Values, record::Message};

    fn errors(overrides: &[(&str, &str)]) -> Vec<String> {
        let texts = overrides.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let errors = Templates::with_overrides(texts).err().unwrap_or_default();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_builtin_text_is_valid_and_has_a_hash() {
        let templates = Templates::builtin();
        assert_eq!(templates.hashes().len(), DEFINITIONS.len());
    }

    #[test]
    fn all_errors_are_told_at_once_and_name_the_template() {
        let found = errors(&[
            ("fusion_system", " \n"),
            ("long_close", "Final answer:"),
            ("multi_turn_critique", "Judge it."),
            ("no_such", ""),
            ("pairwise_system", "Say [[A]]."),
            ("pairwise_user", "{% for m in messages %}{{ m.content }}{% endfor %}{{ first }}"),
            ("single_turn_critique_user", "{{ answer"),
            ("single_turn_improve_user", "{{ answr }}"),
        ]);
        let expected = [
            ("single_turn_critique_user", "syntax"),
            ("single_turn_improve_user", "cannot be rendered"),
            ("multi_turn_critique", "[["),
            ("pairwise_system", "[[B]]"),
            ("pairwise_user", "second"),
            ("fusion_system", "empty"),
            ("long_close", "Final answer:"),
            ("no_such", "none of this name"),
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (name, words) in expected {
            let told = found
                .iter()
                .any(|error| error.contains(&format!("template {name}:")) && error.contains(words));
            assert!(told, "{name}: {found:#?}");
        }
    }

    #[test]
    fn a_transcript_must_show_everything_unchanged() {
        let conversation = "{% for m in messages %}{{ m.content }}{% endfor %}";
        let cases = [
            (conversation.to_owned(), "answer"),
            ("{{ answer }}".to_owned(), "conversation"),
            ("{{ messages[-1].content }}{{ answer }}".to_owned(), "conversation"),
            (format!("{conversation}{{{{ answer | upper }}}}"), "answer"),
            (format!("{conversation}{{{{ answer | escape }}}}"), "answer"),
        ];
        for (text, lacking) in cases {
            let found = errors(&[("single_turn_critique_user", &text)]);
            assert!(found.len() == 1 && found[0].contains(lacking), "{text}: {found:?}");
        }
        assert!(
            errors(&[("single_turn_critique_user", &format!("{conversation}{{{{ answer }}}}"))]).is_empty()
        );
    }

    #[test]
    fn a_heading_stands_before_a_blank_line_or_is_not_there() {
        let texts = [("long_open", ""), ("long_close", "Done. \n\n\n")];
        let texts = texts.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let templates = Templates::with_overrides(BTreeMap::from(texts)).expect("valid");
        assert_eq!((templates.headings().open, templates.headings().close), ("", "Done.\n\n"));
    }

    proptest! {
        #[test]
        fn any_replacement_is_taken_or_refused_in_words(name in 0..DEFINITIONS.len(), text in any::<String>()) {
            let name = DEFINITIONS[name].name;
            let texts = BTreeMap::from([(name.to_owned(), text)]);
            for error in Templates::with_overrides(texts).err().unwrap_or_default() {
                prop_assert_eq!(&error.name, name);
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn what_is_said_comes_out_of_a_transcript_as_it_went_in(
            said in any::<String>(), answer in r"[{}%#a'\n<&]{0,40}",
        ) {
            let messages = [Message::user(said.clone())];
            let values = Values { answer: Some(&answer), ..Values::default() };
            let shown = Shown { messages: &messages, values };
            let text = Templates::builtin().transcript("single_turn_critique_user", &shown).expect("renders");
            prop_assert!(text.contains(&said) && text.contains(&answer));
        }
    }

    #[test]
    fn a_replaced_text_has_another_hash() {
        let texts = BTreeMap::from([("multi_turn_improve".to_owned(), "Do it better.".to_owned())]);
        let (builtin, other) = (Templates::builtin(), Templates::with_overrides(texts).expect("valid"));
        let changed = builtin.hashes().iter().filter(|(name, hash)| other.hashes()[*name] != **hash);
        assert_eq!(changed.map(|(name, _)| *name).collect::<Vec<_>>(), ["multi_turn_improve"]);
    }
}
