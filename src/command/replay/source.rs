//! Where the threads come from, and whether the recipe fits them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use super::ReplayError;
use crate::{
    app,
    config::Settings,
    export::OUTCOMES_PATH,
    intake::Index,
    log::kafka::KafkaOptions,
    method::Recipe,
    pipeline::claims::difference,
    record::{Extra, RecipeRef},
};

/// A state, as far as it is known without its log.
pub(super) struct ReplaySource {
    /// As it was named.
    pub(super) name: String,
    /// The same however it is named.
    pub(super) identity: String,
    /// Threads that ended in it; none where that is not known.
    pub(super) outcomes: Option<u64>,
}

impl ReplaySource {
    pub(super) fn in_folder(folder: &Path) -> Self {
        let name = folder.display().to_string();
        let identity =
            std::fs::canonicalize(folder).map_or_else(|_| name.clone(), |path| path.display().to_string());
        Self { name, identity, outcomes: count_lines(&folder.join(OUTCOMES_PATH)) }
    }

    /// A pipeline of a cluster. How many threads ended is in the folders of its workers.
    pub(super) fn in_cluster(options: &KafkaOptions) -> Self {
        let name = format!("{}* at {}", options.prefix, options.bootstrap_servers.join(","));
        Self { identity: name.clone(), name, outcomes: None }
    }
}

fn count_lines(path: &Path) -> Option<u64> {
    let lines = BufReader::new(File::open(path).ok()?).split(b'\n');
    Some(lines.map_while(Result::ok).count() as u64)
}

/// What the threads were made by.
pub(super) struct MadeBy {
    pub(super) reference: RecipeRef,
    /// Whether by simulated models; none where the state does not say.
    pub(super) simulated: Option<bool>,
}

/// The source's recipe: the one of that name, else the only one.
///
/// # Errors
/// There is no such recipe, or more than what selects differs from the one asked for.
pub(super) fn compatible(index: &Index, settings: &Settings) -> Result<MadeBy, ReplayError> {
    let wanted = &settings.recipe.name;
    let all: Vec<_> = index.recipes().collect();
    let found = all.iter().find(|(name, _)| name == wanted).or(all.first().filter(|_| all.len() == 1));
    let Some((name, (hash, definition))) = found else {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let known = if names.is_empty() { "no recipe".to_owned() } else { names.join(", ") };
        return Err(ReplayError::NoRecipe { wanted: wanted.clone(), known });
    };
    let simulated = definition["simulated"].as_bool();
    let difference = difference(definition, &app::definition(settings, simulated), &Recipe::SELECTION);
    if !difference.is_empty() {
        let allowed = Recipe::SELECTION[1..].join(", ");
        return Err(ReplayError::Incompatible { name: wanted.clone(), difference, allowed });
    }
    Ok(MadeBy {
        reference: RecipeRef { name: (*name).to_owned(), hash: hash.clone(), extra: Extra::new() },
        simulated,
    })
}
