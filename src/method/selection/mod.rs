//! From a finished thread to its records and its outcome.
//!
//! ```text
//!   stage1      one_round      conversation and pairs of one round
//!   stage2      long_record    one long record of several rounds
//!   long-pairs  long_pair      the best of several long answers over the worst
//!   evaluation  evaluation     the answer to an instruction of a test
//!   fusion      fusion         the answer made out of two drafts over a draft
//!   any with rewards           from_rewards: labelled answers, and pairs for a reward model
//! ```
//!
//! Every record is held against the recipe's thresholds, then `limit` keeps the pairs of the largest margins.

mod evaluation;
mod from_rewards;
mod fusion;
mod limit;
mod long_pair;
mod long_record;
mod one_round;

use std::collections::BTreeMap;

use super::{
    all_pairs::kept,
    candidate::drafts,
    provenance::{Source, cut_off, models, provenance},
    recipe::{Base, Recipe},
    rows::Row,
    template::Templates,
    threshold,
};
use crate::record::{
    ModelOutput, Outcome, OutcomeReason, RecordKind, Rewards, Round, SelectionResult, SourceModels, Thread,
    TrainingRecord,
};

/// What a thread gives: its records, and one outcome that says for each kind withheld why.
///
/// `recipe` is the definition of the recipe that the thread names: it decides which kinds are asked for.
pub fn select_records(thread: &Thread, recipe: &Recipe, templates: &Templates) -> SelectionResult {
    let maker = Maker { thread, recipe, templates };
    let mut made = match recipe.base {
        Base::Evaluation => evaluation::make(&maker),
        Base::Stage1 => one_round::make(&maker),
        Base::Stage2 => long_record::make(&maker),
        Base::LongPairs => long_pair::make(&maker),
        Base::Fusion => fusion::make(&maker),
    };
    from_rewards::add(&maker, &mut made);
    limit::keep_widest(&mut made, recipe.max_pairs as usize);
    let gave_something = !made.records.is_empty() || matches!(made.output, Some(Ok(_)));
    SelectionResult {
        outcome: outcome(thread, &made),
        models: if gave_something { models(thread) } else { SourceModels::default() },
        records: made.records,
        output: made.output.and_then(Result::ok),
    }
}

/// The reward that everything is to be better than: `r(y0)`, or the higher of two drafts'.
fn reward_to_beat(thread: &Thread) -> Option<f64> {
    drafts(thread).map(|draft| draft.reward).filter(|reward| reward.is_finite()).reduce(f64::max)
}

/// `y0` and `r(y0)`, or what of them is missing.
fn rewarded_answer(thread: &Thread) -> Result<(&str, f64), OutcomeReason> {
    let answer = thread.answer.as_ref().ok_or(OutcomeReason::NoAnswer)?;
    let reward = answer.reward.filter(|reward| reward.is_finite()).ok_or(OutcomeReason::NoAnswerReward)?;
    Ok((&answer.text, reward))
}

/// Whether the models gave what there is to score in this round.
fn improved(thread: &Thread, round: Option<&Round>) -> Result<(), OutcomeReason> {
    if thread.answer.is_none() {
        return Err(OutcomeReason::NoAnswer);
    }
    let critiques = round.map_or(&[][..], |round| &round.critiques);
    let given: Vec<_> = critiques.iter().filter(|critique| critique.text.is_some()).collect();
    if given.is_empty() {
        return Err(OutcomeReason::NoCritique);
    }
    let mut improvements = given.iter().flat_map(|critique| &critique.improvements);
    let any = improvements.any(|improvement| improvement.text.is_some());
    if any { Ok(()) } else { Err(OutcomeReason::NoImprovement) }
}

/// The records of a thread, and why the others are not among them.
#[derive(Default)]
struct Made {
    records: Vec<TrainingRecord>,
    withheld: BTreeMap<RecordKind, OutcomeReason>,
    /// The answer to an instruction of a test, or why there is none; nothing where none is asked for.
    output: Option<Result<ModelOutput, OutcomeReason>>,
}

