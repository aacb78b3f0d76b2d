//! What may know what.

use std::{collections::BTreeSet, path::Path};

use regex::Regex;

use super::{
    dependencies::{self, PAGE},
    imports::{self, Module},
    sources::{exists, read, rust},
};

/// Modules of `std` that reach outside the program.
const OUTSIDE: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "thread", "time"];

/// Folders that reach outside the program by nothing but these.
const PURE: [(&str, &[&str]); 8] = [
    ("src/record", &[]),
    ("src/method", &[]),
    ("src/topic", &[]),
    ("src/stage", &[]),
    ("src/dataflow.rs", &[]),
    ("src/provision", &["time"]),
    ("src/engine", &["time"]),
    ("src/dead_letter", &["time"]),
];

/// A row of the table of folders: what a folder may use.
struct Wall {
    /// A folder or a file.
    place: String,
    /// Paths of modules without `crate`, such as `log` or `log::kafka`.
    uses: BTreeSet<String>,
}

impl Wall {
    /// The module that the place is.
    fn module(&self) -> String {
        self.place.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::")
    }
}

/// The walls between the parts of the program.
struct Walls(Vec<Wall>);

impl Walls {
    fn read() -> Self {
        let row = Regex::new(r"(?m)^\| `(src/[\w/.]+)` \|[^|]*\|([^|]*)\|[^|]*\|$").unwrap();
        let text = read(PAGE);
        let walls = row.captures_iter(&text).map(|found| Wall {
            place: found[1].to_owned(),
            uses: found[2]
                .split(['`', ',', ' ', '—'])
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        });
        Self(walls.collect())
    }

    /// The row that a file belongs to: that of the innermost folder.
    fn around(&self, file: &str) -> Option<&Wall> {
        let around = self.0.iter().filter(|wall| Path::new(file).starts_with(&wall.place));
        around.max_by_key(|wall| wall.place.len())
    }

    /// The row whose module a path leads into.
    fn entered(&self, path: &[String]) -> Option<String> {
        let path = path[1..].join("::");
        let is_inside = |module: &String| path == *module || path.starts_with(&format!("{module}::"));
        self.0.iter().map(Wall::module).filter(is_inside).max_by_key(String::len)
    }
}

/// Everything that a part of the program names and may not, and whatever the table of folders says that is not so.
pub(crate) fn breaches() -> Vec<String> {
    let walls = Walls::read();
    let listed =
        walls.0.iter().flat_map(|wall| wall.uses.iter().map(|part| (wall.place.clone(), part.clone())));
    let mut unused: BTreeSet<(String, String)> = listed.collect();
    let mut breaches = Vec::new();
    for module in imports::modules() {
        let Some(wall) = walls.around(&module.file) else {
            if module.file != "src/lib.rs" {
                breaches
                    .push(format!("{}: no row of {PAGE}'s table of folders tells what it is", module.file));
            }
            continue;
        };
        for import in module.imports.iter().filter(|import| import.path[0] == "crate") {
            let Some(entered) = walls.entered(&import.path).filter(|entered| *entered != wall.module())
            else {
                continue;
            };
            unused.remove(&(wall.place.clone(), entered.clone()));
            if !wall.uses.contains(&entered) {
                breaches.push(format!(
                    "{}: {} may not use {entered} (see {PAGE}, The folders)",
                    import.place, wall.place
                ));
            }
        }
        breaches.extend(reaching_outside(&module));
    }
    breaches.extend(
        unused
            .iter()
            .map(|(place, part)| format!("{PAGE}: {place} does not use {part}: take it out of the row")),
    );
    breaches.extend(
        walls
            .0
            .iter()
            .filter(|wall| !exists(Path::new(&wall.place)))
            .map(|wall| format!("{PAGE}: there is no {}: remove its row", wall.place)),
    );
    breaches
}

