//! Where a record came from, as one string of JSON: trainers' loaders stumble over nested fields that vary.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    method::{scored::ImprovementPlace, template::Templates},
    record::{Fusion, ModelCall, Preferred, RecipeRef, Round, SourceModels, Thread, ThreadId},
};

/// The reason that servers give for an answer that they ended at a length limit.
const CUT_OFF: &str = "length";

/// One call behind a record.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ProvenanceCall<'a> {
    step: &'static str,
    round: usize,
    critique: Option<usize>,
    improvement: Option<usize>,
    long_answer: Option<usize>,
    rating: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred: Option<Preferred>,
    model: &'a str,
    seed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<u32>,
    temperature: f64,
    tries: u32,
    finish_reason: Option<&'a str>,
}

impl<'a> ProvenanceCall<'a> {
    fn new(step: &'static str, round: usize, call: &'a ModelCall) -> Self {
        Self {
            step,
            round,
            critique: None,
            improvement: None,
            long_answer: None,
            rating: None,
            preferred: None,
            choice: Some(call.choice).filter(|choice| *choice > 0),
            model: &call.model,
            seed: call.seed,
            temperature: call.temperature,
            tries: call.tries,
            finish_reason: call.finish_reason.as_deref(),
        }
    }

    /// The draft; nothing where the answer came with the prompt.
    pub(super) fn draft(thread: &'a Thread) -> Option<Self> {
        let call = thread.answer.as_ref()?.call.as_ref()?;
        Some(Self::new("draft", 0, call))
    }

    /// A critique, by its round and its index there.
    pub(super) fn critique(thread: &'a Thread, round: usize, index: usize) -> Option<Self> {
        let critique = thread.rounds.get(round)?.critiques.get(index)?;
        let source = Self::new("critique", round, &critique.call);
        Some(Self { critique: Some(index), rating: critique.rating, ..source })
    }

    /// An improvement, by its round and its place there.
    pub(super) fn improvement(thread: &'a Thread, round: usize, place: ImprovementPlace) -> Option<Self> {
        let critique = thread.rounds.get(round)?.critiques.get(place.critique)?;
        let source = Self::new("improve", round, &critique.improvements.get(place.improvement)?.call);
        Some(Self { critique: Some(place.critique), improvement: Some(place.improvement), ..source })
    }

    /// A long answer, by its index.
    pub(super) fn long_answer(thread: &'a Thread, index: usize) -> Option<Self> {
        let source = Self::new("long_answer", 0, &thread.long_answers.get(index)?.call);
        Some(Self { long_answer: Some(index), ..source })
    }

    /// The second draft.
    pub(super) fn other_draft(thread: &'a Thread) -> Option<Self> {
        let call = thread.fusion.as_ref()?.other.call.as_ref()?;
        Some(Self::new("other_draft", 0, call))
    }

    /// A comparison of the drafts, by its index.
    pub(super) fn comparison(thread: &'a Thread, index: usize) -> Option<Self> {
        let comparison = thread.fusion.as_ref()?.comparisons.get(index)?;
        let source = Self::new("compare", 0, &comparison.call);
        Some(Self { preferred: comparison.preferred, ..source })
    }

    /// The answer made out of both drafts.
    pub(super) fn fused(thread: &'a Thread) -> Option<Self> {
        let fused = thread.fusion.as_ref()?.fused.as_ref()?;
        Some(Self::new("fuse", 0, &fused.call))
    }

    fn is_cut_off(&self) -> bool {
        self.finish_reason == Some(CUT_OFF)
    }
}

#[derive(Serialize)]
struct Provenance<'a> {
    thread: &'a ThreadId,
    recipe: &'a RecipeRef,
    templates: &'a BTreeMap<&'static str, String>,
    reward_model: Option<&'a str>,
    cut_off: bool,
    calls: &'a [ProvenanceCall<'a>],
}

/// The provenance of a record of `thread` that came of these calls.
pub(super) fn provenance(thread: &Thread, templates: &Templates, calls: &[ProvenanceCall<'_>]) -> String {
    let provenance = Provenance {
        thread: &thread.id,
        recipe: &thread.recipe,
        templates: templates.hashes(),
        reward_model: thread.reward_model.as_deref(),
        cut_off: calls.iter().any(ProvenanceCall::is_cut_off),
        calls,
    };
    serde_json::to_string(&provenance).expect("texts, numbers and lists of them always have a JSON form")
}

/// How many answers of models in a thread were cut off at a length limit.
pub fn cut_off(thread: &Thread) -> u32 {
    let cut_off = calls(thread).filter(|call| call.finish_reason.as_deref() == Some(CUT_OFF)).count();
    u32::try_from(cut_off).unwrap_or(u32::MAX)
}

/// The models that a thread owes its texts and rewards to.
pub(super) fn models(thread: &Thread) -> SourceModels {
    let answered = calls(thread).filter(|call| call.failure.is_none());
    let mut writers: Vec<String> = answered.map(|call| call.model.clone()).collect();
    writers.sort_unstable();
    writers.dedup();
    SourceModels { writers, reward: thread.reward_model.clone() }
}

/// Every call that gave a thread a text, or was to.
fn calls(thread: &Thread) -> impl Iterator<Item = &ModelCall> {
    let draft = thread.answer.iter().filter_map(|answer| answer.call.as_ref());
    let samples = thread.long_answers.iter().map(|sample| &sample.call);
    let of_fusion = thread.fusion.iter().flat_map(calls_of_fusion);
    draft.chain(thread.rounds.iter().flat_map(calls_of_round)).chain(samples).chain(of_fusion)
}

fn calls_of_fusion(fusion: &Fusion) -> impl Iterator<Item = &ModelCall> {
    let comparisons = fusion.comparisons.iter().map(|comparison| &comparison.call);
    let fused = fusion.fused.iter().map(|fused| &fused.call);
    fusion.other.call.iter().chain(comparisons).chain(fused)
}

fn calls_of_round(round: &Round) -> impl Iterator<Item = &ModelCall> {
    round.critiques.iter().flat_map(|critique| {
        let improvements = critique.improvements.iter().map(|improvement| &improvement.call);
        std::iter::once(&critique.call).chain(improvements)
    })
}
