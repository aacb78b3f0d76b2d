//! One round: a conversation, and pairs of answers, of critiques and of improvements.

mod all_pairs;
mod conversations;
mod pairs;
mod select;

pub use conversations::RoundRows;
pub use pairs::{RoundPairs, pairs, sft};
pub use select::{CritiqueGroup, RoundSelection, select};

use self::select::critique_groups;
use super::{
    builder::{Collected, RecordBuilder, TrainingRow, named},
    provenance::ProvenanceCall,
    rules::{Sides, improved, rewarded_answer},
};
use crate::{
    method::{
        recipe::PairChoice,
        scored::{ScoredImprovement, scored_improvements},
    },
    record::{OutcomeReason, RecordKind, Rewards, TrainingRecord},
};

/// Adds the records of the one round of a thread.
pub(super) fn add(builder: &RecordBuilder<'_>, collected: &mut Collected<'_>) {
    match Records::new(builder) {
        Ok(records) => records.add_to(collected),
        Err(reason) => {
            builder.recipe.base.kinds().iter().for_each(|kind| collected.add_all(*kind, Err(reason)));
        }
    }
}

/// Makes the records of one selection.
struct Records<'a> {
    builder: &'a RecordBuilder<'a>,
    selection: RoundSelection<'a>,
    scored: Vec<ScoredImprovement<'a>>,
}

/// The records of a kind, or why there is none.
type Given = Result<Vec<TrainingRecord>, OutcomeReason>;

impl<'a> Records<'a> {
    /// The selection, or the first reason in the order of the method why there can be none.
    fn new(builder: &'a RecordBuilder<'a>) -> Result<Self, OutcomeReason> {
        let round = builder.thread.rounds.last();
        improved(builder.thread, round)?;
        let (answer, reward) = rewarded_answer(builder.thread)?;
        let scored = round.map(scored_improvements).unwrap_or_default();
        if scored.is_empty() {
            return Err(OutcomeReason::NoImprovementReward);
        }
        let selection = select(answer, reward, &scored).ok_or(OutcomeReason::NoGain)?;
        Ok(Self { builder, selection, scored })
    }

    fn add_to(&self, collected: &mut Collected<'_>) {
        collected.add(RecordKind::Sft, sft(&self.selection).map(|()| self.sft()));
        let pairs = match self.builder.recipe.pairs {
            PairChoice::BestWorst => self.best_over_worst(),
            PairChoice::All => self.all_pairs(),
        };
        for (kind, records) in pairs {
            collected.add_all(kind, records);
        }
    }

    fn best_over_worst(&self) -> [(RecordKind, Given); 3] {
        let pairs = pairs(&self.selection);
        [
            (RecordKind::ResponsePair, pairs.response.map(|best| vec![self.response(best)])),
            (RecordKind::CritiquePair, pairs.critique.map(|sides| vec![self.critique(&sides)])),
            (RecordKind::ImprovementPair, pairs.improvement.map(|sides| vec![self.improvement(&sides)])),
        ]
    }

