//! The only place where topics meet stages: the whole flow in one function, with its bounds.

use crate::{
    engine::{Notes, StageSpec},
    method::way::{Next, after_draft, after_improve, after_score},
    record::Thread,
    stage::{
        Context, CritiqueStage, DraftStage, ImproveStage, OnThreads, Onward, ScoreStage, SelectStage,
        ThreadStage,
    },
    topic::{CRITIQUED, DEAD_LETTERS, DRAFTED, HANDLED, IMPROVED, RECORDS, REJECTS, SCORED, Topic},
};

/// The exporter's name.
pub const EXPORT: &str = "export";

/// Steps at once, for each stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// Threads that wait for their answer.
    pub draft: usize,
    /// Threads that wait for their critiques.
    pub critique: usize,
    /// Threads that wait for their improvements.
    pub improve: usize,
    /// Threads that wait for their rewards.
    pub score: usize,
    /// Threads that are selected from.
    pub select: usize,
    /// Harvests in one write to the files.
    pub export: usize,
}

impl Default for StageLimits {
    fn default() -> Self {
        Self { draft: 1024, critique: 1024, improve: 1024, score: 1024, select: 64, export: 512 }
    }
}

/// The stages of a recipe in the order in which a thread passes them, each with where its results go.
///
/// ```text
///   prompts ─▶ draft ─▶ drafted ─▶ critique ─▶ critiqued ─▶ improve ─▶ improved ─▶ score ─▶ scored ─▶ select ─▶ records
///                          ▲                                                          │
///                          └──────────────────── another round ◀──────────────────────┘
///   records, dead-letters, rejects, handled ─▶ export ─▶ files
/// ```
///
/// `notes` are those of the sink that the exporter has.
pub fn stages(context: &Context, limits: &StageLimits, notes: Notes) -> Vec<StageSpec> {
    vec![
        on_threads(DraftStage(context.clone()), context, limits.draft, |recipe, _| {
            waits_in(after_draft(recipe))
        }),
        on_threads(CritiqueStage(context.clone()), context, limits.critique, |_, _| CRITIQUED),
        on_threads(ImproveStage(context.clone()), context, limits.improve, |recipe, thread| {
            waits_in(after_improve(recipe, thread))
        }),
        on_threads(ScoreStage(context.clone()), context, limits.score, |recipe, thread| {
            waits_in(after_score(recipe, thread))
        }),
        on_threads(SelectStage(context.clone()), context, limits.select, |_, _| RECORDS),
        StageSpec::sink(
            EXPORT,
            vec![RECORDS.name, DEAD_LETTERS, REJECTS.name, HANDLED.name],
            limits.export,
            notes,
        ),
    ]
}

/// The topic in which a thread waits for what is to be done next.
fn waits_in(next: Next) -> Topic<Thread> {
    match next {
        Next::Critique => DRAFTED,
        Next::Score => IMPROVED,
        Next::Select => SCORED,
    }
}

fn on_threads<S: ThreadStage>(
    stage: S,
    context: &Context,
    max_in_flight: usize,
    onward: Onward<S::Out>,
) -> StageSpec {
    StageSpec::steps(OnThreads::new(stage, context, onward), max_in_flight)
}
