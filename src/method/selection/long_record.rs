//! The long record: one assistant turn that answers, criticises and improves itself until it finds nothing better.

use super::{
    builder::{Collected, RecordBuilder, TrainingRow},
    provenance::ProvenanceCall,
    rules::{improved, rewarded_answer},
};
use crate::{
    method::{
        final_answer::FINAL_HEADING,
        recursion::{RoundOutcome, best_of_round, outcomes},
        redundancy::is_redundant,
        template::{Headings, Templates},
    },
    record::{Message, OutcomeReason, RecordKind, Rewards, Round, TrainingRecord},
};

/// The long record of a finished recursion.
///
/// # Errors
/// Why there is none: [`OutcomeReason::NoGain`] where no round gained; [`OutcomeReason::NoEnding`] where no failed round with
/// an improvement follows the last gain, so that the text could not end by finding nothing better;
/// [`OutcomeReason::RedundantAnswer`].
pub fn long_record(
    templates: &Templates,
    prompt: &[Message],
    answer: &str,
    answer_reward: f64,
    rounds: &[Round],
) -> Result<TrainingRow, OutcomeReason> {
    let text = long_text(templates.headings(), answer, &outcomes(answer_reward, rounds))?;
    Ok(TrainingRow { prompt: prompt.to_vec(), chosen: vec![Message::assistant(text)], rejected: Vec::new() })
}

fn long_text(
    headings: Headings<'_>,
    answer: &str,
    outcomes: &[RoundOutcome<'_>],
) -> Result<String, OutcomeReason> {
    let gains: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.gained).filter_map(|gain| gain.best).collect();
    let final_answer = gains.last().ok_or(OutcomeReason::NoGain)?.text;
    let failed = outcomes.last().filter(|outcome| !outcome.gained).and_then(|outcome| outcome.best);
    let last_critique = failed.ok_or(OutcomeReason::NoEnding)?.critique;
    if is_redundant(answer) {
        return Err(OutcomeReason::RedundantAnswer);
    }
    let mut parts = vec![headings.open, headings.answer, answer, "\n\n"];
    for gain in &gains {
        parts.extend([headings.critique, gain.critique, "\n\n", headings.improve, gain.text, "\n\n"]);
    }
    parts.extend([headings.critique, last_critique, "\n\n", headings.close, FINAL_HEADING, final_answer]);
    Ok(parts.concat())
}

/// Adds the long record of a thread whose recursion has stopped.
pub(super) fn add(builder: &RecordBuilder<'_>, collected: &mut Collected<'_>) {
    collected.add(RecordKind::LongSft, record(builder));
}

fn record(builder: &RecordBuilder<'_>) -> Result<TrainingRecord, OutcomeReason> {
    let thread = builder.thread;
    let first = thread.rounds.first();
    improved(thread, first)?;
    let (answer, reward) = rewarded_answer(thread)?;
    first.and_then(best_of_round).ok_or(OutcomeReason::NoImprovementReward)?;
    let row = long_record(builder.templates, &thread.prompt, answer, reward, &thread.rounds)?;
    let outcomes = outcomes(reward, &thread.rounds);
    let gains = outcomes.iter().filter(|outcome| outcome.gained).filter_map(|outcome| outcome.best);
    let chosen = gains.map(|best| best.reward).fold(reward, f64::max);
    let rewards = Rewards { answer: reward, chosen, rejected: None };
    Ok(builder.record(RecordKind::LongSft, row, rewards, steps(builder, &outcomes)))
}

/// The calls whose texts the record holds: of a gaining round critique and improvement, of the last the critique.
fn steps<'a>(builder: &RecordBuilder<'a>, outcomes: &[RoundOutcome<'_>]) -> Vec<ProvenanceCall<'a>> {
    let mut steps = Vec::new();
    for (round, outcome) in outcomes.iter().enumerate() {
        let Some(best) = outcome.best else { continue };
        steps.extend(ProvenanceCall::critique(builder.thread, round, best.place.critique));
        if outcome.gained {
            steps.extend(ProvenanceCall::improvement(builder.thread, round, best.place));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{
        final_answer::final_answer,
        scored::{ImprovementPlace, ScoredImprovement},
    };

    fn outcome(row: Option<(&'static str, &'static str)>, gained: bool) -> RoundOutcome<'static> {
        let place = ImprovementPlace { critique: 0, improvement: 0 };
        let best = row.map(|(critique, text)| ScoredImprovement { critique, text, reward: 0.0, place });
        RoundOutcome { best, gained }
    }

    #[test]
    fn the_text_ends_by_finding_nothing_better() {
        let templates = Templates::builtin();
        let outcomes = [outcome(Some(("c1", "y1")), true), outcome(Some(("c2", "y2")), false)];
        let text = long_text(templates.headings(), "y0", &outcomes).expect("a gain and an ending");
        let mut rest = text.as_str();
        for part in ["y0\n\n", "c1\n\n", "y1\n\n", "c2\n\n", "Final answer:\n\n"] {
            (_, rest) = rest.split_once(part).expect(part);
        }
        assert_eq!((rest, final_answer(&text)), ("y1", Some("y1")));
    }

    #[test]
    fn without_gain_or_ending_there_is_none() {
        let gain = outcome(Some(("c1", "y1")), true);
        let (failed, empty) = (outcome(Some(("c2", "y2")), false), outcome(None, false));
        let cases = [
            ("y0".to_owned(), vec![], OutcomeReason::NoGain),
            ("y0".to_owned(), vec![failed.clone()], OutcomeReason::NoGain),
            ("y0".to_owned(), vec![gain.clone()], OutcomeReason::NoEnding),
            ("y0".to_owned(), vec![gain.clone(), empty], OutcomeReason::NoEnding),
            ("loop ".repeat(60), vec![gain, failed], OutcomeReason::RedundantAnswer),
        ];
        for (answer, outcomes, reason) in cases {
            assert_eq!(long_text(Templates::builtin().headings(), &answer, &outcomes), Err(reason));
        }
    }
}