    fn all_pairs(&self) -> [(RecordKind, Given); 3] {
        let RoundSelection { answer, answer_reward, .. } = self.selection;
        let groups = critique_groups(&self.scored);
        let responses = all_pairs::responses(answer, answer_reward, &self.scored);
        let critiques = all_pairs::critiques(answer_reward, &groups);
        let improvements = all_pairs::improvements(answer_reward, &groups);
        let response = |best: &&ScoredImprovement<'_>| named(self.response(best), &place(best));
        let critique = |sides: &Sides<&CritiqueGroup<'_>>| {
            named(self.critique(sides), &format!("{}-{}", sides.chosen.index(), sides.rejected.index()))
        };
        let improvement = |sides: &Sides<&ScoredImprovement<'_>>| {
            named(self.improvement(sides), &format!("{}-{}", place(sides.chosen), place(sides.rejected)))
        };
        [
            (RecordKind::ResponsePair, responses.map(|all| all.iter().map(response).collect())),
            (RecordKind::CritiquePair, critiques.map(|all| all.iter().map(critique).collect())),
            (RecordKind::ImprovementPair, improvements.map(|all| all.iter().map(improvement).collect())),
        ]
    }

    fn rows(&self) -> RoundRows<'_> {
        RoundRows { prompt: &self.builder.thread.prompt, templates: self.builder.templates }
    }

    fn sft(&self) -> TrainingRecord {
        let best = &self.selection.best;
        let row = self.rows().sft(&self.selection);
        self.record(RecordKind::Sft, row, (best.reward, None), self.steps_to(best))
    }

    fn response(&self, best: &ScoredImprovement<'_>) -> TrainingRecord {
        let row = self.rows().response(&self.selection, best);
        let rewards = (best.reward, Some(self.selection.answer_reward));
        self.record(RecordKind::ResponsePair, row, rewards, self.steps_to(best))
    }

    fn critique(&self, sides: &Sides<&CritiqueGroup<'_>>) -> TrainingRecord {
        let row = self.rows().critique(&self.selection, sides);
        let rewards = (sides.chosen.mean, Some(sides.rejected.mean));
        let critiques = [sides.chosen, sides.rejected].map(|side| self.critique_step(side.index()));
        self.record(RecordKind::CritiquePair, row, rewards, critiques.into_iter().flatten().collect())
    }

    fn improvement(&self, sides: &Sides<&ScoredImprovement<'_>>) -> TrainingRecord {
        let row = self.rows().improvement(&self.selection, sides);
        let rewards = (sides.chosen.reward, Some(sides.rejected.reward));
        let mut steps = self.steps_to(sides.chosen);
        steps.extend(self.improvement_step(sides.rejected));
        self.record(RecordKind::ImprovementPair, row, rewards, steps)
    }

    /// The calls that led from the answer to an improvement.
    fn steps_to(&self, improvement: &ScoredImprovement<'_>) -> Vec<ProvenanceCall<'_>> {
        let critique = self.critique_step(improvement.place.critique);
        critique.into_iter().chain(self.improvement_step(improvement)).collect()
    }

    fn improvement_step(&self, improvement: &ScoredImprovement<'_>) -> Option<ProvenanceCall<'_>> {
        ProvenanceCall::improvement(self.builder.thread, self.round(), improvement.place)
    }

    fn critique_step(&self, index: usize) -> Option<ProvenanceCall<'_>> {
        ProvenanceCall::critique(self.builder.thread, self.round(), index)
    }

    fn round(&self) -> usize {
        self.builder.thread.rounds.len().saturating_sub(1)
    }

    fn record(
        &self,
        kind: RecordKind,
        row: TrainingRow,
        (chosen, rejected): (f64, Option<f64>),
        steps: Vec<ProvenanceCall<'_>>,
    ) -> TrainingRecord {
        let rewards = Rewards { answer: self.selection.answer_reward, chosen, rejected };
        self.builder.record(kind, row, rewards, steps)
    }
}

