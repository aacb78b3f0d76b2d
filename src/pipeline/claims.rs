//! What a log is claimed for: one definition of the recipe, and models of one sort. Who comes later is held to it.
//!
//! Over the embedded log the recipe's definition says whether the models are simulated. Over a cluster the models are the
//! workers', and who submits does not know them; so the first worker that asks any says it in the index, and later ones are
//! held to it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    intake::{Index, Intake, IntakeError, MODELS_KEY, PromptWriter, index_output, recipe_key},
    log::{Log, LogError, LogErrorKind, Record, StandaloneCommit, StandaloneCommitter},
    record::{IndexEntry, RecipeRef},
    topic::INDEX,
};

/// Why something cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The log was begun under another definition of the recipe.
    #[error(transparent)]
    RecipeChanged(#[from] RecipeChanged),
    /// The log was begun with models of another sort.
    #[error(transparent)]
    OtherModels(#[from] OtherModels),
    /// The intake cannot write it.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The log fails.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A log was begun under another definition of the recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log was begun with another definition of recipe {name} ({difference}). Its threads cannot be mixed with new \
     ones: choose another folder with --out (over Kafka another kafka.prefix), or restore the definition"
)]
pub struct RecipeChanged {
    /// The recipe's name.
    pub name: String,
    /// What differs.
    pub difference: String,
}

/// Says in a log, through its intake, that everything in it follows one definition of the recipe, now and later.
///
/// # Errors
/// The log was begun with another definition. It cannot be written.
pub async fn claim_recipe<L: Log, W: PromptWriter>(
    intake: &mut Intake<L, W>,
    definition: &Value,
) -> Result<(), ClaimError> {
    let recipe = intake.recipe().clone();
    loop {
        let index = intake.index();
        check_alone(index.recipes().map(|(name, _)| name), &recipe.name)?;
        check_recipe(index.recipe(&recipe.name), &recipe, definition)?;
        if index.recipe(&recipe.name).is_some() {
            return Ok(());
        }
        let entry = IndexEntry::Recipe { hash: recipe.hash.clone(), definition: definition.clone() };
        if intake.write_entry(recipe_key(&recipe.name), &entry).await? {
            return Ok(());
        }
    }
}

/// What the index says of the recipe called `name`, if one is, and of the sort of models; nothing else of it.
///
/// # Errors
/// The log cannot be read, or what it says cannot be understood.
pub async fn read<L: Log>(log: &L, name: Option<&str>) -> Result<Index, LogError> {
    let keys: Vec<String> = name.map(recipe_key).into_iter().chain([MODELS_KEY.to_owned()]).collect();
    let mut index = Index::default();
    let mut strange = None;
    let mut visit = |record: Record| {
        let Some(key) = keys.iter().find(|key| record.key.as_deref() == Some(key.as_bytes())) else { return };
        match record.value.as_deref().map(serde_json::from_slice::<IndexEntry>) {
            Some(Ok(entry)) => index.insert(key.as_bytes(), &entry),
            Some(Err(error)) => strange = Some(format!("entry {key} of topic {}: {error}", INDEX.name)),
            None => {}
        }
    };
    log.scan(INDEX.name, &mut visit).await?;
    match strange {
        Some(what) => Err(LogError::new("reading what was claimed", LogErrorKind::Corrupt(what))),
        None => Ok(index),
    }
}

/// Whether what was claimed for a recipe is what it is now; nothing claimed is no contradiction.
///
/// # Errors
/// It is another.
pub fn check_recipe(
    claimed: Option<&(String, Value)>,
    recipe: &RecipeRef,
    definition: &Value,
) -> Result<(), ClaimError> {
    match claimed {
        Some((hash, before)) if *hash != recipe.hash || before != definition => {
            Err(RecipeChanged { name: recipe.name.clone(), difference: difference(before, definition, &[]) }
                .into())
        }
        _ => Ok(()),
    }
}

/// Whether no other recipe was claimed: threads of another would wait for ever, and so would everything behind them.
///
/// # Errors
/// One was.
fn check_alone<'a>(mut claimed: impl Iterator<Item = &'a str>, name: &str) -> Result<(), ClaimError> {
    match claimed.find(|other| *other != name) {
        None => Ok(()),
        Some(other) => {
            let difference = format!("its threads follow recipe {other}");
            Err(RecipeChanged { name: name.to_owned(), difference }.into())
        }
    }
}

/// The keys in which two definitions differ, with both values; empty where none but those `passed_over` do.
pub fn difference(before: &Value, now: &Value, passed_over: &[&str]) -> String {
    let empty = Map::new();
    let (before, now) = (before.as_object().unwrap_or(&empty), now.as_object().unwrap_or(&empty));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), ToString::to_string);
    let changed = keys
        .into_iter()
        .filter(|key| !passed_over.contains(&key.as_str()) && before.get(*key) != now.get(*key));
    let lines = changed.map(|key| match (before.get(key), now.get(key)) {
        (Some(before @ Value::Object(_)), Some(now @ Value::Object(_))) => {
            format!("{key}: {}", difference(before, now, &[]))
        }
        (before, now) => format!("{key}: {} before, {} now", show(before), show(now)),
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// The name under which it is said. Of two workers that start at once the later fences the earlier, so that one of them
/// speaks first.
pub const MODELS_COMMITTER: &str = "models";

/// A log was begun with models of the other sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pipeline was begun with {} models, and this worker asks {} ones: records of both must not be mixed. Give this \
     worker a pipeline of its own (another kafka.prefix), or models of that sort (whose names begin with \"simulated-\" \
     where they are simulated)",
    sort(!.simulated), sort(*.simulated)
)]
pub struct OtherModels {
    /// Whether the worker's are simulated.
    pub simulated: bool,
}

fn sort(simulated: bool) -> &'static str {
    if simulated { "simulated" } else { "real" }
}

/// Says in a log that all models behind it are of one sort, now and later, unless it says so.
///
/// # Errors
/// It was begun with models of the other sort. The log fails.
pub async fn claim_models<L: Log>(log: &L, simulated: bool) -> Result<(), ClaimError> {
    let mut committer = StandaloneCommitter::start(log.clone(), MODELS_COMMITTER).await?;
    while !check_models(read(log, None).await?.simulated(), simulated)? {
        let output = index_output(MODELS_KEY.to_owned(), &IndexEntry::Models { simulated });
        if committer.commit(vec![output]).await? == StandaloneCommit::Committed {
            break;
        }
    }
    Ok(())
}

/// Whether it was claimed that the models are of this sort; nothing was where it is not.
///
/// # Errors
/// It was claimed that they are of the other.
pub fn check_models(claimed: Option<bool>, simulated: bool) -> Result<bool, ClaimError> {
    match claimed {
        Some(claimed) if claimed != simulated => Err(OtherModels { simulated }.into()),
        claimed => Ok(claimed.is_some()),
    }
}
