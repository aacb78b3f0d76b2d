//! Thresholds beyond the paper, each off unless the recipe sets it, and the most pairs of one prompt.

use std::collections::BTreeMap;

use crate::{
    method::Recipe,
    record::{Message, OutcomeReason, RecordKind, TrainingRecord},
};

/// Holds a record against the recipe's thresholds.
///
/// # Errors
/// [`OutcomeReason::SmallGain`], [`OutcomeReason::SmallMargin`], [`OutcomeReason::TooLong`], in this order.
pub(super) fn check(recipe: &Recipe, record: &TrainingRecord) -> Result<(), OutcomeReason> {
    let margin = record.rewards.margin();
    if recipe.min_gain > 0.0 && weighed_gain(record) < recipe.min_gain {
        Err(OutcomeReason::SmallGain)
    } else if recipe.min_margin > 0.0 && margin.is_some_and(|margin| margin < recipe.min_margin) {
        Err(OutcomeReason::SmallMargin)
    } else if recipe.length_control && margin.is_some() && chars(&record.chosen) > chars(&record.rejected) {
        Err(OutcomeReason::TooLong)
    } else {
        Ok(())
    }
}

/// The gain that counts. A labelled answer may be as much worse as it may be better; a reward model learns from any two
/// answers.
fn weighed_gain(record: &TrainingRecord) -> f64 {
    match record.kind {
        RecordKind::Kto => record.gain.abs(),
        RecordKind::RewardPair => f64::INFINITY,
        _ => record.gain,
    }
}

/// Length of a side, in Unicode code points.
fn chars(turns: &[Message]) -> usize {
    turns.iter().map(|turn| turn.content.chars().count()).sum()
}

/// Of the preference pairs keeps the `most` of the largest margins, of equal margins the first; of pairs for a reward
/// model as many again, since these are trained on by themselves. 0 keeps all.
pub(super) fn keep_widest(
    records: &mut Vec<TrainingRecord>,
    withheld: &mut BTreeMap<RecordKind, OutcomeReason>,
    most: usize,
) {
    if most == 0 {
        return;
    }
    let (of_rewards, of_preferences): (Vec<_>, Vec<_>) =
        pairs(records).partition(|(index, _)| records[*index].kind == RecordKind::RewardPair);
    let dropped: Vec<usize> =
        [of_rewards, of_preferences].into_iter().flat_map(|pairs| beyond(pairs, most)).collect();
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for (index, record) in records.drain(..).enumerate() {
        if dropped.contains(&index) { lost.push(record.kind) } else { kept.push(record) }
    }
    for kind in lost.into_iter().filter(|kind| !kept.iter().any(|record| record.kind == *kind)) {
        withheld.insert(kind, OutcomeReason::OverLimit);
    }
    *records = kept;
}

/// The place and the margin of each pair.
fn pairs(records: &[TrainingRecord]) -> impl Iterator<Item = (usize, f64)> {
    let margins = records.iter().enumerate().filter(|(_, record)| record.kind.is_pair());
    margins.filter_map(|(index, record)| Some((index, record.rewards.margin()?)))
}

/// The places of the pairs that are not among the `most` widest.
fn beyond(mut pairs: Vec<(usize, f64)>, most: usize) -> impl Iterator<Item = usize> {
    // Stable: of equal margins the first stays first.
    pairs.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    pairs.into_iter().skip(most).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Templates, samples::thread_of, select_records};

    /// What becomes of the response pair: `y0` with reward 0 against an improvement with reward 10, both two long.
    fn response_pair(recipe: Recipe) -> Option<OutcomeReason> {
        let result = select_records(&thread_of(Some(0.0), &[&[10.0]]), &recipe, &Templates::builtin());
        result.outcome.withheld.get(&RecordKind::ResponsePair).copied()
    }

    #[test]
    fn each_threshold_withholds_what_is_below_it() {
        let cases = [
            (Recipe::stage1(), None),
            (Recipe { min_gain: 10.0, min_margin: 10.0, length_control: true, ..Recipe::stage1() }, None),
            (Recipe { min_gain: 10.5, ..Recipe::stage1() }, Some(OutcomeReason::SmallGain)),
            (Recipe { min_margin: 10.5, ..Recipe::stage1() }, Some(OutcomeReason::SmallMargin)),
        ];
        for (recipe, withheld) in cases {
            assert_eq!(response_pair(recipe.clone()), withheld, "{recipe:?}");
        }
        let longer = thread_of(Some(0.0), &[&[100.0]]);
        let recipe = Recipe { length_control: true, ..Recipe::stage1() };
        let outcome = select_records(&longer, &recipe, &Templates::builtin()).outcome;
        assert_eq!(outcome.withheld.get(&RecordKind::ResponsePair), Some(&OutcomeReason::TooLong));
    }
}
