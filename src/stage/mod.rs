//! The stages: one file each, thin joins of the method's rules and the models' answers.
//!
//! ```text
//!   draft ─▶ critique ─▶ improve ─▶ score ─▶ select
//!               ▲                     │
//!               └─── another round ◀──┘
//! ```
//!
//! A stage takes a thread, makes all the model calls it needs for it at once, and hands the grown thread on. It
//! decides nothing: what to ask and what comes next is in [`method`](crate::method), how to ask in [`model`](crate::model), and when in
//! [`engine`](crate::engine).

mod calls;
mod critique;
mod draft;
mod improve;
mod long_answers;
mod models;
mod on_threads;
mod score;
mod select;

use std::sync::Arc;

pub use critique::CritiqueStage;
pub use draft::DraftStage;
pub use improve::ImproveStage;
pub use models::{MissingModel, Models, Role};
pub use on_threads::{OnThreads, Onward, ThreadStage};
pub use score::ScoreStage;
pub use select::SelectStage;

use crate::{
    method::{Recipe, Templates},
    record::RecipeRef,
};

/// What the stages share.
#[derive(Clone)]
pub struct Context {
    /// What to make of a thread.
    pub recipe: Arc<Recipe>,
    /// The recipe's name and hash: threads of another are left waiting.
    pub reference: RecipeRef,
    /// Instruction texts.
    pub templates: Arc<Templates>,
}
