//! Select: what the rules make of a scored thread. Pure.

use super::{Context, ThreadStage};
use crate::{
    engine::Failure,
    method,
    record::{Harvest, Thread},
    topic::{SCORED, Topic},
};

/// `thread ─▶ outcome and records`.
pub struct SelectStage(pub Context);

impl ThreadStage for SelectStage {
    const NAME: &'static str = "select";
    const INPUT: Topic<Thread> = SCORED;
    type Out = Harvest;

    async fn step(&self, thread: Thread) -> Result<Harvest, Failure> {
        Ok(method::harvest(&thread, &self.0.recipe, &self.0.templates))
    }
}
