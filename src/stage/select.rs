//! Select: what the rules make of a scored thread. Pure.

use super::{Context, MissingModel, Models, Role, ThreadStage};
use crate::{
    engine::StepError,
    method::{self, Recipe},
    record::{SelectionResult, Thread},
};

/// `thread ─▶ outcome and records`.
pub struct SelectStage(Context);

impl ThreadStage for SelectStage {
    const NAME: &'static str = "select";
    type Out = SelectionResult;

    fn asks(_: &Recipe) -> Vec<Role> {
        vec![]
    }

    fn assemble(context: &Context, _: &Models) -> Result<Self, MissingModel> {
        Ok(Self(context.clone()))
    }

    async fn step(&self, thread: Thread) -> Result<SelectionResult, StepError> {
        Ok(method::select_records(&thread, &self.0.recipe, &self.0.templates))
    }
}
