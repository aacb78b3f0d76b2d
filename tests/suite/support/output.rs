//! What a run left in its output folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// An output folder.
pub(crate) struct Output {
    folder: PathBuf,
}

impl Output {
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder of the embedded log.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join(".state")
    }

    /// The lines of a file of JSON Lines as values, in their order.
    #[track_caller]
    pub(crate) fn rows(&self, file: &str) -> Vec<Value> {
        lines_of(&self.folder.join(file))
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{file}: {error}: {line}")))
            .collect()
    }

    /// A file that is one JSON value.
    #[track_caller]
    pub(crate) fn value_in(&self, file: &str) -> Value {
        let text =
            fs::read_to_string(self.folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    #[track_caller]
    pub(crate) fn outcomes(&self) -> Vec<Value> {
        self.rows("outcomes.jsonl")
    }

    #[track_caller]
    pub(crate) fn rejects(&self) -> Vec<Value> {
        self.rows("rejects.jsonl")
    }

    /// Canonical records of all kinds.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        let folder = fs::read_dir(self.folder.join("records")).expect("records");
        let files = folder.map(|entry| entry.expect("an entry").file_name());
        files.flat_map(|file| self.rows(&format!("records/{}", file.to_string_lossy()))).collect()
    }

    /// Threads with an outcome; fails where one has two.
    #[track_caller]
    pub(crate) fn threads(&self) -> BTreeSet<String> {
        let outcomes = self.outcomes();
        let threads: BTreeSet<_> =
            outcomes.iter().map(|outcome| outcome["thread"].as_str().expect("an id").to_owned()).collect();
        assert_eq!(threads.len(), outcomes.len(), "exactly one outcome a thread");
        threads
    }

    /// Threads with an outcome in the middle of a run, or after its sudden end.
    pub(crate) fn threads_so_far(&self) -> Vec<String> {
        let outcomes = self.outcomes_so_far();
        outcomes.iter().map(|outcome| outcome["thread"].as_str().expect("an id").to_owned()).collect()
    }

    /// Outcomes in the middle of a run, or after its sudden end: the last line may be torn.
    pub(crate) fn outcomes_so_far(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("outcomes.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many lines have this under the key, for every value that occurs.
    #[track_caller]
    pub(crate) fn count(rows: &[Value], key: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for row in rows {
            *counts.entry(row[key].as_str().expect("a text").to_owned()).or_default() += 1;
        }
        counts
    }

    /// Every data file with its lines sorted: what must not depend on how often the run was disturbed.
    #[track_caller]
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<String>> {
        let mut contents = BTreeMap::new();
        collect(&self.folder, &self.folder, &mut contents);
        assert!(contents.contains_key("outcomes.jsonl"), "{:?}", contents.keys());
        contents
    }
}

fn collect(root: &Path, folder: &Path, contents: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with(".state") {
            collect(root, &path, contents);
        } else if is_data(&path) {
            let mut lines = lines_of(&path);
            lines.sort_unstable();
            contents.insert(path.strip_prefix(root).expect("inside").display().to_string(), lines);
        }
    }
}

fn is_data(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && path.extension().is_some_and(|end| end == "jsonl" || end == "json")
}

/// The lines of a file, the last of which must be whole.
#[track_caller]
fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.is_empty() || text.ends_with('\n'), "{}: the last line is torn", path.display());
    text.lines().map(str::to_owned).collect()
}
