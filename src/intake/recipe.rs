//! One log, one definition of a recipe: what was claimed, and whether it is still so.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::index::{Index, MODELS, recipe_key};
use crate::{
    log::{Log, LogError, LogErrorKind, Record},
    record::{IndexEntry, RecipeRef},
    topic::INDEX,
};

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

/// What the index says of the recipe called `name`, if one is, and of the sort of models; nothing else of it.
///
/// # Errors
/// The log cannot be read, or what it says cannot be understood.
pub async fn claims<L: Log>(log: &L, name: Option<&str>) -> Result<Index, LogError> {
    let keys: Vec<String> = name.map(recipe_key).into_iter().chain([MODELS.to_owned()]).collect();
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
) -> Result<(), RecipeChanged> {
    match claimed {
        Some((hash, before)) if *hash != recipe.hash || before != definition => {
            Err(RecipeChanged { name: recipe.name.clone(), difference: difference(before, definition, &[]) })
        }
        _ => Ok(()),
    }
}

/// Whether no other recipe was claimed: threads of another would wait for ever, and so would everything behind them.
///
/// # Errors
/// One was.
pub(super) fn check_alone<'a>(
    mut claimed: impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<(), RecipeChanged> {
    match claimed.find(|other| *other != name) {
        None => Ok(()),
        Some(other) => {
            let difference = format!("its threads follow recipe {other}");
            Err(RecipeChanged { name: name.to_owned(), difference })
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
