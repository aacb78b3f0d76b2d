//! The dependencies, and the reasons for them.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::sources::read;

/// The page with the tables of folders and dependencies.
pub(crate) const PAGE: &str = "ARCHITECTURE.md";

/// Dependencies that the page does not explain, and explanations of what is no dependency.
pub(crate) fn without_reason() -> Vec<String> {
    let (listed, explained) = (listed(), explained());
    let missing = listed.difference(&explained).map(|name| {
        format!("Cargo.toml: {name} is not explained: add a row `| {name} | where it is used | why it is here |` to {PAGE}")
    });
    let stale = explained
        .difference(&listed)
        .map(|name| format!("{PAGE}: {name} is no dependency any more: remove its row"));
    missing.chain(stale).collect()
}

fn listed() -> BTreeSet<String> {
    let text = read("Cargo.toml");
    let mut is_dependencies = false;
    let mut names = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_dependencies = line.ends_with("dependencies]");
        } else if let (true, Some((name, _))) = (is_dependencies, line.split_once('=')) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

/// Where each dependency of the program is used, by its name as Rust spells it: folders or files of `src`, or `everywhere`.
pub(crate) fn places() -> BTreeMap<String, BTreeSet<String>> {
    let of_program = rows().into_iter().filter(|row| row.places != "tests");
    of_program
        .map(|row| {
            let places = row.places.split(['`', ',', ' ']).filter(|place| !place.is_empty());
            (row.name.replace('-', "_"), places.map(str::to_owned).collect())
        })
        .collect()
}

fn explained() -> BTreeSet<String> {
    rows().into_iter().map(|row| row.name).collect()
}

struct Row {
    name: String,
    places: String,
}

/// The rows below the heading about dependencies.
fn rows() -> Vec<Row> {
    let text = read(PAGE);
    let (_, section) = text.split_once("\n## Dependencies").unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = Regex::new(r"(?m)^\| `([\w-]+)` \| ([^|]+) \| *\S").unwrap();
    row.captures_iter(section)
        .map(|found| Row { name: found[1].to_owned(), places: found[2].to_owned() })
        .collect()
}
