//! Two drafts and the answer made out of both: a pair of it and a draft, where it is better than both.

use super::{
    builder::{Collected, RecordBuilder},
    candidate::{Candidate, candidates, every_pair, pair_record, reward_to_beat},
    provenance::ProvenanceCall,
    rules::refuse,
};
use crate::{
    method::{pairwise::compared, recipe::PairChoice, redundancy::is_redundant, scored::first_best},
    record::{Improvement, OutcomeReason, RecordKind, Thread, TrainingRecord},
};

/// Adds the pairs of a thread's fusion.
pub(super) fn add(builder: &RecordBuilder<'_>, collected: &mut Collected<'_>) {
    collected.add_all(RecordKind::FusionPair, records(builder));
}

/// The fusion over the worse draft; with all pairs over each of them, and the better draft over the worse.
fn records(builder: &RecordBuilder<'_>) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    rewarded_fusion(builder)?;
    let to_beat = reward_to_beat(builder.thread).ok_or(OutcomeReason::NoAnswerReward)?;
    let all = candidates(builder.thread);
    let [drafts @ .., fused] = &all[..] else { return Err(OutcomeReason::NoImprovementReward) };
    refuse(fused.reward <= to_beat, OutcomeReason::NoGain)?;
    refuse(is_redundant(fused.text), OutcomeReason::RedundantImprovement)?;
    let pair = |chosen: &Candidate<'_>, rejected: &Candidate<'_>| {
        refuse(is_redundant(rejected.text) || is_redundant(chosen.text), OutcomeReason::RedundantAnswer)?;
        let (kind, sides) = (RecordKind::FusionPair, (chosen, rejected));
        Ok(pair_record(builder, kind, to_beat, sides, steps(builder.thread)))
    };
    match builder.recipe.pairs {
        PairChoice::All => every_pair(&all, OutcomeReason::NoGain, pair),
        PairChoice::BestWorst => {
            let worse = first_best(drafts, |draft| -draft.reward).ok_or(OutcomeReason::NoAnswerReward)?;
            Ok(vec![pair(fused, worse)?])
        }
    }
}

/// Whether there is a fusion with rewards to compare, or what is missing of it.
fn rewarded_fusion(builder: &RecordBuilder<'_>) -> Result<(), OutcomeReason> {
    let (answer, fusion) =
        builder.thread.answer.as_ref().zip(builder.thread.fusion.as_ref()).ok_or(OutcomeReason::NoAnswer)?;
    compared(&answer.text, fusion, builder.recipe.verdicts_must_agree)?;
    let is_finite = |reward: Option<f64>| reward.is_some_and(f64::is_finite);
    let Some(Improvement { text: Some(_), reward, .. }) = fusion.fused else {
        return Err(OutcomeReason::NoImprovement);
    };
    refuse(!is_finite(answer.reward) || !is_finite(fusion.other.reward), OutcomeReason::NoAnswerReward)?;
    refuse(!is_finite(reward), OutcomeReason::NoImprovementReward)
}