impl Made {
    fn nothing(recipe: &Recipe, reason: OutcomeReason) -> Self {
        let kinds = recipe.base.kinds().iter().filter(|kind| recipe.records.contains(kind));
        Self { withheld: kinds.map(|kind| (*kind, reason)).collect(), ..Self::default() }
    }

    /// Takes a record that holds against the recipe's thresholds, or why there is none.
    fn add(&mut self, recipe: &Recipe, kind: RecordKind, record: Result<TrainingRecord, OutcomeReason>) {
        self.add_all(recipe, kind, record.map(|record| vec![record]));
    }

    /// Takes the records that hold against the recipe's thresholds, or why there is none of them. A kind that the
    /// recipe does not ask for is passed over.
    fn add_all(
        &mut self,
        recipe: &Recipe,
        kind: RecordKind,
        records: Result<Vec<TrainingRecord>, OutcomeReason>,
    ) {
        if !recipe.records.contains(&kind) {
            return;
        }
        let check = |record: TrainingRecord| threshold::check(recipe, &record).map(|()| record);
        match records.and_then(|records| kept(records.into_iter().map(check), OutcomeReason::NoGain)) {
            Ok(records) => self.records.extend(records),
            Err(reason) => drop(self.withheld.insert(kind, reason)),
        }
    }

    /// The main reason: of several reasons the first in the order of the method, which is the order of kinds.
    fn reason(&self) -> OutcomeReason {
        let no_output = self.output.as_ref().and_then(|output| output.as_ref().err());
        let first = self.withheld.values().chain(no_output).next().copied();
        first.filter(|_| self.records.is_empty()).unwrap_or(OutcomeReason::Selected)
    }
}

fn outcome(thread: &Thread, made: &Made) -> Outcome {
    let (answer_reward, best_reward) = (reward_to_beat(thread), best_reward(thread));
    Outcome {
        thread: thread.id.clone(),
        recipe: thread.recipe.clone(),
        origin: thread.origin.clone(),
        reason: made.reason(),
        records: made.records.iter().map(|record| record.kind).collect(),
        withheld: made.withheld.clone(),
        rounds: u32::try_from(thread.rounds.len()).unwrap_or(u32::MAX),
        answer_reward,
        best_reward,
        gain: best_reward.zip(answer_reward).map(|(best, answer)| best - answer),
        cut_off: cut_off(thread),
        retried: 0,
        error: None,
    }
}

/// The highest reward of anything that was made of the answer, in whatever round, or of the drafts.
fn best_reward(thread: &Thread) -> Option<f64> {
    let critiques = thread.rounds.iter().flat_map(|round| &round.critiques);
    let improvements = critiques.flat_map(|critique| &critique.improvements);
    let of_improvements = improvements.filter_map(|improvement| improvement.reward);
    let of_samples = thread.long_answers.iter().filter_map(|sample| sample.reward);
    let fused = thread.fusion.iter().filter_map(|fusion| fusion.fused.as_ref()?.reward);
    of_improvements.chain(of_samples).chain(fused).filter(|reward| reward.is_finite()).reduce(f64::max)
}

/// Makes the records of one thread.
struct Maker<'a> {
    thread: &'a Thread,
    recipe: &'a Recipe,
    templates: &'a Templates,
}

impl Maker<'_> {
    /// A record that came of the draft and these further calls.
    fn record(&self, kind: RecordKind, row: Row, rewards: Rewards, steps: Vec<Source<'_>>) -> TrainingRecord {
        let calls: Vec<_> = Source::draft(self.thread).into_iter().chain(steps).collect();
        TrainingRecord {
            id: format!("{}/{}", self.thread.id, kind.as_str()),
            kind,
            prompt: row.prompt,
            chosen: row.chosen,
            rejected: row.rejected,
            rewards,
            gain: rewards.chosen - rewards.answer,
            label: None,
            provenance: provenance(self.thread, self.templates, &calls),
        }
    }
}

/// A record of which the thread can give several, with the names of its texts in its id.
fn named(record: TrainingRecord, name: &str) -> TrainingRecord {
    TrainingRecord { id: format!("{}/{name}", record.id), ..record }
}
