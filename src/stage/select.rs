//! Select: what the rules make of a scored thread. Pure.

use super::{Context, MissingModel, Models, Role, ThreadStage};
use crate::{
    engine::StepError,
    method::{self, Recipe},
    record::{Harvest, Thread},
    topic::{SCORED, Topic},
};

/// `thread ─▶ outcome and records`.
pub struct SelectStage(Context);

impl ThreadStage for SelectStage {
    const NAME: &'static str = "select";
    const INPUT: Topic<Thread> = SCORED;
    type Out = Harvest;

    fn asks(_: &Recipe) -> Vec<Role> {
        vec![]
    }

    fn assemble(context: &Context, _: &Models) -> Result<Self, MissingModel> {
        Ok(Self(context.clone()))
    }

    async fn step(&self, thread: Thread) -> Result<Harvest, StepError> {
        Ok(method::harvest(&thread, &self.0.recipe, &self.0.templates))
    }
}
