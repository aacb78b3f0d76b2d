//! The sections `recipes.NAME` and `templates`.

use std::{collections::BTreeMap, path::Path};

use strum::VariantNames as _;

use super::{Reader, Section, reader::nearest};
use crate::{
    method::{AnswerSource, Base, PairChoice, Recipe, Shape, Templates},
    record::RecordKind,
};

/// Far above what reward models give.
const MOST_REWARD: f64 = 1e9;

/// Reads every recipe that is defined, so that each is checked, and gives the one that the key `recipe` names.
pub(super) fn read(reader: &mut Reader) -> Recipe {
    let wanted = reader.section("").text("recipe", Base::Stage1.as_str());
    let own = reader.tables("recipes");
    let mut known: Vec<&str> = Base::VARIANTS.to_vec();
    known.extend(own.iter().map(String::as_str).filter(|name| name.parse::<Base>().is_err()));
    let followed = if known.contains(&wanted.as_str()) {
        wanted.as_str()
    } else {
        let message = unknown(&wanted, &known);
        reader.section("").mistake("recipe", message);
        Base::Stage1.as_str()
    };
    for name in own.iter().filter(|name| *name != followed) {
        read_one(reader, name);
    }
    let recipe = read_one(reader, followed);
    plain(&mut reader.section("evaluation"), recipe)
}

/// The plain forms of an evaluation, to compare the long one with: one answer, or one refined without a reward.
fn plain(section: &mut Section<'_>, recipe: Recipe) -> Recipe {
    let is_plain = section.flag("plain", false);
    let rounds = small(section, "rounds", 0);
    if !is_plain && rounds == 0 {
        return recipe;
    }
    if recipe.base != Base::Evaluation {
        let name = if is_plain { "plain" } else { "rounds" };
        section.mistake(name, format!("is for evaluation, and the recipe is {}", recipe.name));
    }
    Recipe { long_answers: 0, rounds, ..recipe }
}

fn unknown(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("{name:?} is not known; did you mean \"{near}\"?"),
        None => {
            format!("{name:?} is not known; one of {}, or define it as [recipes.{name}]", known.join(", "))
        }
    }
}

/// Reads the recipe called `name`: what it does not say is as in the paper's recipe of its base.
fn read_one(reader: &mut Reader, name: &str) -> Recipe {
    let mut section = reader.section(&format!("recipes.{name}"));
    let base = base(&mut section, name);
    let defaults = Recipe { name: name.to_owned(), ..Recipe::of(base) };
    let shape = section.choice("shape", Shape::MultiTurn);
    let recipe = Recipe {
        shape,
        answer: answer(&mut section, shape, &defaults),
        draft_temperature: section.fraction("draft_temperature", defaults.draft_temperature, 0.0..=2.0),
        temperatures: section.fractions("temperatures", &defaults.temperatures, 0.0..=2.0),
        top_p: section.fraction("top_p", defaults.top_p, 0.0..=1.0),
        critique_tries: small(&mut section, "critique_tries", defaults.critique_tries),
        reward_tries: small(&mut section, "reward_tries", defaults.reward_tries),
        rounds: small(&mut section, "rounds", defaults.rounds),
        prune_above_bytes: section.number("prune_above_bytes", defaults.prune_above_bytes, 0..=1 << 30),
        long_answers: small(&mut section, "long_answers", defaults.long_answers),
        long_answer_tries: small(&mut section, "long_answer_tries", defaults.long_answer_tries),
        verdicts_must_agree: section.flag("verdicts_must_agree", defaults.verdicts_must_agree),
        min_gain: section.fraction("min_gain", defaults.min_gain, 0.0..=MOST_REWARD),
        min_margin: section.fraction("min_margin", defaults.min_margin, 0.0..=MOST_REWARD),
        length_control: section.flag("length_control", defaults.length_control),
        pairs: section.choice("pairs", PairChoice::BestWorst),
        max_pairs: small(&mut section, "max_pairs", defaults.max_pairs),
        records: records(&mut section, &defaults),
        ..defaults
    };
    for error in recipe.errors() {
        section.mistake(&error.key, error.message);
    }
    recipe
}

/// A recipe with the name of a base is the paper's, changed where it says so; any other must name its base.
fn base(section: &mut Section<'_>, name: &str) -> Base {
    let Ok(own) = name.parse() else {
        if !section.has("base") {
            section.mistake("base", format!("is missing; one of {}", quoted(Base::all().map(Base::as_str))));
        }
        return section.choice("base", Base::Stage1);
    };
    let base = section.choice("base", own);
    if base != own {
        section.mistake(
            "base",
            format!("must be \"{name}\" in the recipe of that name; give yours another name"),
        );
    }
    own
}

fn answer(section: &mut Section<'_>, shape: Shape, defaults: &Recipe) -> AnswerSource {
    let given = shape == Shape::SingleTurn || defaults.answer == AnswerSource::Given;
    section.choice("answer", if given { AnswerSource::Given } else { AnswerSource::Draft })
}

