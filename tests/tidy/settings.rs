//! The example configuration against what the program reads.

use std::collections::{BTreeMap, BTreeSet};

use avr::config::{InForce, Mistake, Reader, Settings};
use config::{Config, File, FileFormat};
use regex::Regex;

use super::sources::{read, rust};

const PAGE: &str = "examples/avr.toml";

/// What a file of this text puts in force, by key.
fn in_force(toml: &str) -> Result<BTreeMap<String, InForce>, Vec<Mistake>> {
    let config = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
    let mut reader = Reader::new(config.unwrap_or_else(|error| panic!("{PAGE}: {error}")).cache);
    drop(Settings::read(&mut reader));
    Ok(reader.finish()?.into_iter().map(|entry| (entry.key.clone(), entry)).collect())
}

/// Keys that the example lacks, has too many, or gives another value than the default.
pub(crate) fn differences() -> Vec<String> {
    let text = read(PAGE);
    let defaults = in_force("").expect("the defaults are without mistakes");
    let example = match in_force(&text) {
        Ok(example) => example,
        Err(mistakes) => return mistakes.iter().map(|mistake| format!("{PAGE}: {mistake}")).collect(),
    };
    let written: BTreeSet<String> =
        keys(&text, "").into_iter().chain(shown(&text)).map(|key| key.path).collect();
    let mut complaints = Vec::new();
    for (key, default) in &defaults {
        let given = &example[key];
        let is_default = given.value == default.value;
        if !written.contains(key) {
            complaints.push(format!("{PAGE}: add {key} = {}, with a comment above it", default.value));
        } else if !is_default {
            complaints.push(format!("{PAGE}: {key} = {}, but the default is {}", given.value, default.value));
        }
    }
    complaints
}

/// A key of the file.
struct Key {
    path: String,
    line: usize,
    /// Its line without the comment sign.
    text: String,
}

/// The keys of lines that begin with `sign`.
fn keys(text: &str, sign: &str) -> Vec<Key> {
    let pattern = Regex::new(&format!(r"^{sign}([a-z_]+) = ")).unwrap();
    let mut section = "";
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some(found) = pattern.captures(line) {
            let path =
                if section.is_empty() { found[1].to_owned() } else { format!("{section}.{}", &found[1]) };
            keys.push(Key { path, line: index + 1, text: line[sign.len()..].to_owned() });
        }
    }
    keys
}

/// Keys that are shown as comments, because they have no default.
fn shown(text: &str) -> Vec<Key> {
    keys(text, "# ")
}

/// Keys that are shown but unknown, and keys without a default that are not shown.
pub(crate) fn not_shown() -> Vec<String> {
    let text = read(PAGE);
    let shown = shown(&text);
    let mut complaints = Vec::new();
    for key in &shown {
        let (section, _) = key.path.rsplit_once('.').unwrap_or_default();
        let mistakes = in_force(&format!("[{section}]\n{}\n", key.text)).err().unwrap_or_default();
        if mistakes.iter().any(|mistake| mistake.message.starts_with("unknown key")) {
            complaints.push(format!("{PAGE}:{}: {} is not read any more: remove it", key.line, key.path));
        }
    }
    let names: BTreeSet<&str> = shown.iter().filter_map(|key| key.path.rsplit('.').next()).collect();
    let optional = Regex::new(r#"\.(?:optional_text|free_table|secret_text)\(\s*"(\w+)""#).unwrap();
    for source in rust(&["src"]) {
        for found in optional.captures_iter(&source.code).filter(|found| !names.contains(&found[1])) {
            let line = 1 + source.code[..found.get(0).unwrap().start()].matches('\n').count();
            complaints.push(format!("{}: show the key {} in {PAGE}", source.place(line), &found[1]));
        }
    }
    complaints
}

/// Keys in a paragraph that does not begin with words about them.
pub(crate) fn unexplained() -> Vec<String> {
    let text = read(PAGE);
    let all: BTreeMap<usize, String> =
        keys(&text, "").into_iter().chain(shown(&text)).map(|key| (key.line, key.path)).collect();
    let mut explained = false;
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match all.get(&(index + 1)) {
            Some(key) if !explained => {
                complaints.push(format!("{PAGE}:{}: say in a comment above {key} what it is for", index + 1));
            }
            Some(_) => {}
            None => explained = line.starts_with("# ") && !line.starts_with("# ---"),
        }
    }
    complaints
}