/// The calls behind a fusion, the first draft's aside.
fn steps(thread: &Thread) -> Vec<ProvenanceCall<'_>> {
    let comparisons = (0..2).map(|index| ProvenanceCall::comparison(thread, index));
    let steps = [ProvenanceCall::other_draft(thread)]
        .into_iter()
        .chain(comparisons)
        .chain([ProvenanceCall::fused(thread)]);
    steps.flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        method::{
            Recipe, Templates,
            samples::{call, thread_of},
            select_records,
        },
        record::{Message, Rewards, SelectionResult},
    };

    /// A thread whose drafts `y0` and `other` were fused into `both`, with these rewards.
    fn fused(answer: Option<f64>, other: Option<f64>, both: Option<f64>) -> Thread {
        let comparison = |preferred| json!({"text": "so [[A]]", "preferred": preferred, "call": call()});
        let fusion = json!({
            "other": {"text": "other", "reward": other, "call": call()},
            "comparisons": [comparison("first"), comparison("second")],
            "fused": {"text": "both", "reward": both, "call": call()},
        });
        Thread { fusion: serde_json::from_value(fusion).expect("a fusion"), ..thread_of(answer, &[]) }
    }

    fn result_of(thread: &Thread) -> SelectionResult {
        select_records(thread, &Recipe::fusion(), &Templates::builtin())
    }

    #[test]
    fn what_gains_over_both_stands_over_the_worse() {
        let result = result_of(&fused(Some(1.0), Some(2.0), Some(3.5)));
        let record = &result.records[0];
        assert_eq!((record.id.as_str(), result.records.len()), ("own:1/fusion_pair", 1));
        assert_eq!(
            (&*record.chosen, &*record.rejected),
            (&[Message::assistant("both")][..], &[Message::assistant("y0")][..])
        );
        assert_eq!(record.rewards, Rewards { answer: 2.0, chosen: 3.5, rejected: Some(1.0) });
        assert_eq!((record.gain, result.outcome.gain), (1.5, Some(1.5)));
        let provenance: Value = serde_json::from_str(&record.provenance).expect("JSON");
        let steps: Vec<_> =
            provenance["calls"].as_array().expect("calls").iter().map(|call| &call["step"]).collect();
        assert_eq!(steps, ["other_draft", "compare", "compare", "fuse"]);
        assert_eq!(provenance["calls"][2]["preferred"], "second");
        assert_eq!(result.models.writers, ["m"]);
    }

    #[test]
    fn all_pairs_hold_the_drafts_against_each_other_too() {
        let recipe = Recipe { pairs: PairChoice::All, ..Recipe::fusion() };
        let result = select_records(&fused(Some(1.0), Some(2.0), Some(3.5)), &recipe, &Templates::builtin());
        let ids: Vec<_> = result.records.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(
            ids,
            ["other-answer", "fused-answer", "fused-other"].map(|name| format!("own:1/fusion_pair/{name}"))
        );
    }

    #[test]
    fn without_a_record_the_outcome_says_why() {
        let with = |change: fn(&mut Thread)| {
            let mut thread = fused(Some(1.0), Some(2.0), Some(3.0));
            change(&mut thread);
            result_of(&thread).outcome.reason
        };
        let cases = [
            (with(|thread| thread.fusion = None), OutcomeReason::NoAnswer),
            (with(|thread| fusion(thread).comparisons.truncate(1)), OutcomeReason::NoVerdict),
            (with(|thread| fusion(thread).comparisons.reverse()), OutcomeReason::Selected),
            (
                with(|thread| {
                    fusion(thread).comparisons[1].preferred = fusion(thread).comparisons[0].preferred
                }),
                OutcomeReason::VerdictsDisagree,
            ),
            (with(|thread| fusion(thread).fused = None), OutcomeReason::NoImprovement),
            (with(|thread| fusion(thread).other.reward = None), OutcomeReason::NoAnswerReward),
            (with(|thread| fused_of(thread).reward = None), OutcomeReason::NoImprovementReward),
            (with(|thread| fused_of(thread).reward = Some(2.0)), OutcomeReason::NoGain),
            (
                with(|thread| fused_of(thread).text = Some("loop ".repeat(60))),
                OutcomeReason::RedundantImprovement,
            ),
            (
                with(|thread| thread.answer.as_mut().expect("one").text = "loop ".repeat(60)),
                OutcomeReason::RedundantAnswer,
            ),
        ];
        for (index, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {index}");
        }
    }

    fn fusion(thread: &mut Thread) -> &mut crate::record::Fusion {
        thread.fusion.as_mut().expect("a fusion")
    }

    fn fused_of(thread: &mut Thread) -> &mut Improvement {
        fusion(thread).fused.as_mut().expect("fused")
    }
}
