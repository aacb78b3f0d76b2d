//! A recipe: what is to be made of a prompt, and with what settings.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

use super::Templates;
use crate::record::{Extra, RecipeRef, RecordKind};

/// How an instruction is put to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Shape {
    /// The conversation goes on with a user turn that holds the instruction.
    MultiTurn,
    /// The instruction is the system message, and one user message holds the conversation as a transcript.
    SingleTurn,
}

/// Where `y0` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum AnswerSource {
    /// The model drafts it.
    Draft,
    /// It came with the prompt.
    Given,
}

/// Which pairs are made of a prompt's texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum PairChoice {
    /// Of each kind the best over the worst, as in the paper.
    #[default]
    BestWorst,
    /// Every better one over every worse one.
    All,
}

impl PairChoice {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The family of a recipe: which of the method's procedures it follows, and so its way through the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(EnumString, IntoStaticStr, VariantNames, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Base {
    /// One round of critiques and improvements, from which conversations and pairs are selected.
    Stage1,
    /// Greedy refinement round by round, told in one long record.
    Stage2,
    /// Several long answers, of which the best and the worst make a pair.
    LongPairs,
    /// One answer to each instruction of a test, without a reward.
    Evaluation,
    /// Two drafts, compared in both orders, and one answer made out of both.
    Fusion,
}

impl Base {
    /// Every base, in the order in which they are listed.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as VariantArray>::VARIANTS.iter().copied()
    }

    /// The name in configurations.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The kinds of record that it makes unless a recipe says otherwise.
    pub fn kinds(self) -> &'static [RecordKind] {
        match self {
            Self::Stage1 => &[
                RecordKind::Sft,
                RecordKind::ResponsePair,
                RecordKind::CritiquePair,
                RecordKind::ImprovementPair,
            ],
            Self::Stage2 => &[RecordKind::LongSft],
            Self::LongPairs => &[RecordKind::LongPair],
            Self::Evaluation => &[],
            Self::Fusion => &[RecordKind::FusionPair],
        }
    }

    /// The kinds of record that it can make: whatever has rewards can be labelled and compared, too.
    pub fn possible_kinds(self) -> Vec<RecordKind> {
        let from_rewards: &[RecordKind] = if self == Self::Evaluation { &[] } else { &FROM_REWARDS };
        self.kinds().iter().chain(from_rewards).copied().collect()
    }
}

/// The kinds that need nothing but scored answers to a prompt.
const FROM_REWARDS: [RecordKind; 2] = [RecordKind::Kto, RecordKind::RewardPair];

/// What is to be made of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// The name by which threads and configurations know it.
    pub name: String,
    /// Which of the method's procedures it follows.
    pub base: Base,
    /// How critiques and improvements are asked for.
    pub shape: Shape,
    /// Where the answer to refine comes from.
    pub answer: AnswerSource,
    /// Sampling temperature of the draft and of long answers, 0 to 2.
    pub draft_temperature: f64,
    /// One critique for each of these sampling temperatures (0 to 2), and for each critique one improvement for
    /// each.
    pub temperatures: Vec<f64>,
    /// Nucleus sampling of every chat call: above 0, at most 1.
    pub top_p: f64,
    /// Answers waited for until one critique has a rating, or a comparison its verdict; then it is given up.
    pub critique_tries: u32,
    /// Answers waited for until one reward is a number.
    pub reward_tries: u32,
    /// Rounds of refinement at most.
    pub rounds: u32,
    /// Bytes of text in a thread's rounds beyond which what lost in a round goes before the next: critiques and
    /// improvements that no later step needs. Their rewards stay.
    pub prune_above_bytes: u64,
    /// Long answers to each prompt.
    pub long_answers: u32,
    /// Answers waited for until a long one has a final answer.
    pub long_answer_tries: u32,
    /// Whether two drafts are fused only if the verdict is for the same one in both orders.
    #[serde(skip_serializing_if = "is_true")]
    pub verdicts_must_agree: bool,
    /// The least that a record's chosen side gains over the answer, in units of the reward; 0 for any, as in the paper.
    pub min_gain: f64,
    /// The least difference between the rewards of a pair's sides; 0 for any, as in the paper.
    pub min_margin: f64,
    /// Whether every pair, not only the long ones, needs a chosen side that is not longer than the rejected.
    pub length_control: bool,
    /// Which pairs to make.
    #[serde(skip_serializing_if = "PairChoice::is_default")]
    pub pairs: PairChoice,
    /// Pairs of one prompt at most, those of the largest margins; 0 for any number.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_pairs: u32,
    /// The kinds of record to make.
    pub records: Vec<RecordKind>,
}

