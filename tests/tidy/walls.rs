//! What may know what.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::{Captures, Regex};

use super::{
    dependencies,
    sources::{Source, read, rust},
};

/// What a folder may know. Everything that is not named is forbidden.
struct Wall {
    folder: &'static str,
    /// Parts of this crate.
    ours: &'static [&'static str],
    /// Dependencies.
    crates: &'static [&'static str],
    /// Modules of `std` that reach outside the program.
    outside: &'static [&'static str],
    why: &'static str,
}

/// Modules of `std` that reach outside the program.
const OUTSIDE: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "thread", "time"];

const WALLS: [Wall; 6] = [
    Wall {
        folder: "src/record",
        ours: &["record"],
        crates: &["schemars", "serde", "serde_json", "strum"],
        outside: &[],
        why: "it is below all else: values and their serde shapes",
    },
    Wall {
        folder: "src/method",
        ours: &["method", "record"],
        crates: &[
            "blake3",
            "minijinja",
            "regex",
            "regex_syntax",
            "serde",
            "serde_json",
            "strum",
            "thiserror",
        ],
        outside: &[],
        why: "it is pure: values in, values out; what needs a clock, a file or a model belongs in src/stage or the edges",
    },
    Wall {
        folder: "src/topic",
        ours: &["record", "topic"],
        crates: &["config", "schemars", "serde", "serde_json"],
        outside: &[],
        why: "it names topics and their payloads, and moves nothing",
    },
    Wall {
        folder: "src/log",
        ours: &["clock", "log", "topic"],
        crates: &[
            "blake3",
            "bytes",
            "fastrand",
            "fjall",
            "rdkafka",
            "strum",
            "thiserror",
            "tokio",
            "tracing",
        ],
        outside: &["fs", "io", "process", "thread", "time"],
        why: "a log moves bytes and knows neither threads nor stages",
    },
    Wall {
        folder: "src/engine",
        ours: &["clock", "dead_letter", "engine", "log", "observe", "topic"],
        crates: &[
            "base64",
            "blake3",
            "bytes",
            "fastrand",
            "futures_util",
            "strum",
            "thiserror",
            "tokio",
            "tracing",
            "zstd",
        ],
        outside: &["time"],
        why: "it runs any stage over any log: what a stage does belongs in src/stage, what a log does in src/log",
    },
    Wall {
        folder: "src/simulate",
        ours: &["simulate"],
        crates: &[
            "blake3",
            "bytes",
            "clap",
            "fastrand",
            "http_body_util",
            "hyper",
            "hyper_util",
            "prometheus",
            "serde",
            "serde_json",
            "thiserror",
            "tokio",
            "tracing",
        ],
        outside: &["fs", "io", "net", "path", "process", "time"],
        why: "it stands for servers of others, so it shares no code with their clients",
    },
];

/// Dependencies that only one folder may name.
const PRIVATE: [(&str, &str); 4] =
    [("fjall", "src/log"), ("rdkafka", "src/log"), ("reqwest", "src/model"), ("parquet", "src/source")];

/// Everything that a folder names and may not.
pub(crate) fn breaches() -> Vec<String> {
    let dependencies: Vec<String> = dependencies::names().into_iter().collect();
    let pattern =
        Regex::new(&format!(r"(?:^|[^\w:.])({0})::|\buse ({0})\b", dependencies.join("|"))).unwrap();
    let mut breaches = Vec::new();
    for source in rust(&["src"]) {
        let named = named(&source, &pattern);
        for wall in WALLS.iter().filter(|wall| source.is_in(wall.folder)) {
            breaches.extend(breaches_of(wall, &source, &named));
        }
        for (private, home) in PRIVATE.iter().filter(|(_, home)| !source.is_in(home)) {
            // A URL is checked with the parser that will read it later.
            let is_check = *private == "reqwest" && source.is_in("src/config");
            for (line, _) in named.iter().filter(|(_, name)| name == private && !is_check) {
                breaches.push(format!("{}: only {home} may use {private}", source.place(*line)));
            }
        }
    }
    breaches
}

fn breaches_of(wall: &Wall, source: &Source, named: &[(usize, String)]) -> Vec<String> {
    let Wall { folder, ours, crates, outside, why } = wall;
    let complain = |line, what: &str| format!("{}: {folder} may not use {what}: {why}", source.place(line));
    let mut breaches = Vec::new();
    for (line, part) in roots(&source.code, "crate") {
        if !ours.contains(&part.as_str()) && part.starts_with(|c: char| c.is_ascii_lowercase()) {
            breaches.push(complain(line, &format!("crate::{part}")));
        }
    }
    for (line, part) in roots(&source.code, "std") {
        if OUTSIDE.contains(&part.as_str()) && !outside.contains(&part.as_str()) {
            breaches.push(complain(line, &format!("std::{part}")));
        }
    }
    for (line, name) in named.iter().filter(|(_, name)| !crates.contains(&name.as_str())) {
        breaches.push(complain(*line, name));
    }
    breaches
}

/// The dependencies with which a path begins, each with its line.
fn named(source: &Source, pattern: &Regex) -> Vec<(usize, String)> {
    let code = without_members(&source.code);
    let mut named = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for found in pattern.captures_iter(line) {
            let name = found.get(1).or(found.get(2)).map_or("", |name| name.as_str());
            named.push((index + 1, name.to_owned()));
        }
    }
    named
}

/// Of each `use`, the first part only: a module of another crate may be called like a dependency.
fn without_members(code: &str) -> String {
    static STATEMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse (\w+)::[^;]*;").unwrap());
    let shortened = |found: &Captures<'_>| {
        let lines = found[0].matches('\n').count();
        format!("use {};{}", &found[1], "\n".repeat(lines))
    };
    STATEMENT.replace_all(code, shortened).into_owned()
}

/// What follows `start::` everywhere in `code`, the first part only, with its line; groups are opened.
fn roots(code: &str, start: &str) -> Vec<(usize, String)> {
    let pattern = Regex::new(&format!(r"(^|[^\w:]){start}::")).unwrap();
    let mut roots = Vec::new();
    for found in pattern.find_iter(code) {
        let line = 1 + code[..found.end()].matches('\n').count();
        let rest = &code[found.end()..];
        match rest.strip_prefix('{') {
            Some(group) => roots.extend(members(group).into_iter().map(|(below, name)| (line + below, name))),
            None => roots.push((line, first_word(rest))),
        }
    }
    roots
}

/// The first words of a group's members, each with its line below the group's first.
fn members(group: &str) -> Vec<(usize, String)> {
    let (mut depth, mut line, mut is_start) = (0, 0, true);
    let mut members = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            '\n' => line += 1,
            ',' if depth == 0 => is_start = true,
            c if is_start && !c.is_whitespace() => {
                members.push((line, first_word(&group[at..])));
                is_start = false;
            }
            _ => {}
        }
    }
    members
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
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
        "src/dead_letter",
        "src/command/replay",
        "src/dataflow.rs",
        "src/engine/committer.rs",
        "src/pipeline/heartbeat.rs",
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