fn reaching_outside(module: &Module) -> Vec<String> {
    let Some((folder, may)) = PURE.iter().find(|(folder, _)| Path::new(&module.file).starts_with(folder))
    else {
        return Vec::new();
    };
    let of_std = module.imports.iter().filter(|import| import.path[0] == "std");
    let outside = of_std.filter_map(|import| Some((import, import.path.get(1)?)));
    let breach =
        outside.filter(|(_, part)| OUTSIDE.contains(&part.as_str()) && !may.contains(&part.as_str()));
    breach
        .map(|(import, part)| format!("{}: {folder} may not use std::{part}: it is pure", import.place))
        .collect()
}

/// Dependencies that are named where the table of dependencies does not say so, or not where it does.
pub(crate) fn dependencies_elsewhere() -> Vec<String> {
    let places = dependencies::places();
    let mut unused: BTreeSet<(&str, &str)> =
        places.iter().flat_map(|(name, places)| places.iter().map(|place| (&**name, &**place))).collect();
    let mut breaches = Vec::new();
    for module in imports::modules() {
        for import in &module.imports {
            let Some((name, places)) = places.get_key_value(&import.path[0]) else { continue };
            let is_here = |place: &&String| {
                *place == "everywhere" || Path::new(&module.file).starts_with(format!("src/{place}"))
            };
            match places.iter().find(is_here) {
                Some(place) => drop(unused.remove(&(&**name, &**place))),
                None => breaches.push(format!(
                    "{}: {name} is used in {places:?} alone (see {PAGE}, Dependencies)",
                    import.place
                )),
            }
        }
    }
    breaches.extend(
        unused
            .iter()
            .map(|(name, place)| format!("{PAGE}: {name} is not used in {place}: take it out of the row")),
    );
    breaches
}

/// Stages that are named outside their folder and the dataflow.
pub(crate) fn stages_elsewhere() -> Vec<String> {
    let defined = Regex::new(r"pub struct (\w+Stage)\b").unwrap();
    let mut names = BTreeSet::new();
    for source in rust(&["src/stage"]) {
        names.extend(defined.captures_iter(&source.code).map(|found| found[1].to_owned()));
    }
    assert!(!names.is_empty(), "src/stage defines no stage");
    let may = ["src/stage", "src/dataflow.rs"];
    named_elsewhere(&names, &may, "stages meet topics in src/dataflow.rs and nowhere else")
}

/// Topics that are named where nothing is written to them or read from them.
pub(crate) fn topics_elsewhere() -> Vec<String> {
    let defined = Regex::new(r#"(?m)^    ([A-Z_]+)(?:: \w+)? = ""#).unwrap();
    let text = read("src/topic/mod.rs");
    let names: BTreeSet<String> = defined.captures_iter(&text).map(|found| found[1].to_owned()).collect();
    assert!(!names.is_empty(), "src/topic/mod.rs defines no topic");
    let may = [
        "src/topic",
        "src/stage",
        "src/intake",
        "src/export/decode.rs",
        "src/dead_letter",
        "src/command/replay",
        "src/dataflow.rs",
        "src/engine/committer.rs",
        "src/pipeline/heartbeat.rs",
        "src/pipeline/claims.rs",
        "src/command/status",
    ];
    named_elsewhere(&names, &may, "what is known of topics stands in topics/; ask topic::catalogue")
}

fn named_elsewhere(names: &BTreeSet<String>, may: &[&str], advice: &str) -> Vec<String> {
    let any: Vec<&str> = names.iter().map(String::as_str).collect();
    // A word in quotes is a text, the head of a column for instance.
    let pattern = Regex::new(&format!(r#"(?:^|[^\w"])({})\b"#, any.join("|"))).unwrap();
    let mut complaints = Vec::new();
    for source in rust(&["src"]).iter().filter(|source| !may.iter().any(|path| source.is_in(path))) {
        for (index, line) in source.code.lines().enumerate() {
            // A file may have a constant of its own of that name.
            let foreign = |name: &&str| !source.code.contains(&format!("const {name}:"));
            let found = pattern.captures(line).and_then(|found| found.get(1)).map(|name| name.as_str());
            if let Some(found) = found.filter(foreign) {
                complaints.push(format!("{}: {}: {advice}", source.place(index + 1), found));
            }
        }
    }
    complaints
}
