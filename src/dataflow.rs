//! The only place where topics meet stages: the whole flow in one function, with its bounds.

use crate::{
    engine::StageSpec,
    stage::{
        Context, CritiqueStage, DraftStage, ImproveStage, OnThreads, ScoreStage, SelectStage, ThreadStage,
    },
    topic::{DEAD_LETTERS, RECORDS, REJECTS},
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

/// The stages of a recipe in the order in which a thread passes them.
///
/// ```text
///   prompts ─▶ draft ─▶ drafted ─▶ critique ─▶ critiqued ─▶ improve ─▶ improved ─▶ score ─▶ scored ─▶ select ─▶ records
///   records, dead-letters, rejects ─▶ export ─▶ files
/// ```
pub fn stages(context: &Context, limits: &StageLimits) -> Vec<StageSpec> {
    vec![
        on_threads(DraftStage(context.clone()), context, limits.draft),
        on_threads(CritiqueStage(context.clone()), context, limits.critique),
        on_threads(ImproveStage(context.clone()), context, limits.improve),
        on_threads(ScoreStage(context.clone()), context, limits.score),
        on_threads(SelectStage(context.clone()), context, limits.select),
        StageSpec::sink(EXPORT, vec![RECORDS.name, DEAD_LETTERS, REJECTS.name], limits.export),
    ]
}

fn on_threads<S: ThreadStage>(stage: S, context: &Context, max_in_flight: usize) -> StageSpec {
    StageSpec::steps(OnThreads::new(stage, context.reference.clone()), max_in_flight)
}
