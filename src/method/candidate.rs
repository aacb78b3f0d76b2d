//! Every scored answer to a thread's prompt, wherever in the thread it stands.

use super::{final_answer::final_answer, provenance::Source, select::scored};
use crate::record::Thread;

/// One answer that has a reward.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    /// What it is called in ids: never another's in the same thread.
    pub(crate) name: String,
    /// What was scored: of a long answer the final one.
    pub(crate) text: &'a str,
    /// All that the model said.
    pub(crate) whole: &'a str,
    /// Finite.
    pub(crate) reward: f64,
    /// Whether it is what the others are to be better than.
    pub(crate) is_draft: bool,
    /// The calls that led to it from the draft.
    pub(crate) steps: Vec<Source<'a>>,
}

/// The candidates of a thread: its drafts, then what was made of them in the order of asking. Texts that were dropped
/// from it are not among them.
pub(crate) fn candidates(thread: &Thread) -> Vec<Candidate<'_>> {
    let all = drafts(thread).chain(improvements(thread)).chain(long_answers(thread)).chain(fused(thread));
    all.filter(|candidate| candidate.reward.is_finite()).collect()
}

/// The drafts that have a reward.
pub(crate) fn drafts(thread: &Thread) -> impl Iterator<Item = Candidate<'_>> {
    let answer = thread.answer.iter().map(|answer| ("answer", answer, vec![]));
    let other = thread
        .fusion
        .iter()
        .map(|fusion| ("other", &fusion.other, Source::other_draft(thread).into_iter().collect::<Vec<_>>()));
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

fn improvements(thread: &Thread) -> impl Iterator<Item = Candidate<'_>> {
    let rounds = thread.rounds.iter().enumerate();
    let places = rounds.flat_map(|(number, round)| scored(round).into_iter().map(move |one| (number, one)));
    places.map(|(round, one)| {
        let critique = Source::critique(thread, round, one.place.critique);
        let improvement = Source::improvement(thread, round, one.place);
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
            steps: Source::long_answer(thread, index).into_iter().collect(),
        })
    })
}

fn fused(thread: &Thread) -> Option<Candidate<'_>> {
    let fused = thread.fusion.as_ref()?.fused.as_ref()?;
    let text = fused.text.as_deref()?;
    let steps = [Source::other_draft(thread), Source::fused(thread)].into_iter().flatten().collect();
    Some(Candidate {
        name: "fused".to_owned(),
        text,
        whole: text,
        reward: fused.reward?,
        is_draft: false,
        steps,
    })
}
