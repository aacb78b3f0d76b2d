//! From a scored thread of one round to its records and its outcome.
//!
//! Recipes of several rounds have [`long_record`](super::long_record) in its place: what a later round improves is
//! not `y0`.

use std::collections::BTreeMap;

use super::{
    pairs::{Pairs, Sides, pairs, sft},
    provenance::{Source, cut_off, provenance},
    recipe::Recipe,
    rows::{Row, Rows},
    select::{Judged, Scored, Selection, scored, select},
    template::Templates,
};
use crate::record::{Harvest, Kind, Outcome, Rewards, Round, Thread, TrainingRecord, Verdict};

/// What the one round of a thread gives: its records, and one outcome that says for each kind withheld why.
///
/// `recipe` is the definition of the recipe that the thread names: it decides which kinds are asked for.
pub fn harvest(thread: &Thread, recipe: &Recipe, templates: &Templates) -> Harvest {
    let scored = thread.rounds.last().map(scored).unwrap_or_default();
    let selection = select_in(thread, &scored);
    let made = selection.map(|selection| Maker { thread, recipe, templates, selection }.make());
    let made = made.unwrap_or_else(|verdict| Made::nothing(recipe, verdict));
    Harvest { outcome: outcome(thread, &scored, &made), records: made.records }
}

