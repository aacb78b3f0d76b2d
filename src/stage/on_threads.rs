//! Makes an engine's stage of a step on threads: decode once, check, step, encode once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::{Context, MissingModel, Models, Role};
use crate::{
    dead_letter::DeadLetterCause,
    engine::{Stage, StepError},
    log::{Output, Record},
    method::{Recipe, recursion},
    model::Priority,
    record::{RecipeRef, Round, SCHEMA_VERSION, Thread, newer_schema, read_payload},
    topic::Topic,
};

/// A stage whose records are threads.
pub trait ThreadStage: Send + Sync + 'static {
    /// The stage's name.
    const NAME: &'static str;
    /// How urgent its calls are, among all that wait for a server: those of later stages go first.
    const PRIORITY: Priority = Priority(0);
    /// The payload that it writes.
    type Out: Serialize + 'static;

    /// Whether threads of a recipe pass it at all.
    fn is_passed(_recipe: &Recipe) -> bool {
        true
    }

    /// The models that it asks for threads of a recipe that passes it.
    fn asks(recipe: &Recipe) -> Vec<Role>;

    /// The stage with what it needs of the models.
    ///
    /// # Errors
    /// A model that it asks is not there.
    fn assemble(context: &Context, models: &Models) -> Result<Self, MissingModel>
    where
        Self: Sized;

    /// Makes one step.
    fn step(&self, thread: Thread) -> impl Future<Output = Result<Self::Out, StepError>> + Send;
}

/// Where a stage's results go, as the recipe and the result itself decide.
pub type Onward<P> = fn(&Recipe, &P) -> Topic<P>;

/// A [`ThreadStage`] for threads of one recipe, as the engine runs it.
pub struct OnThreads<S: ThreadStage> {
    stage: S,
    recipe: Arc<Recipe>,
    reference: RecipeRef,
    onward: Onward<S::Out>,
}

impl<S: ThreadStage> OnThreads<S> {
    /// Runs `stage` for threads of the context's recipe, and sends what it gives `onward`; threads of other recipes
    /// are left waiting.
    pub fn new(stage: S, context: &Context, onward: Onward<S::Out>) -> Self {
        Self { stage, recipe: Arc::clone(&context.recipe), reference: context.reference.clone(), onward }
    }

    fn check(&self, thread: &Thread) -> Result<(), StepError> {
        if thread.version > SCHEMA_VERSION {
            return Err(StepError::DeadLetter(DeadLetterCause::new("schema", newer_schema(thread.version))));
        }
        if !thread.recipe.is_same(&self.reference) {
            return Err(StepError::Parked(format!(
                "it follows recipe {} ({}), this process has {} ({})",
                thread.recipe.name, thread.recipe.hash, self.reference.name, self.reference.hash
            )));
        }
        Ok(())
    }
}

impl<S: ThreadStage> Stage for OnThreads<S> {
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, StepError>> {
        Box::pin(async {
            let thread = read_payload::<Thread>(record.value.as_deref().unwrap_or_default());
            let thread =
                thread.map_err(|misfit| StepError::DeadLetter(DeadLetterCause::new("schema", misfit)))?;
            self.check(&thread)?;
            let out = self.stage.step(thread).await?;
            Ok(vec![Output {
                topic: (self.onward)(&self.recipe, &out).name,
                key: record.key.clone(),
                value: Some(encode(&out, record.size())?),
                headers: record.headers.clone(),
            }])
        })
    }
}

/// Writes a payload that grew out of one of `before` bytes. A step about doubles a thread, so that much is set
/// aside at once.
fn encode<T: Serialize>(payload: &T, before: usize) -> Result<Bytes, StepError> {
    let mut bytes = Vec::with_capacity(before * 2 + 1024);
    serde_json::to_writer(&mut bytes, payload).map_err(|error| {
        StepError::DeadLetter(DeadLetterCause::new(
            "schema",
            format!("the result cannot be written: {error}"),
        ))
    })?;
    Ok(Bytes::from(bytes))
}

/// The text that the round after `rounds` works on.
pub(super) fn answer_after<'a>(thread: &'a Thread, rounds: &'a [Round]) -> Result<&'a str, StepError> {
    let missing = || DeadLetterCause::new("schema", "the thread has no answer to work on");
    recursion::answer_to_refine(thread, rounds).ok_or_else(|| StepError::DeadLetter(missing()))
}