// What was added later is left out where it is off: a folder that was begun before goes on.
fn is_true(flag: &bool) -> bool {
    *flag
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Default for Recipe {
    fn default() -> Self {
        Self::stage1()
    }
}

/// As much as a round of two critiques and four improvements has where answers are of ordinary length, many times.
const PRUNE_ABOVE_BYTES: u64 = 1 << 20;

impl Recipe {
    /// The paper's recipe of a base, under the base's own name.
    pub fn of(base: Base) -> Self {
        match base {
            Base::Stage1 => Self::stage1(),
            Base::Stage2 => Self::stage2(),
            Base::LongPairs => Self::long_pairs(),
            Base::Evaluation => Self::evaluation(),
            Base::Fusion => Self::fusion(),
        }
    }

    /// Stage 1 of the paper: one round of two critiques with two improvements each.
    pub fn stage1() -> Self {
        Self {
            name: Base::Stage1.as_str().to_owned(),
            base: Base::Stage1,
            shape: Shape::MultiTurn,
            answer: AnswerSource::Draft,
            draft_temperature: 0.7,
            temperatures: vec![0.7, 0.7],
            top_p: 0.8,
            critique_tries: 5,
            reward_tries: 3,
            rounds: 1,
            prune_above_bytes: PRUNE_ABOVE_BYTES,
            long_answers: 0,
            long_answer_tries: 2,
            verdicts_must_agree: true,
            min_gain: 0.0,
            min_margin: 0.0,
            length_control: false,
            pairs: PairChoice::BestWorst,
            max_pairs: 0,
            records: Base::Stage1.kinds().to_vec(),
        }
    }

    /// Stage 2 of the paper: greedy refinement of the answer that came with the prompt, for five rounds at most.
    pub fn stage2() -> Self {
        Self { answer: AnswerSource::Given, rounds: 5, ..Self::based_on(Base::Stage2) }
    }

    /// Pairs of long answers: five to each prompt, compared with the answer that came with it.
    pub fn long_pairs() -> Self {
        Self { answer: AnswerSource::Given, rounds: 0, long_answers: 5, ..Self::based_on(Base::LongPairs) }
    }

    /// A long answer to each instruction of a test.
    pub fn evaluation() -> Self {
        Self {
            temperatures: vec![0.7],
            rounds: 0,
            long_answers: 1,
            long_answer_tries: 5,
            ..Self::based_on(Base::Evaluation)
        }
    }

    /// One answer out of two drafts.
    pub fn fusion() -> Self {
        Self { temperatures: vec![0.7], rounds: 0, ..Self::based_on(Base::Fusion) }
    }

    /// The settings that select from finished threads: with others the same threads can be selected from again. All
    /// the rest decides what is asked of the models.
    pub const SELECTION: [&str; 7] =
        ["name", "min_gain", "min_margin", "length_control", "pairs", "max_pairs", "records"];

    fn based_on(base: Base) -> Self {
        Self { name: base.as_str().to_owned(), base, records: base.kinds().to_vec(), ..Self::stage1() }
    }

    /// The temperature of calls that are made once: the first of the list.
    pub fn only_temperature(&self) -> f64 {
        self.temperatures.first().copied().unwrap_or(self.draft_temperature)
    }

    /// Whether the thread needs `y0`: not where a long answer is all that is asked for.
    pub fn needs_answer(&self) -> bool {
        self.base != Base::Evaluation || self.long_answers == 0
    }

    /// Whether it needs a reward model.
    pub fn is_scored(&self) -> bool {
        self.base != Base::Evaluation
    }

    /// The name, and a hash of the whole definition and of every template: what a thread is bound to.
    pub fn reference(&self, templates: &Templates) -> RecipeRef {
        let definition = serde_json::to_vec(&(self, templates.hashes()))
            .expect("numbers, texts and lists of them always have a JSON form");
        let hash = blake3::hash(&definition).to_hex();
        RecipeRef { name: self.name.clone(), hash: hash[..32].to_owned(), extra: Extra::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
    fn what_was_added_later_changes_no_earlier_definition() {
        let text = serde_json::to_string(&Recipe::stage1()).expect("serialises");
        assert!(!text.contains("verdicts") && !text.contains("pairs\":"), "{text}");
        let other = Recipe { max_pairs: 1, pairs: PairChoice::All, ..Recipe::fusion() };
        let text = serde_json::to_string(&other).expect("serialises");
        assert_eq!(serde_json::from_str::<Recipe>(&text).expect("parses"), other);
    }

    #[test]
    fn a_recipe_comes_back_from_json_as_it_was() {
        let text = serde_json::to_string(&Recipe::stage2()).expect("serialises");
        assert_eq!(serde_json::from_str::<Recipe>(&text).expect("parses"), Recipe::stage2());
        assert!(serde_json::from_str::<Recipe>(r#"{"temperture": 1}"#).is_err());
    }
}
