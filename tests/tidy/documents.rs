//! Documents say what is so.

use std::path::{Component, Path, PathBuf};

use avr::command::Cli;
use clap::Parser as _;
use regex::Regex;

use super::sources::{exists, files, read};

const README: &str = "README.md";
const PAGES: [&str; 3] = [README, "ARCHITECTURE.md", "CHANGELOG.md"];
/// How commands of this program begin.
const STARTS: [&str; 3] = ["cargo run --release -- ", "target/release/avr ", "avr "];

/// Commands in blocks of the read-me that this program does not understand.
pub(crate) fn unknown_commands() -> Vec<String> {
    let text = read(README).replace("\\\n", " ");
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter_map(|line| STARTS.iter().find_map(|start| line.strip_prefix(start)))
        .collect();
    assert!(commands.len() >= 3, "{README}: its commands are not found; are they still indented blocks?");
    let mut complaints = Vec::new();
    for command in commands {
        let words = std::iter::once("avr").chain(command.split_whitespace());
        if let Err(error) = Cli::try_parse_from(words) {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            complaints.push(format!("{README}: avr {command}: {first}"));
        }
    }
    complaints
}

/// Links to files that are not there.
pub(crate) fn dead_links() -> Vec<String> {
    let link = Regex::new(r"\]\(([^)#]+)").unwrap();
    let mut complaints = Vec::new();
    for page in pages() {
        let folder = Path::new(&page).parent().unwrap_or(Path::new("")).to_owned();
        for (index, line) in read(&page).lines().enumerate() {
            for found in link.captures_iter(line).filter(|found| !found[1].contains("://")) {
                if !exists(&plain(&folder.join(&found[1]))) {
                    complaints.push(format!("{page}:{}: there is no {}", index + 1, &found[1]));
                }
            }
        }
    }
    complaints
}

fn pages() -> Vec<String> {
    let docs = files("docs").into_iter().filter(|path| path.ends_with(".md"));
    PAGES.map(str::to_owned).into_iter().chain(docs).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Absolute paths that only one machine has.
pub(crate) fn places_of_one_machine() -> Vec<String> {
    let pattern = Regex::new(r"(^|[\s\x22'`(=])/(work|root|home|Users|mnt|srv)/").unwrap();
    let folders = ["docs", "deploy", "examples", "scripts", "topics", "templates", ".ci", "src", "benches"];
    let listed = folders.iter().flat_map(|folder| files(folder));
    let mut complaints = Vec::new();
    for path in PAGES.map(str::to_owned).into_iter().chain(listed) {
        for (index, line) in read(&path).lines().enumerate() {
            if pattern.is_match(line) {
                complaints.push(format!(
                    "{path}:{}: names a folder of one machine: write a relative path",
                    index + 1
                ));
            }
        }
    }
    complaints
}
