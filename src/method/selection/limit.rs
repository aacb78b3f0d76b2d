//! At most so many pairs of one prompt.

use super::Made;
use crate::record::{OutcomeReason, RecordKind, TrainingRecord};

/// Of the preference pairs keeps the `most` of the largest margins, of equal margins the first; of pairs for a reward
/// model as many again, since these are trained on by themselves. 0 keeps all.
pub(super) fn keep_widest(made: &mut Made, most: usize) {
    if most == 0 {
        return;
    }
    let (of_rewards, of_preferences): (Vec<_>, Vec<_>) =
        pairs(&made.records).partition(|(index, _)| made.records[*index].kind == RecordKind::RewardPair);
    let dropped: Vec<usize> =
        [of_rewards, of_preferences].into_iter().flat_map(|pairs| beyond(pairs, most)).collect();
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for (index, record) in made.records.drain(..).enumerate() {
        if dropped.contains(&index) { lost.push(record.kind) } else { kept.push(record) }
    }
    for kind in lost.into_iter().filter(|kind| !kept.iter().any(|record| record.kind == *kind)) {
        made.withheld.insert(kind, OutcomeReason::OverLimit);
    }
    made.records = kept;
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
