//! What is in the output folders: over the embedded log a file for each kind of line, over Kafka a folder of shards.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The lines of each kind, sorted; kinds without a line are left out.
pub(crate) type Lines = BTreeMap<String, Vec<String>>;

/// The lines of the files in a folder, by the path of each below it, without its ending.
pub(crate) fn lines_of_files(folder: &Path) -> Lines {
    gather(folder, |path| path.with_extension(""))
}

/// The lines of shards, by the path of the folder that they lie in.
pub(crate) fn lines_of_shards(folder: &Path) -> Lines {
    gather(folder, |path| path.parent().unwrap_or(path).to_owned())
}

fn gather(folder: &Path, kind: fn(&Path) -> PathBuf) -> Lines {
    let mut lines = Lines::new();
    collect(folder, &mut |path| {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.is_empty() || text.ends_with('\n'), "{}: the last line is torn", path.display());
        let kind = kind(path).strip_prefix(folder).expect("inside").display().to_string();
        lines.entry(kind).or_default().extend(text.lines().map(str::to_owned));
    });
    lines.retain(|_, lines| !lines.is_empty());
    lines.values_mut().for_each(|lines| lines.sort_unstable());
    lines
}

/// Every file of lines below a folder, but for what is hidden: states and staged shards.
fn collect(folder: &Path, take: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(&path, take);
        } else if path.extension().is_some_and(|end| end == "jsonl") {
            take(&path);
        }
    }
}

/// The first difference between two sets of lines, in words; none where they are equal.
pub(crate) fn difference(found: &Lines, expected: &Lines) -> Option<String> {
    let kinds: Vec<&String> =
        expected.keys().chain(found.keys().filter(|kind| !expected.contains_key(*kind))).collect();
    let none = Vec::new();
    kinds.into_iter().find_map(|kind| {
        let (found, expected) = (found.get(kind).unwrap_or(&none), expected.get(kind).unwrap_or(&none));
        let (surplus, missing) = (surplus(found, expected), surplus(expected, found));
        (!surplus.is_empty() || !missing.is_empty()).then(|| {
            format!(
                "{kind}: {} lines instead of {}; {} too many, {} missing; first too many: {:?}; first missing: {:?}",
                found.len(),
                expected.len(),
                surplus.len(),
                missing.len(),
                surplus.first(),
                missing.first()
            )
        })
    })
}

/// The lines of `these` that are not in `those`, or there fewer times; both are sorted.
fn surplus<'a>(these: &'a [String], those: &[String]) -> Vec<&'a str> {
    let mut rest = those;
    let mut surplus = Vec::new();
    for line in these {
        rest = &rest[rest.partition_point(|other| other < line)..];
        match rest.split_first() {
            Some((first, others)) if first == line => rest = others,
            _ => surplus.push(line.as_str()),
        }
    }
    surplus
}

#[test]
fn a_line_twice_and_a_line_missing_are_both_seen() {
    let lines =
        |lines: &[&str]| Lines::from([("a".to_owned(), lines.iter().map(ToString::to_string).collect())]);
    assert_eq!(difference(&lines(&["1", "2"]), &lines(&["1", "2"])), None);
    let twice = difference(&lines(&["1", "1", "2"]), &lines(&["1", "2"])).expect("a difference");
    assert!(twice.contains("1 too many, 0 missing"), "{twice}");
    let missing = difference(&lines(&["2"]), &lines(&["1", "2"])).expect("a difference");
    assert!(missing.contains("0 too many, 1 missing"), "{missing}");
    assert!(difference(&Lines::new(), &lines(&["1"])).is_some());
}
