//! The repository's files as text.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A Rust file.
pub(crate) struct Source {
    /// Its path inside the repository.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
    /// Without comments, and without what is compiled for tests only. Line numbers are as in `text`.
    pub(crate) code: String,
}

impl Source {
    /// `path:line` of a place in `text` or `code`.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// Whether it lies in `folder`, or is the file of that path.
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        Path::new(&self.path).starts_with(folder)
    }
}

/// A file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below these folders.
pub(crate) fn rust(folders: &[&str]) -> Vec<Source> {
    let paths = folders.iter().flat_map(|folder| files(folder)).filter(|path| path.ends_with(".rs"));
    paths.map(source).collect()
}

/// The paths of all files below `folder`, in order.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.is_file() {
            found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

/// Whether there is such a file or folder.
pub(crate) fn exists(path: &Path) -> bool {
    root().join(path).exists()
}

/// Fails with all complaints at once.
pub(crate) fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn source(path: String) -> Source {
    let text = read(&path);
    let is_test = path.ends_with("tests.rs") || !path.starts_with("src/");
    let code = if is_test { String::new() } else { code(&text) };
    Source { path, text, code }
}

fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            code.push('\n');
            skip_item(&mut lines, &mut code);
        } else {
            code.push_str(without_comment(line));
            code.push('\n');
        }
    }
    code
}

/// Passes over one item, with a blank line for each of its lines.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, code: &mut String) {
    let mut end: Option<String> = None;
    for line in lines {
        code.push('\n');
        match &end {
            Some(end) if line == end => return,
            Some(_) => {}
            None if line.trim_start().starts_with('#') => {}
            None if line.ends_with(';') => return,
            None => {
                let indent = line.len() - line.trim_start().len();
                end = Some(format!("{}}}", &line[..indent]));
            }
        }
    }
}

/// A `//` inside a text ends it too early, which hides nothing that the rules are about.
fn without_comment(line: &str) -> &str {
    line.find("//").map_or(line, |at| &line[..at])
}
