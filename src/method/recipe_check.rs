//! What is wrong with a recipe: one error for each setting, each with what would be right.

use super::recipe::{AnswerSource, Base, PairChoice, Recipe, Shape};
use crate::record::RecordKind;

impl Recipe {
    /// Everything that is wrong with it, one error for each key; nothing when it can be used.
    pub fn errors(&self) -> Vec<RecipeError> {
        let mut errors = RecipeErrors::default();
        errors.check("name", is_name(&self.name), NAME_RULE);
        errors.check("answer", self.answer_suits_shape(), ANSWER_RULE);
        errors.check("draft_temperature", is_temperature(self.draft_temperature), TEMPERATURE_RULE);
        let (holds, rule) = self.check_temperatures();
        errors.check("temperatures", holds, rule);
        for (index, temperature) in self.temperatures.iter().enumerate() {
            errors.check(format!("temperatures[{index}]"), is_temperature(*temperature), TEMPERATURE_RULE);
        }
        errors.check("top_p", self.top_p > 0.0 && self.top_p <= 1.0, "must be above 0 and at most 1");
        errors.check("records", self.makes_what_it_can(), &self.records_rule());
        for (key, least) in [("min_gain", self.min_gain), ("min_margin", self.min_margin)] {
            errors.check(key, least.is_finite() && least >= 0.0, "must be a number, 0 or more");
        }
        let agreement = self.verdicts_must_agree || self.base == Base::Fusion;
        errors.check("verdicts_must_agree", agreement, "is for base \"fusion\": no other compares drafts");
        let has_pairs = self.records.iter().any(|kind| kind.is_pair());
        errors.check("pairs", has_pairs || self.pairs == PairChoice::BestWorst, PAIRS_RULE);
        errors.check("max_pairs", has_pairs || self.max_pairs == 0, PAIRS_RULE);
        for (key, count) in self.tries() {
            errors.check(key, count > 0, "must be at least 1");
        }
        let (holds, rule) = self.check_rounds();
        errors.check("rounds", holds, rule);
        let (holds, rule) = self.check_long_answers();
        errors.check("long_answers", holds, rule);
        errors.0
    }

