//! The sections `recipes.NAME` and `templates`.

use std::{collections::BTreeMap, path::Path};

use super::{Reader, Section};
use crate::method::{AnswerSource, Recipe, Shape, Templates};

/// Reads the recipe called `name`.
pub(super) fn read(reader: &mut Reader, name: &str) -> Recipe {
    let defaults = Recipe { name: name.to_owned(), ..Recipe::stage1() };
    let path = format!("recipes.{name}");
    let mut section = reader.section(&path);
    let shape = section.choice(
        "shape",
        &[("multi-turn", Shape::MultiTurn), ("single-turn", Shape::SingleTurn)],
        "multi-turn",
    );
    let answer = match shape {
        Shape::MultiTurn => "draft",
        Shape::SingleTurn => "given",
    };
    let answers = [("draft", AnswerSource::Draft), ("given", AnswerSource::Given)];
    let recipe = Recipe {
        shape,
        answer: section.choice("answer", &answers, answer),
        draft_temperature: section.fraction("draft_temperature", defaults.draft_temperature, 0.0..=2.0),
        temperatures: section.fractions("temperatures", &defaults.temperatures, 0.0..=2.0),
        top_p: section.fraction("top_p", defaults.top_p, 0.0..=1.0),
        critique_tries: tries(&mut section, "critique_tries", defaults.critique_tries),
        reward_tries: tries(&mut section, "reward_tries", defaults.reward_tries),
        ..defaults
    };
    for mistake in recipe.mistakes() {
        section.mistake(&mistake.key, mistake.message);
    }
    recipe
}

fn tries(section: &mut Section<'_>, name: &'static str, default: u32) -> u32 {
    u32::try_from(section.number(name, u64::from(default), 1..=100)).unwrap_or(default)
}

/// Reads the templates: the built-in ones, and in their place what lies in `templates.folder`.
pub(super) fn templates(section: &mut Section<'_>) -> Option<Templates> {
    let Some(folder) = section.optional_text("folder") else { return Some(Templates::builtin()) };
    let overrides = match read_folder(Path::new(&folder)) {
        Ok(overrides) => overrides,
        Err(error) => {
            section.mistake("folder", format!("{folder}: {error}"));
            return None;
        }
    };
    match Templates::with_overrides(overrides) {
        Ok(templates) => Some(templates),
        Err(errors) => {
            errors.iter().for_each(|error| section.mistake("folder", format!("{folder}: {error}")));
            None
        }
    }
}

/// Every file of the folder, by its name without the extension: a copy of `templates/` can be edited as it is.
fn read_folder(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(name, std::fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}
