//! Every scored answer to a thread's prompt, wherever in the thread it stands.

use super::{
    builder::{RecordBuilder, TrainingRow, named},
    provenance::ProvenanceCall,
    rules::{kept, ordered},
};
use crate::{
    method::{final_answer::final_answer, scored::scored_improvements},
    record::{OutcomeReason, RecordKind, Rewards, Thread, TrainingRecord},
};

/// One answer that has a reward.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'a> {
    /// What it is called in ids: never another's in the same thread.
    pub(super) name: String,
    /// What was scored: of a long answer the final one.
    pub(super) text: &'a str,
    /// All that the model said.
    pub(super) whole: &'a str,
    /// Finite.
    pub(super) reward: f64,
    /// Whether it is what the others are to be better than.
    pub(super) is_draft: bool,
    /// The calls that led to it from the draft.
    pub(super) steps: Vec<ProvenanceCall<'a>>,
}

/// The candidates of a thread: its drafts, then what was made of them in the order of asking. Texts that were dropped
/// from it are not among them.
pub(super) fn candidates(thread: &Thread) -> Vec<Candidate<'_>> {
    let all = drafts(thread).chain(improvements(thread)).chain(long_answers(thread)).chain(fused(thread));
    all.filter(|candidate| candidate.reward.is_finite()).collect()
}

/// The drafts that have a reward.
pub(super) fn drafts(thread: &Thread) -> impl Iterator<Item = Candidate<'_>> {
    let answer = thread.answer.iter().map(|answer| ("answer", answer, vec![]));
    let other = thread.fusion.iter().map(|fusion| {
        ("other", &fusion.other, ProvenanceCall::other_draft(thread).into_iter().collect::<Vec<_>>())
    });
    answer.chain(other).filter_map(|(name, answer, steps)| {
        Some(Candidate {
            name: name.to_owned(),
            text: &answer.text,
            whole: &answer.text,
            reward: answer.reward?,
            is_draft: true,
            steps,
        })
    })
}

/// The reward that everything is to be better than: `r(y0)`, or the higher of two drafts'.
pub(super) fn reward_to_beat(thread: &Thread) -> Option<f64> {
    drafts(thread).map(|draft| draft.reward).filter(|reward| reward.is_finite()).reduce(f64::max)
}

fn improvements(thread: &Thread) -> impl Iterator<Item = Candidate<'_>> {
    let rounds = thread.rounds.iter().enumerate();
    let places = rounds
        .flat_map(|(number, round)| scored_improvements(round).into_iter().map(move |one| (number, one)));
    places.map(|(round, one)| {
        let critique = ProvenanceCall::critique(thread, round, one.place.critique);
        let improvement = ProvenanceCall::improvement(thread, round, one.place);
        Candidate {
            name: format!("{round}.{}.{}", one.place.critique, one.place.improvement),
            text: one.text,
            whole: one.text,
            reward: one.reward,
            is_draft: false,
            steps: critique.into_iter().chain(improvement).collect(),
        }
    })
}

fn long_answers(thread: &Thread) -> impl Iterator<Item = Candidate<'_>> {
    thread.long_answers.iter().enumerate().filter_map(|(index, sample)| {
        let whole = sample.text.as_deref()?;
        Some(Candidate {
            name: index.to_string(),
            text: final_answer(whole)?,
            whole,
            reward: sample.reward?,
            is_draft: false,
            steps: ProvenanceCall::long_answer(thread, index).into_iter().collect(),
        })
    })
}

fn fused(thread: &Thread) -> Option<Candidate<'_>> {
    let fused = thread.fusion.as_ref()?.fused.as_ref()?;
    let text = fused.text.as_deref()?;
    let steps =
        [ProvenanceCall::other_draft(thread), ProvenanceCall::fused(thread)].into_iter().flatten().collect();
    Some(Candidate {
        name: "fused".to_owned(),
        text,
        whole: text,
        reward: fused.reward?,
        is_draft: false,
        steps,
    })
}

/// The record of a preference between two candidates that came of these calls.
pub(super) fn pair_record(
    builder: &RecordBuilder<'_>,
    kind: RecordKind,
    to_beat: f64,
    (chosen, rejected): (&Candidate<'_>, &Candidate<'_>),
    steps: Vec<ProvenanceCall<'_>>,
) -> TrainingRecord {
    let row = TrainingRow::pair(builder.thread.prompt.clone(), chosen.text, rejected.text);
    let rewards = Rewards { answer: to_beat, chosen: chosen.reward, rejected: Some(rejected.reward) };
    builder.record(kind, row, rewards, steps)
}

/// What `pair` makes of every candidate over every worse one, named after both; where it makes nothing, its first
/// reason, or `otherwise` where all candidates are equal.
pub(super) fn every_pair<'a>(
    all: &[Candidate<'a>],
    otherwise: OutcomeReason,
    pair: impl Fn(&Candidate<'a>, &Candidate<'a>) -> Result<TrainingRecord, OutcomeReason>,
) -> Result<Vec<TrainingRecord>, OutcomeReason> {
    let pairs = ordered(all, |candidate| candidate.reward).map(|(chosen, rejected)| {
        let name = format!("{}-{}", chosen.name, rejected.name);
        pair(chosen, rejected).map(|record| named(record, &name))
    });
    kept(pairs, otherwise)
}
