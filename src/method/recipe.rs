//! A recipe: what is to be made of a prompt, and with what settings.

use serde::{Deserialize, Serialize};

use super::Templates;
use crate::record::{Kind, RecipeRef};

/// How an instruction is put to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The conversation goes on with a user turn that holds the instruction.
    MultiTurn,
    /// The instruction is the system message, and one user message holds the conversation as a transcript.
    SingleTurn,
}

/// Where `y0` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerSource {
    /// The model drafts it.
    Draft,
    /// It came with the prompt.
    Given,
}

/// What is to be made of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// The name by which threads and configurations know it.
    pub name: String,
    /// How critiques and improvements are asked for.
    pub shape: Shape,
    /// Where the answer to refine comes from.
    pub answer: AnswerSource,
    /// Sampling temperature of the draft, 0 to 2.
    pub draft_temperature: f64,
    /// One critique for each of these sampling temperatures (0 to 2), and for each critique one improvement for
    /// each.
    pub temperatures: Vec<f64>,
    /// Nucleus sampling of every chat call: above 0, at most 1.
    pub top_p: f64,
    /// Answers waited for until one critique has a rating; then it is given up.
    pub critique_tries: u32,
    /// Answers waited for until one reward is a number.
    pub reward_tries: u32,
    /// Rounds of refinement at most.
    pub rounds: u32,
    /// The kinds of record to make.
    pub records: Vec<Kind>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self::stage1()
    }
}

impl Recipe {
    /// Stage 1 of the paper: one round of two critiques with two improvements each.
    pub fn stage1() -> Self {
        Self {
            name: "stage1".to_owned(),
            shape: Shape::MultiTurn,
            answer: AnswerSource::Draft,
            draft_temperature: 0.7,
            temperatures: vec![0.7, 0.7],
            top_p: 0.8,
            critique_tries: 5,
            reward_tries: 3,
            rounds: 1,
            records: Kind::ALL.to_vec(),
        }
    }

    /// Stage 2 of the paper: greedy refinement of the answer that came with the prompt, for five rounds at most.
    pub fn stage2() -> Self {
        Self { name: "stage2".to_owned(), answer: AnswerSource::Given, rounds: 5, ..Self::stage1() }
    }

    /// Everything that is wrong with it, one mistake for each key; nothing when it can be used.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Mistakes::default();
        mistakes.check("name", is_name(&self.name), NAME_RULE);
        mistakes.check("answer", self.answer_suits_shape(), ANSWER_RULE);
        mistakes.check("draft_temperature", is_temperature(self.draft_temperature), TEMPERATURE_RULE);
        mistakes.check("temperatures", !self.temperatures.is_empty(), TEMPERATURES_RULE);
        for (index, temperature) in self.temperatures.iter().enumerate() {
            mistakes.check(format!("temperatures[{index}]"), is_temperature(*temperature), TEMPERATURE_RULE);
        }
        mistakes.check("top_p", self.top_p > 0.0 && self.top_p <= 1.0, "must be above 0 and at most 1");
        mistakes.check("records", !self.records.is_empty(), RECORDS_RULE);
        for (key, count) in self.counts() {
            mistakes.check(key, count > 0, "must be at least 1");
        }
        mistakes.0
    }

    /// The name, and a hash of the whole definition and of every template: what a thread is bound to.
    pub fn reference(&self, templates: &Templates) -> RecipeRef {
        let definition = serde_json::to_vec(&(self, templates.hashes()))
            .expect("numbers, texts and lists of them always have a JSON form");
        let hash = blake3::hash(&definition).to_hex();
        RecipeRef { name: self.name.clone(), hash: hash[..32].to_owned() }
    }

    fn counts(&self) -> [(&'static str, u32); 3] {
        [
            ("critique_tries", self.critique_tries),
            ("reward_tries", self.reward_tries),
            ("rounds", self.rounds),
        ]
    }

    fn answer_suits_shape(&self) -> bool {
        self.shape == Shape::MultiTurn || self.answer == AnswerSource::Given
    }
}

const NAME_RULE: &str = "must be one or more of a-z, 0-9, - and _: it becomes part of ids and file names";
const ANSWER_RULE: &str = "must be \"given\" where shape is \"single-turn\": that shape refines the answer \
                           that came with the prompt";
const RECORDS_RULE: &str = "must name at least one kind of record, or be left out for all kinds";
const TEMPERATURE_RULE: &str = "must be a number from 0 to 2";
const TEMPERATURES_RULE: &str = "must hold at least one temperature: each asks for one critique";

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !name.is_empty() && name.bytes().all(fits)
}

fn is_temperature(value: f64) -> bool {
    (0.0..=2.0).contains(&value)
}

/// A setting of a recipe that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {message}")]
pub struct Mistake {
    /// The setting, inside the recipe.
    pub key: String,
    /// What would be right.
    pub message: String,
}

#[derive(Default)]
struct Mistakes(Vec<Mistake>);

impl Mistakes {
    fn check(&mut self, key: impl Into<String>, holds: bool, message: &str) {
        if !holds {
            self.0.push(Mistake { key: key.into(), message: message.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_papers_recipes_are_without_mistakes() {
        assert_eq!(Recipe::stage1().mistakes(), []);
        assert_eq!(Recipe::stage2().mistakes(), []);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let recipe = Recipe {
            name: "Stage 1".to_owned(),
            shape: Shape::SingleTurn,
            draft_temperature: f64::NAN,
            temperatures: vec![0.0, 2.5, -0.1, f64::INFINITY],
            top_p: 0.0,
            critique_tries: 0,
            reward_tries: 0,
            rounds: 0,
            records: Vec::new(),
            ..Recipe::stage1()
        };
        let keys: Vec<String> = recipe.mistakes().into_iter().map(|mistake| mistake.key).collect();
        let expected = "name answer draft_temperature temperatures[1] temperatures[2] temperatures[3] top_p \
                        records critique_tries reward_tries rounds";
        assert_eq!(keys.join(" "), expected);
        let none = Recipe { temperatures: Vec::new(), ..Recipe::stage1() };
        assert_eq!(none.mistakes().len(), 1);
    }

    #[test]
    fn the_reference_depends_on_every_setting_and_template() {
        let builtin = Templates::builtin();
        let texts = BTreeMap::from([("long_open".to_owned(), "Thinking it over.".to_owned())]);
        let changed = Templates::with_overrides(texts).expect("a heading may be any text");
        let other = Recipe { top_p: 0.9, ..Recipe::stage1() };
        let reference = Recipe::stage1().reference(&builtin);
        assert_eq!(reference, Recipe::stage1().reference(&Templates::builtin()));
        assert_ne!(reference, other.reference(&builtin));
        assert_ne!(reference, Recipe::stage1().reference(&changed));
    }

    #[test]
    fn a_recipe_comes_back_from_json_as_it_was() {
        let text = serde_json::to_string(&Recipe::stage2()).expect("serialises");
        assert_eq!(serde_json::from_str::<Recipe>(&text).expect("parses"), Recipe::stage2());
        assert!(serde_json::from_str::<Recipe>(r#"{"temperture": 1}"#).is_err());
    }
}