fn records(section: &mut Section<'_>, defaults: &Recipe) -> Vec<RecordKind> {
    let names = |kinds: &[RecordKind]| quoted(kinds.iter().map(|kind| kind.as_str()));
    if !section.has("records") {
        section.know("records");
        section.note_default("records", &format!("[{}]", names(&defaults.records)));
        return defaults.records.clone();
    }
    let mut kinds = Vec::new();
    for name in section.texts("records") {
        match name.parse() {
            Ok(kind) => kinds.push(kind),
            Err(_) => {
                let possible = names(&defaults.base.possible_kinds());
                section.mistake("records", format!("{name:?} is not known; one of {possible}"));
            }
        }
    }
    // In the order of the method, and each once: the same list, however it is written, is the same recipe.
    RecordKind::all().filter(|kind| kinds.contains(kind)).collect()
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn small(section: &mut Section<'_>, name: &'static str, default: u32) -> u32 {
    u32::try_from(section.number(name, u64::from(default), 0..=100)).unwrap_or(default)
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

/// Every file of the folder, by its name without the extension: a copy of `templates/` can be edited as it is. What
/// editors and systems leave beside a file is passed over.
fn read_folder(folder: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_left_over = is_left_over(&entry.file_name().to_string_lossy());
        if entry.file_type()?.is_file() && !is_left_over {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            texts.insert(name, std::fs::read_to_string(path)?);
        }
    }
    Ok(texts)
}

/// Hidden files, and backups as editors name them.
fn is_left_over(name: &str) -> bool {
    const ENDS: [&str; 7] = ["~", "#", ".bak", ".orig", ".rej", ".swp", ".tmp"];
    name.starts_with(['.', '#']) || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use config::{Config, File, FileFormat};

    use super::*;

    fn read_from(toml: &str) -> Result<Recipe, String> {
        let config = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
        let mut reader = Reader::new(config.expect("valid TOML").cache);
        let recipe = read(&mut reader);
        let told = |mistakes: Vec<super::super::Mistake>| {
            mistakes.iter().map(|one| format!("{}: {}", one.key, one.message)).collect::<Vec<_>>().join("\n")
        };
        reader.finish().map(|_| recipe).map_err(told)
    }

    #[test]
    fn an_own_recipe_is_its_base_with_changes() {
        let toml = "recipe = \"deep\"\n[recipes.deep]\nbase = \"stage2\"\nrounds = 9\nanswer = \"draft\"\n";
        let deep =
            Recipe { name: "deep".to_owned(), rounds: 9, answer: AnswerSource::Draft, ..Recipe::stage2() };
        assert_eq!(read_from(toml), Ok(deep));
        for base in Base::all() {
            assert_eq!(read_from(&format!("recipe = \"{}\"", base.as_str())), Ok(Recipe::of(base)));
        }
    }

    #[test]
    fn the_order_of_records_makes_no_other_recipe() {
        let toml = "[recipes.stage1]\nrecords = [\"response_pair\", \"sft\"]\n";
        let records = read_from(toml).map(|recipe| recipe.records);
        assert_eq!(records, Ok(vec![RecordKind::Sft, RecordKind::ResponsePair]));
    }

    #[test]
    fn an_evaluation_has_plain_forms() {
        let plain = Recipe { long_answers: 0, ..Recipe::evaluation() };
        let evaluation = "recipe = \"evaluation\"\n[evaluation]\n";
        assert_eq!(read_from(&format!("{evaluation}plain = true")), Ok(plain.clone()));
        let refined = Recipe { rounds: 3, ..plain };
        assert_eq!(read_from(&format!("{evaluation}rounds = 3")), Ok(refined));
        let other = read_from("[evaluation]\nrounds = 3").expect_err("another recipe");
        assert_eq!(other, "evaluation.rounds: is for evaluation, and the recipe is stage1");
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let cases = [
            ("recipe = \"stage3\"", "recipe: \"stage3\" is not known; did you mean \"stage1\"?"),
            (
                "[recipes.own]\nrounds = 1",
                "recipes.own.base: is missing; one of \"stage1\", \"stage2\", \"long-pairs\", \"evaluation\", \
                 \"fusion\"",
            ),
            ("[recipes.stage2]\nround = 1", "recipes.stage2.round: unknown key; did you mean \"rounds\"?"),
            (
                "[recipes.stage1]\nbase = \"stage2\"",
                "recipes.stage1.base: must be \"stage1\" in the recipe of that name; give yours another name",
            ),
            (
                "[recipes.stage1]\nrounds = 3",
                "recipes.stage1.rounds: must be 1: stage1 is one round; base \"stage2\" has several",
            ),
            (
                "[recipes.stage2]\nrecords = [\"sft\"]",
                "recipes.stage2.records: must be one or more of \"long_sft\", \"kto\", \"reward_pair\", or be left \
                 out for \"long_sft\"",
            ),
        ];
        for (toml, expected) in cases {
            assert_eq!(read_from(toml).expect_err(toml), expected);
        }
    }

    #[test]
    fn selection_beyond_the_paper_is_asked_for() {
        let toml =
            "[recipes.stage1]\npairs = \"all\"\nmax_pairs = 2\nrecords = [\"kto\", \"response_pair\"]\n";
        let recipe = Recipe {
            pairs: PairChoice::All,
            max_pairs: 2,
            records: vec![RecordKind::ResponsePair, RecordKind::Kto],
            ..Recipe::stage1()
        };
        assert_eq!(read_from(toml), Ok(recipe));
        let toml = "recipe = \"fusion\"\n[recipes.fusion]\nverdicts_must_agree = false\n";
        assert_eq!(read_from(toml), Ok(Recipe { verdicts_must_agree: false, ..Recipe::fusion() }));
    }

    #[test]
    fn what_editors_leave_in_a_folder_of_templates_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let left =
            ["long_open.txt~", ".long_open.txt.swp", "#long_open.txt#", "long_open.txt.orig", ".DS_Store"];
        for name in left {
            std::fs::write(folder.path().join(name), "left over").expect("written");
        }
        std::fs::write(folder.path().join("long_close.txt"), "So.").expect("written");
        let texts = read_folder(folder.path()).expect("readable");
        assert_eq!(texts, BTreeMap::from([("long_close".to_owned(), "So.".to_owned())]));
    }
}
