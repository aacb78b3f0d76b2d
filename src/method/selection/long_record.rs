//! Several rounds: the long record.

use super::{Made, Maker, improved, rewarded_answer};
use crate::{
    method::{
        long_record::long_record,
        provenance::Source,
        recursion::{Outcome, best_of_round, outcomes},
    },
    record::{OutcomeReason, RecordKind, Rewards, TrainingRecord},
};

/// The long record of a thread whose recursion has stopped.
pub(super) fn make(maker: &Maker<'_>) -> Made {
    let mut made = Made::default();
    made.add(maker.recipe, RecordKind::LongSft, record(maker));
    made
}

fn record(maker: &Maker<'_>) -> Result<TrainingRecord, OutcomeReason> {
    let thread = maker.thread;
    let first = thread.rounds.first();
    improved(thread, first)?;
    let (answer, reward) = rewarded_answer(thread)?;
    first.and_then(best_of_round).ok_or(OutcomeReason::NoImprovementReward)?;
    let row = long_record(maker.templates, &thread.prompt, answer, reward, &thread.rounds)?;
    let outcomes = outcomes(reward, &thread.rounds);
    let gains = outcomes.iter().filter(|outcome| outcome.gained).filter_map(|outcome| outcome.best);
    let chosen = gains.map(|best| best.reward).fold(reward, f64::max);
    let rewards = Rewards { answer: reward, chosen, rejected: None };
    Ok(maker.record(RecordKind::LongSft, row, rewards, steps(maker, &outcomes)))
}

/// The calls whose texts the record holds: of a gaining round critique and improvement, of the last the critique.
fn steps<'a>(maker: &Maker<'a>, outcomes: &[Outcome<'_>]) -> Vec<Source<'a>> {
    let mut steps = Vec::new();
    for (round, outcome) in outcomes.iter().enumerate() {
        let Some(best) = outcome.best else { continue };
        steps.extend(Source::critique(maker.thread, round, best.place.critique));
        if outcome.gained {
            steps.extend(Source::improvement(maker.thread, round, best.place));
        }
    }
    steps
}