/// What an improvement is called in ids.
fn place(improvement: &ScoredImprovement<'_>) -> String {
    format!("{}.{}", improvement.place.critique, improvement.place.improvement)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        method::{Base, Recipe, Templates, select_records},
        record::{SelectionResult, Thread},
    };

    /// A thread with these critiques, each with its improvements as text and reward.
    fn thread(answer: Value, critiques: &[(Option<&str>, Value)]) -> Thread {
        let call = json!({
            "model": "m", "seed": 7, "temperature": 0.7, "tries": 1, "finish_reason": "length",
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

    fn result_of(thread: &Thread) -> SelectionResult {
        select_records(thread, &Recipe::stage1(), &Templates::builtin())
    }

    #[test]
    fn a_thread_that_gains_gives_every_kind() {
        let rows =
            [(Some("a"), json!([["p", 3.0], ["q", 1.0]])), (Some("b"), json!([["r", 0.5], ["s", null]]))];
        let result = result_of(&thread(answer(Some(0.25)), &rows));
        let outcome = &result.outcome;
        assert_eq!((outcome.reason, &*outcome.records), (OutcomeReason::Selected, Base::Stage1.kinds()));
        assert_eq!((outcome.best_reward, outcome.gain, outcome.cut_off), (Some(3.0), Some(2.75), 6));
        assert!(outcome.withheld.is_empty());
        let told: Vec<_> =
            result.records.iter().map(|record| (record.id.as_str(), record.rewards, record.gain)).collect();
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
        let result = result_of(&thread(answer(Some(0.0)), &rows));
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
        assert_eq!(result.records.iter().map(steps).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_thread_without_records_says_which_rule_failed_first() {
        let with = |rows: Value| [(Some("a"), rows)];
        let cases = [
            (thread(Value::Null, &[]), OutcomeReason::NoAnswer),
            (thread(answer(None), &[(None, json!([]))]), OutcomeReason::NoCritique),
            (thread(answer(None), &with(json!([[null, null]]))), OutcomeReason::NoImprovement),
            (thread(answer(None), &with(json!([["p", 1.0]]))), OutcomeReason::NoAnswerReward),
            (thread(answer(Some(0.0)), &with(json!([["p", null]]))), OutcomeReason::NoImprovementReward),
            (thread(answer(Some(0.0)), &with(json!([["p", -1.0]]))), OutcomeReason::NoGain),
            (thread(answer(Some(0.0)), &with(json!([["p", 0.0]]))), OutcomeReason::NoGain),
        ];
        for (thread, reason) in cases {
            let result = result_of(&thread);
            assert_eq!((result.outcome.reason, result.records.len()), (reason, 0));
            assert_eq!(result.outcome.withheld.len(), Base::Stage1.kinds().len());
        }
    }

    #[test]
    fn only_the_kinds_that_the_recipe_asks_for_are_made() {
        let rows = [(Some("a"), json!([["p", 3.0], ["q", 1.0]]))];
        let recipe =
            Recipe { records: vec![RecordKind::CritiquePair, RecordKind::ResponsePair], ..Recipe::stage1() };
        let result = select_records(&thread(answer(Some(0.0)), &rows), &recipe, &Templates::builtin());
        assert_eq!(result.outcome.records, [RecordKind::ResponsePair]);
        let withheld = [(RecordKind::CritiquePair, OutcomeReason::NoCritiqueContrast)];
        assert_eq!(result.outcome.withheld, BTreeMap::from(withheld));
    }

    #[test]
    fn a_record_may_come_out_although_another_is_withheld() {
        let long = "a long text of words that do not come often ".repeat(10);
        let result = result_of(&thread(answer(Some(0.0)), &[(Some("a"), json!([[long, 1.0]]))]));
        assert_eq!(result.outcome.reason, OutcomeReason::Selected);
        assert_eq!(result.outcome.records, [RecordKind::ResponsePair]);
        assert_eq!(result.outcome.withheld.get(&RecordKind::Sft), Some(&OutcomeReason::TooLong));
        assert_eq!(
            result.outcome.withheld.get(&RecordKind::CritiquePair),
            Some(&OutcomeReason::NoCritiqueContrast)
        );
    }

    #[test]
    fn all_pairs_are_made_where_the_recipe_says_so_and_the_widest_kept() {
        let rows =
            [(Some("a"), json!([["p", 3.0], ["q", 1.0]])), (Some("b"), json!([["r", 0.5], ["s", 0.25]]))];
        let thread = thread(answer(Some(0.0)), &rows);
        let ids = |recipe: &Recipe| {
            let result = select_records(&thread, recipe, &Templates::builtin());
            let ids = result.records.iter().map(|one| one.id.trim_start_matches("stage1:1/").to_owned());
            (ids.collect::<Vec<_>>().join(" "), result.outcome.withheld)
        };
        let all = Recipe { pairs: PairChoice::All, ..Recipe::stage1() };
        let expected = "sft response_pair/0.0 response_pair/0.1 response_pair/1.0 response_pair/1.1 critique_pair/0-1 \
                        improvement_pair/0.0-0.1 improvement_pair/1.0-1.1";
        assert_eq!(ids(&all), (expected.to_owned(), BTreeMap::new()));
        let wide = Recipe { min_margin: 1.0, ..all.clone() };
        let expected = "sft response_pair/0.0 response_pair/0.1 critique_pair/0-1 improvement_pair/0.0-0.1";
        assert_eq!(ids(&wide), (expected.to_owned(), BTreeMap::new()));
        let few = Recipe { max_pairs: 2, ..all };
        let withheld = BTreeMap::from([(RecordKind::CritiquePair, OutcomeReason::OverLimit)]);
        assert_eq!(ids(&few), ("sft response_pair/0.0 improvement_pair/0.0-0.1".to_owned(), withheld));
    }
}