    fn tries(&self) -> [(&'static str, u32); 3] {
        [
            ("critique_tries", self.critique_tries),
            ("reward_tries", self.reward_tries),
            ("long_answer_tries", self.long_answer_tries),
        ]
    }

    fn answer_suits_shape(&self) -> bool {
        let is_refined = !matches!(self.base, Base::LongPairs | Base::Fusion) && self.needs_answer();
        !is_refined || self.shape == Shape::MultiTurn || self.answer == AnswerSource::Given
    }

    fn check_temperatures(&self) -> (bool, &'static str) {
        match self.base {
            Base::Fusion => {
                (self.temperatures.len() == 1, "must hold one temperature: that of comparisons and fusion")
            }
            _ => (!self.temperatures.is_empty(), TEMPERATURES_RULE),
        }
    }

    fn makes_what_it_can(&self) -> bool {
        let kinds = self.base.possible_kinds();
        self.records.iter().all(|kind| kinds.contains(kind)) && self.records.is_empty() == kinds.is_empty()
    }

    fn records_rule(&self) -> String {
        let names = |kinds: &[RecordKind]| {
            let names: Vec<String> = kinds.iter().map(|kind| format!("{:?}", kind.as_str())).collect();
            names.join(", ")
        };
        let (possible, usual) = (self.base.possible_kinds(), self.base.kinds());
        match possible.is_empty() {
            true => format!("must be left out: {} makes no records", self.base.as_str()),
            false => {
                format!("must be one or more of {}, or be left out for {}", names(&possible), names(usual))
            }
        }
    }

    fn check_rounds(&self) -> (bool, &'static str) {
        match self.base {
            Base::Stage1 => (self.rounds == 1, "must be 1: stage1 is one round; base \"stage2\" has several"),
            Base::Stage2 => (self.rounds > 0, "must be at least 1"),
            Base::LongPairs => (self.rounds == 0, "must be 0: long answers refine themselves"),
            Base::Fusion => (self.rounds == 0, "must be 0: two drafts are fused once"),
            Base::Evaluation => (
                self.rounds == 0 || self.long_answers == 0,
                "must be 0 where long_answers is 1: a long answer refines itself",
            ),
        }
    }

    fn check_long_answers(&self) -> (bool, &'static str) {
        match self.base {
            Base::Stage1 | Base::Stage2 | Base::Fusion => {
                (self.long_answers == 0, "must be 0: this base works on plain answers")
            }
            Base::LongPairs => (self.long_answers > 1, "must be at least 2, to have a best and a worst"),
            Base::Evaluation => (self.long_answers <= 1, "must be 1, or 0 for a plain answer"),
        }
    }
}

const NAME_RULE: &str = "must be one or more of a-z, 0-9, - and _: it becomes part of ids and file names";
const ANSWER_RULE: &str = "must be \"given\" where shape is \"single-turn\": that shape refines the answer \
                           that came with the prompt";
const TEMPERATURE_RULE: &str = "must be a number from 0 to 2";
const PAIRS_RULE: &str = "chooses among pairs, and no kind in records is a pair";
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
pub struct RecipeError {
    /// The setting, inside the recipe.
    pub key: String,
    /// What would be right.
    pub message: String,
}

#[derive(Default)]
struct RecipeErrors(Vec<RecipeError>);

impl RecipeErrors {
    fn check(&mut self, key: impl Into<String>, holds: bool, message: &str) {
        if !holds {
            self.0.push(RecipeError { key: key.into(), message: message.to_owned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(recipe: &Recipe) -> String {
        let keys: Vec<String> = recipe.errors().into_iter().map(|error| error.key).collect();
        keys.join(" ")
    }

    #[test]
    fn the_papers_recipes_are_without_errors() {
        for base in Base::all() {
            assert_eq!(Recipe::of(base).errors(), [], "{base:?}");
        }
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let recipe = Recipe {
            name: "Stage 1".to_owned(),
            shape: Shape::SingleTurn,
            draft_temperature: f64::NAN,
            temperatures: vec![0.0, 2.5, -0.1, f64::INFINITY],
            top_p: 0.0,
            critique_tries: 0,
            reward_tries: 0,
            long_answer_tries: 0,
            rounds: 0,
            long_answers: 1,
            records: Vec::new(),
            ..Recipe::stage1()
        };
        let expected = "name answer draft_temperature temperatures[1] temperatures[2] temperatures[3] top_p \
                        records critique_tries reward_tries long_answer_tries rounds long_answers";
        assert_eq!(keys(&recipe), expected);
        assert_eq!(keys(&Recipe { temperatures: Vec::new(), ..Recipe::stage1() }), "temperatures");
    }

    #[test]
    fn a_base_has_settings_of_its_own() {
        let sft = vec![RecordKind::Sft];
        let cases = [
            (Recipe { rounds: 2, ..Recipe::stage1() }, "rounds"),
            (Recipe { records: sft.clone(), ..Recipe::stage2() }, "records"),
            (Recipe { long_answers: 1, ..Recipe::long_pairs() }, "long_answers"),
            (Recipe { rounds: 1, ..Recipe::long_pairs() }, "rounds"),
            (Recipe { rounds: 2, ..Recipe::evaluation() }, "rounds"),
            (Recipe { rounds: 2, long_answers: 0, ..Recipe::evaluation() }, ""),
            (Recipe { records: sft, ..Recipe::evaluation() }, "records"),
            (Recipe { records: vec![RecordKind::Kto], ..Recipe::evaluation() }, "records"),
            (Recipe { records: vec![RecordKind::Kto, RecordKind::RewardPair], ..Recipe::stage2() }, ""),
            (Recipe { records: vec![RecordKind::Kto], max_pairs: 2, ..Recipe::stage1() }, "max_pairs"),
            (Recipe { pairs: PairChoice::All, ..Recipe::stage2() }, "pairs"),
            (Recipe { pairs: PairChoice::All, max_pairs: 2, ..Recipe::fusion() }, ""),
            (Recipe { temperatures: vec![0.7, 0.7], rounds: 1, ..Recipe::fusion() }, "temperatures rounds"),
            (Recipe { verdicts_must_agree: false, ..Recipe::fusion() }, ""),
            (Recipe { verdicts_must_agree: false, ..Recipe::stage1() }, "verdicts_must_agree"),
            (Recipe { shape: Shape::SingleTurn, ..Recipe::fusion() }, ""),
        ];
        for (recipe, expected) in cases {
            assert_eq!(keys(&recipe), expected, "{recipe:?}");
        }
    }
}
