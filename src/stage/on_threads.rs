//! Makes an engine's stage of a step on threads: decode once, check, step, encode once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Context, MissingModel, Models, Role};
use crate::{
    engine::{DeadLetter, Stage, StepError},
    log::{Output, Record},
    method::{Recipe, recursion},
    model::Priority,
    record::{RecipeRef, Round, SCHEMA_VERSION, Thread},
    topic::Topic,
};

/// A stage whose records are threads.
pub trait ThreadStage: Send + Sync + 'static {
    /// The stage's name.
    const NAME: &'static str;
    /// What it reads.
    const INPUT: Topic<Thread>;
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
            return Err(StepError::DeadLetter(DeadLetter::new("schema", newer(thread.version))));
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
            let thread: Thread = decode(record)?;
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

/// Reads a record's payload; what cannot be read is a dead letter that names the place in the JSON.
pub(super) fn decode<T: DeserializeOwned>(record: &Record) -> Result<T, StepError> {
    let bytes = record.value.as_deref().unwrap_or_default();
    serde_json::from_slice(bytes)
        .map_err(|_| StepError::DeadLetter(DeadLetter::new("schema", locate::<T>(bytes))))
}

/// Where and why a payload does not fit its schema. Parses again, which only the broken ones cost.
pub(super) fn locate<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let misfit = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => "the payload is followed by something else".to_owned(),
        Err(error) => format!("the payload does not fit at {}: {}", error.path(), error.inner()),
    };
    match serde_json::from_slice::<Versioned>(bytes) {
        Ok(Versioned { version }) if version > SCHEMA_VERSION => format!("{}; {misfit}", newer(version)),
        _ => misfit,
    }
}

/// What every version of a payload that has versions has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn newer(version: u32) -> String {
    format!(
        "the payload does not fit at version: a thread of schema {version}; this avr knows {SCHEMA_VERSION}: send it \
         back with `avr dead-letters retry` when all workers are of the newer version"
    )
}

/// Writes a payload that grew out of one of `before` bytes. A step about doubles a thread, so that much is set
/// aside at once.
fn encode<T: Serialize>(payload: &T, before: usize) -> Result<Bytes, StepError> {
    let mut bytes = Vec::with_capacity(before * 2 + 1024);
    serde_json::to_writer(&mut bytes, payload).map_err(|error| {
        StepError::DeadLetter(DeadLetter::new("schema", format!("the result cannot be written: {error}")))
    })?;
    Ok(Bytes::from(bytes))
}

/// The text that the round after `rounds` works on.
pub(super) fn answer_after<'a>(thread: &'a Thread, rounds: &'a [Round]) -> Result<&'a str, StepError> {
    let missing = || DeadLetter::new("schema", "the thread has no answer to work on");
    recursion::answer_to_refine(thread, rounds).ok_or_else(|| StepError::DeadLetter(missing()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_does_not_fit_is_told_with_its_place() {
        let told = |bytes: &[u8]| locate::<Thread>(bytes);
        let start = r#""id":"s:1","recipe":{"name":"s","hash":"0"},"origin":{"source":"-","line":"#;
        let place = told(format!(r#"{{"version":1,{start}"one"}}}}"#).as_bytes());
        assert!(
            place.starts_with("the payload does not fit at origin.line: invalid type: string"),
            "{place}"
        );
        let newer = told(format!(r#"{{"version":2,{start}"one"}}}}"#).as_bytes());
        assert!(
            newer.starts_with("the payload does not fit at version: a thread of schema 2; this avr knows 1"),
            "{newer}"
        );
        assert!(newer.contains("does not fit at origin.line"), "{newer}");
        assert!(told(b"\xff").starts_with("the payload does not fit at"), "{}", told(b"\xff"));
    }
}