/// The selection, or the first reason in the order of the method why there can be none.
fn select_in<'a>(thread: &'a Thread, scored: &[Scored<'a>]) -> Result<Selection<'a>, Verdict> {
    let answer = thread.answer.as_ref().ok_or(Verdict::NoAnswer)?;
    asked(thread.rounds.last())?;
    let reward = answer.reward.filter(|reward| reward.is_finite()).ok_or(Verdict::NoAnswerReward)?;
    if scored.is_empty() {
        return Err(Verdict::NoImprovementReward);
    }
    select(&answer.text, reward, scored).ok_or(Verdict::NoGain)
}

/// Whether the models gave what there is to score.
fn asked(round: Option<&Round>) -> Result<(), Verdict> {
    let critiques = round.map_or(&[][..], |round| &round.critiques);
    let given: Vec<_> = critiques.iter().filter(|critique| critique.text.is_some()).collect();
    if given.is_empty() {
        return Err(Verdict::NoCritique);
    }
    let mut improvements = given.iter().flat_map(|critique| &critique.improvements);
    let any = improvements.any(|improvement| improvement.text.is_some());
    if any { Ok(()) } else { Err(Verdict::NoImprovement) }
}

/// The records of a thread, and why the others are not among them.
struct Made {
    records: Vec<TrainingRecord>,
    withheld: BTreeMap<Kind, Verdict>,
}

impl Made {
    fn nothing(recipe: &Recipe, verdict: Verdict) -> Self {
        let withheld = recipe.records.iter().map(|kind| (*kind, verdict)).collect();
        Self { records: Vec::new(), withheld }
    }

    /// The main verdict: of several reasons the first in the order of the method, which is the order of kinds.
    fn verdict(&self) -> Verdict {
        let first = self.withheld.values().next().copied();
        first.filter(|_| self.records.is_empty()).unwrap_or(Verdict::Selected)
    }
}

fn outcome(thread: &Thread, scored: &[Scored<'_>], made: &Made) -> Outcome {
    let answer_reward = thread.answer.as_ref().and_then(|answer| answer.reward);
    let best_reward = scored.iter().map(|improvement| improvement.reward).reduce(f64::max);
    Outcome {
        thread: thread.id.clone(),
        recipe: thread.recipe.clone(),
        origin: thread.origin.clone(),
        verdict: made.verdict(),
        records: made.records.iter().map(|record| record.kind).collect(),
        withheld: made.withheld.clone(),
        answer_reward,
        best_reward,
        gain: best_reward.zip(answer_reward).map(|(best, answer)| best - answer),
        cut_off: cut_off(thread),
        error: None,
    }
}

/// Makes the records of one selection.
struct Maker<'a> {
    thread: &'a Thread,
    recipe: &'a Recipe,
    templates: &'a Templates,
    selection: Selection<'a>,
}

impl Maker<'_> {
    fn make(&self) -> Made {
        let pairs = pairs(&self.selection);
        let mut made = Made { records: Vec::new(), withheld: BTreeMap::new() };
        for kind in Kind::ALL.into_iter().filter(|kind| self.recipe.records.contains(kind)) {
            match self.make_one(kind, &pairs) {
                Ok(record) => made.records.push(record),
                Err(verdict) => {
                    made.withheld.insert(kind, verdict);
                }
            }
        }
        made
    }

    fn make_one(&self, kind: Kind, pairs: &Pairs<'_, '_>) -> Result<TrainingRecord, Verdict> {
        match kind {
            Kind::Sft => sft(&self.selection).map(|()| self.sft()),
            Kind::ResponsePair => pairs.response.map(|best| self.response(best)),
            Kind::CritiquePair => {
                pairs.critique.as_ref().map(|sides| self.critique(sides)).map_err(|verdict| *verdict)
            }
            Kind::ImprovementPair => {
                pairs.improvement.as_ref().map(|sides| self.improvement(sides)).map_err(|verdict| *verdict)
            }
        }
    }

    fn rows(&self) -> Rows<'_> {
        Rows { prompt: &self.thread.prompt, templates: self.templates }
    }

    fn sft(&self) -> TrainingRecord {
        let best = &self.selection.best;
        let row = self.rows().sft(&self.selection);
        self.record(Kind::Sft, row, (best.reward, None), self.steps_to(best))
    }

    fn response(&self, best: &Scored<'_>) -> TrainingRecord {
        let row = self.rows().response(&self.selection, best);
        let rewards = (best.reward, Some(self.selection.answer_reward));
        self.record(Kind::ResponsePair, row, rewards, self.steps_to(best))
    }

    fn critique(&self, sides: &Sides<&Judged<'_>>) -> TrainingRecord {
        let row = self.rows().critique(&self.selection, sides);
        let rewards = (sides.chosen.mean, Some(sides.rejected.mean));
        let critiques =
            [sides.chosen, sides.rejected].map(|side| Source::critique(self.thread, side.index()));
        self.record(Kind::CritiquePair, row, rewards, critiques.into_iter().flatten().collect())
    }

    fn improvement(&self, sides: &Sides<&Scored<'_>>) -> TrainingRecord {
        let row = self.rows().improvement(&self.selection, sides);
        let rewards = (sides.chosen.reward, Some(sides.rejected.reward));
        let mut steps = self.steps_to(sides.chosen);
        steps.extend(self.improvement_step(sides.rejected));
        self.record(Kind::ImprovementPair, row, rewards, steps)
    }

    /// The calls that led from the answer to an improvement.
    fn steps_to(&self, improvement: &Scored<'_>) -> Vec<Source<'_>> {
        let critique = Source::critique(self.thread, improvement.place.critique);
        critique.into_iter().chain(self.improvement_step(improvement)).collect()
    }

    fn improvement_step(&self, improvement: &Scored<'_>) -> Option<Source<'_>> {
        Source::improvement(self.thread, improvement.place.critique, improvement.place.improvement)
    }

    fn record(
        &self,
        kind: Kind,
        row: Row,
        (chosen, rejected): (f64, Option<f64>),
        steps: Vec<Source<'_>>,
    ) -> TrainingRecord {
        let calls: Vec<_> = Source::draft(self.thread).into_iter().chain(steps).collect();
        let answer = self.selection.answer_reward;
        TrainingRecord {
            id: format!("{}/{}", self.thread.id, kind.as_str()),
            kind,
            prompt: row.prompt,
            chosen: row.chosen,
            rejected: row.rejected,
            rewards: Rewards { answer, chosen, rejected },
            gain: chosen - answer,
            provenance: provenance(self.thread, self.templates, &calls),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A thread with these critiques, each with its improvements as text and reward.
    fn thread(answer: Value, critiques: &[(Option<&str>, Value)]) -> Thread {
        let call = json!({
            "model": "m", "seed": 7, "temperature": 0.7, "attempts": 1, "finish_reason": "length",
            "prompt_tokens": 1, "completion_tokens": 1, "failure": null,
        });
        let improvement = |row: &Value| json!({"text": row[0], "reward": row[1], "call": call});
        let critique = |(text, rows): &(Option<&str>, Value)| {
            let rows: Vec<_> = rows.as_array().expect("rows").iter().map(improvement).collect();
            json!({"text": text, "rating": 7, "call": call, "improvements": rows})
        };
        let critiques: Vec<_> = critiques.iter().map(critique).collect();
        let thread = json!({
            "version": 1, "id": "stage1:1", "recipe": {"name": "stage1", "hash": "0"},
            "origin": {"source": "-", "line": 1}, "prompt": [{"role": "user", "content": "x"}],
            "given_answer": null, "answer": answer, "rounds": [{"critiques": critiques}],
        });
        serde_json::from_value(thread).expect("a thread")
    }

    fn answer(reward: Option<f64>) -> Value {
        json!({"text": "y0", "reward": reward, "call": null})
    }

    fn harvest_of(thread: &Thread) -> Harvest {
        harvest(thread, &Recipe::stage1(), &Templates::builtin())
    }

    #[test]
    fn a_thread_that_gains_gives_every_kind() {
        let rows =
            [(Some("a"), json!([["p", 3.0], ["q", 1.0]])), (Some("b"), json!([["r", 0.5], ["s", null]]))];
        let harvest = harvest_of(&thread(answer(Some(0.25)), &rows));
        let outcome = &harvest.outcome;
        assert_eq!((outcome.verdict, &*outcome.records), (Verdict::Selected, &Kind::ALL[..]));
        assert_eq!((outcome.best_reward, outcome.gain, outcome.cut_off), (Some(3.0), Some(2.75), 6));
        assert!(outcome.withheld.is_empty());
        let told: Vec<_> =
            harvest.records.iter().map(|record| (record.id.as_str(), record.rewards, record.gain)).collect();
        let rewards = |chosen, rejected| Rewards { answer: 0.25, chosen, rejected };
        let expected = [
            ("stage1:1/sft", rewards(3.0, None), 2.75),
            ("stage1:1/response_pair", rewards(3.0, Some(0.25)), 2.75),
            ("stage1:1/critique_pair", rewards(2.0, Some(0.5)), 1.75),
            ("stage1:1/improvement_pair", rewards(3.0, Some(1.0)), 2.75),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn provenance_tells_the_calls_behind_a_record() {
        let rows = [(Some("a"), json!([["p", 1.0], ["q", 3.0]])), (Some("b"), json!([["r", 0.5]]))];
        let harvest = harvest_of(&thread(answer(Some(0.0)), &rows));
        let steps = |record: &TrainingRecord| {
            let told: Value = serde_json::from_str(&record.provenance).expect("JSON");
            assert_eq!((&told["recipe"]["name"], &told["cut_off"]), (&json!("stage1"), &json!(true)));
            let calls = told["calls"].as_array().expect("calls").iter();
            let step =
                |call: &Value| format!("{} {} {}", call["step"], call["critique"], call["improvement"]);
            calls.map(step).collect::<Vec<_>>().join(", ").replace('"', "")
        };
        let expected = [
            "critique 0 null, improve 0 1",
            "critique 0 null, improve 0 1",
            "critique 0 null, critique 1 null",
            "critique 0 null, improve 0 1, improve 0 0",
        ];
        assert_eq!(harvest.records.iter().map(steps).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_thread_without_records_says_which_rule_failed_first() {
        let with = |rows: Value| [(Some("a"), rows)];
        let cases = [
            (thread(Value::Null, &[]), Verdict::NoAnswer),
            (thread(answer(None), &[(None, json!([]))]), Verdict::NoCritique),
            (thread(answer(None), &with(json!([[null, null]]))), Verdict::NoImprovement),
            (thread(answer(None), &with(json!([["p", 1.0]]))), Verdict::NoAnswerReward),
            (thread(answer(Some(0.0)), &with(json!([["p", null]]))), Verdict::NoImprovementReward),
            (thread(answer(Some(0.0)), &with(json!([["p", -1.0]]))), Verdict::NoGain),
            (thread(answer(Some(0.0)), &with(json!([["p", 0.0]]))), Verdict::NoGain),
        ];
        for (thread, verdict) in cases {
            let harvest = harvest_of(&thread);
            assert_eq!((harvest.outcome.verdict, harvest.records.len()), (verdict, 0));
            assert_eq!(harvest.outcome.withheld.len(), Kind::ALL.len());
        }
    }

    #[test]
    fn only_the_kinds_that_the_recipe_asks_for_are_made() {
        let rows = [(Some("a"), json!([["p", 3.0], ["q", 1.0]]))];
        let recipe = Recipe { records: vec![Kind::CritiquePair, Kind::ResponsePair], ..Recipe::stage1() };
        let harvest = harvest(&thread(answer(Some(0.0)), &rows), &recipe, &Templates::builtin());
        assert_eq!(harvest.outcome.records, [Kind::ResponsePair]);
        let withheld = [(Kind::CritiquePair, Verdict::NoCritiqueContrast)];
        assert_eq!(harvest.outcome.withheld, BTreeMap::from(withheld));
    }

    #[test]
    fn a_record_may_come_out_although_another_is_withheld() {
        let long = "a long text of words that do not come often ".repeat(10);
        let harvest = harvest_of(&thread(answer(Some(0.0)), &[(Some("a"), json!([[long, 1.0]]))]));
        assert_eq!(harvest.outcome.verdict, Verdict::Selected);
        assert_eq!(harvest.outcome.records, [Kind::ResponsePair]);
        assert_eq!(harvest.outcome.withheld.get(&Kind::Sft), Some(&Verdict::TooLong));
        assert_eq!(harvest.outcome.withheld.get(&Kind::CritiquePair), Some(&Verdict::NoCritiqueContrast));
    }
}
