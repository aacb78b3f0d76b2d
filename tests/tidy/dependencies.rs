//! The dependencies, and the reasons for them.

use std::collections::BTreeSet;

use regex::Regex;

use super::sources::read;

const PAGE: &str = "ARCHITECTURE.md";

/// The names of all dependencies, as Rust spells them.
pub(crate) fn names() -> BTreeSet<String> {
    listed().into_iter().map(|name| name.replace('-', "_")).collect()
}

/// Dependencies that the page does not explain, and explanations of what is no dependency.
pub(crate) fn without_reason() -> Vec<String> {
    let (listed, explained) = (listed(), explained());
    let missing = listed.difference(&explained).map(|name| {
        format!("Cargo.toml: {name} is not explained: add a row `| {name} | why it is here |` to {PAGE}")
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

/// The first cells of the rows below the heading about dependencies.
fn explained() -> BTreeSet<String> {
    let text = read(PAGE);
    let (_, section) = text.split_once("\n## Dependencies").unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = Regex::new(r"(?m)^\| `([\w-]+)` \| *\S").unwrap();
    row.captures_iter(section).map(|found| found[1].to_owned()).collect()
}
