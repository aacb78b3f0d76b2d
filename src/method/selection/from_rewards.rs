//! What any scored answers to one prompt give: labelled answers, and pairs for a reward model. Beyond the paper.

use super::{
    builder::{Collected, RecordBuilder, TrainingRow, named},
    candidate::{Candidate, candidates, every_pair, pair_record, reward_to_beat},
    rules::{kept, refuse},
};
use crate::{
    method::{recipe::PairChoice, redundancy::is_redundant, scored::first_best},
    record::{Message, OutcomeReason, RecordKind, Rewards, TrainingRecord},
};

/// Adds the records of these kinds that the recipe asks for.
pub(super) fn add(builder: &RecordBuilder<'_>, collected: &mut Collected<'_>) {
    let asked = |kind| builder.recipe.records.contains(&kind);
    if asked(RecordKind::Kto) {
        collected.add_all(RecordKind::Kto, labelled(builder));
    }
    if asked(RecordKind::RewardPair) {
        collected.add_all(RecordKind::RewardPair, reward_pairs(builder));
    }
}

/// Everything that was made of the drafts, labelled by whether it is better than they are. What is exactly as good
/// teaches neither, and what repeats itself is not to be learned.
fn labelled(builder: &RecordBuilder<'_>) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    let (to_beat, all) = compared(builder)?;
    let label = |candidate: &Candidate<'_>| {
        refuse(candidate.reward == to_beat, OutcomeReason::NoGain)?;
        let is_better = candidate.reward > to_beat;
        refuse(is_better && is_redundant(candidate.text), OutcomeReason::RedundantImprovement)?;
        let row = TrainingRow {
            prompt: builder.thread.prompt.clone(),
            chosen: vec![Message::assistant(candidate.whole)],
            rejected: vec![],
        };
        let rewards = Rewards { answer: to_beat, chosen: candidate.reward, rejected: None };
        let record = builder.record(RecordKind::Kto, row, rewards, candidate.steps.clone());
        Ok(named(TrainingRecord { label: Some(is_better), ..record }, &candidate.name))
    };
    let made = all.iter().filter(|candidate| !candidate.is_draft);
    kept(made.map(label), OutcomeReason::NoImprovementReward)
}

/// The best answer over the worst, or every better one over every worse one, the drafts among them.
fn reward_pairs(builder: &RecordBuilder<'_>) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    let (to_beat, all) = compared(builder)?;
    let pair = |chosen: &Candidate<'_>, rejected: &Candidate<'_>| {
        refuse(chosen.reward <= rejected.reward, OutcomeReason::NoImprovementContrast)?;
        refuse(is_redundant(chosen.text), OutcomeReason::RedundantImprovement)?;
        let steps = chosen.steps.iter().chain(&rejected.steps).copied().collect();
        Ok(pair_record(builder, RecordKind::RewardPair, to_beat, (chosen, rejected), steps))
    };
    match builder.recipe.pairs {
        PairChoice::All => every_pair(&all, OutcomeReason::NoImprovementContrast, pair),
        PairChoice::BestWorst => {
            let best = first_best(&all, |candidate| candidate.reward).ok_or(OutcomeReason::NoAnswer)?;
            let worst = first_best(&all, |candidate| -candidate.reward).ok_or(OutcomeReason::NoAnswer)?;
            Ok(vec![pair(best, worst)?])
        }
    }
}

/// The reward of the drafts, and every answer that has one; or what is missing.
fn compared<'a>(builder: &RecordBuilder<'a>) -> Result<(f64, Vec<Candidate<'a>>), OutcomeReason> {
    refuse(builder.thread.answer.is_none(), OutcomeReason::NoAnswer)?;
    let to_beat = reward_to_beat(builder.thread).ok_or(OutcomeReason::NoAnswerReward)?;
    let all = candidates(builder.thread);
    refuse(all.iter().all(|candidate| candidate.is_draft), OutcomeReason::NoImprovementReward)?;
    Ok((to_beat, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        method::{Recipe, Templates, samples::thread_of, select_records},
        record::SelectionResult,
    };

    fn result_of(rewards: &[&[f64]], recipe: Recipe) -> SelectionResult {
        let recipe = Recipe { records: vec![RecordKind::Kto, RecordKind::RewardPair], ..recipe };
        select_records(&thread_of(Some(1.0), rewards), &recipe, &Templates::builtin())
    }

    fn told(result: &SelectionResult) -> Vec<(&str, Option<bool>, f64)> {
        let records = result.records.iter();
        records.map(|one| (one.id.trim_start_matches("own:1/"), one.label, one.gain)).collect()
    }

    #[test]
    fn answers_are_labelled_by_what_they_gained() {
        let result = result_of(&[&[2.5, 1.0, 0.5], &[3.0]], Recipe::stage2());
        let expected = [
            ("kto/0.0.0", Some(true), 1.5),
            ("kto/0.0.2", Some(false), -0.5),
            ("kto/1.0.0", Some(true), 2.0),
            ("reward_pair", None, 2.0),
        ];
        assert_eq!(told(&result), expected);
        let pair = &result.records[3];
        assert_eq!(
            (&*pair.chosen, &*pair.rejected),
            (&[Message::assistant("3")][..], &[Message::assistant("0.5")][..])
        );
        assert_eq!(pair.rewards.margin(), Some(2.5));
        let steep = Recipe { min_gain: 1.0, ..Recipe::stage2() };
        let ids = |result: SelectionResult| {
            result.records.iter().map(|one| one.id.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(result_of(&[&[2.5, 1.0, 0.5]], steep)), "own:1/kto/0.0.0 own:1/reward_pair");
    }

    #[test]
    fn a_reward_model_learns_from_all_pairs_where_the_recipe_says_so() {
        let recipe = Recipe { pairs: PairChoice::All, max_pairs: 2, ..Recipe::stage1() };
        let result = result_of(&[&[2.0, 0.5]], recipe);
        let ids: Vec<_> = told(&result).iter().map(|(id, _, _)| (*id).to_owned()).collect();
        // The widest two of three; labelled answers are no pairs.
        assert_eq!(ids, ["kto/0.0.0", "kto/0.0.1", "reward_pair/0.0.0-answer", "reward_pair/0.0.0-0.0.1"]);
    }

    #[test]
    fn what_is_missing_is_told() {
        let withheld =
            |result: &SelectionResult| result.outcome.withheld.values().copied().collect::<Vec<_>>();
        let none = result_of(&[&[]], Recipe::stage1());
        assert_eq!(withheld(&none), [OutcomeReason::NoImprovementReward; 2]);
        let equal = result_of(&[&[1.0]], Recipe::stage1());
        assert_eq!(withheld(&equal), [OutcomeReason::NoGain, OutcomeReason::NoImprovementContrast]);
    }
}
