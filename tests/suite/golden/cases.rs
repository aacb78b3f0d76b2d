//! Finds the cases, runs every one, and only then fails, with file, line and difference of each that is wrong.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use avr::method::Templates;
use serde_json::Value;

use super::difference::difference;

/// A case's result: what was computed beside what the case expects.
pub(crate) struct Compared {
    pub(crate) computed: Value,
    pub(crate) expected: Value,
}

/// Checks every case of a file, the authors' and our own.
pub(crate) fn check_file(name: &str, run: fn(&Value) -> Compared) {
    let mut failures = check_cases(&folder().join(name), run);
    let own = builtin_folder().join("own").join(name);
    if own.exists() {
        failures.extend(check_cases(&own, run));
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

fn check_cases(path: &Path, run: fn(&Value) -> Compared) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<_> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    assert!(!cases.is_empty(), "{}: no cases", path.display());
    let told = |(index, line): &(usize, &str)| {
        Some(format!("{}:{}: {}", path.display(), index + 1, failure(line, run)?))
    };
    cases.iter().filter_map(told).collect()
}

/// What is wrong with one case; a panic inside it is a failure of that case only.
fn failure(line: &str, run: fn(&Value) -> Compared) -> Option<String> {
    let case: Value = match serde_json::from_str(line) {
        Ok(case) => case,
        Err(error) => return Some(format!("not JSON: {error}")),
    };
    match catch_unwind(AssertUnwindSafe(|| run(&case))) {
        Ok(compared) => difference(&compared.computed, &compared.expected),
        Err(_) => Some("the case cannot be run; the panic above says why".to_owned()),
    }
}

fn builtin_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn folder() -> PathBuf {
    env::var_os("AVR_GOLDEN_DIR").map_or_else(builtin_folder, PathBuf::from)
}

/// The case's value as a type of the crate.
pub(crate) fn parsed<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error} in {value}"))
}

/// The text of a field.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field:?} in {value}"))
}

/// The items of a field.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap_or_else(|| panic!("no list {field:?} in {value}"))
}

/// The number of a field.
pub(crate) fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_else(|| panic!("no number {field:?} in {value}"))
}

/// An expected value with our own texts in the places that the cases leave open for them.
pub(crate) fn filled_in(expected: &Value, templates: &Templates) -> Value {
    match expected {
        Value::String(text) => Value::String(fill_in(text, templates)),
        Value::Array(items) => items.iter().map(|item| filled_in(item, templates)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), filled_in(value, templates))).collect()
        }
        other => other.clone(),
    }
}

fn fill_in(text: &str, templates: &Templates) -> String {
    let headings = templates.headings();
    let places = [
        ("{{critique}}", templates.critique_instruction()),
        ("{{improve}}", templates.improve_instruction()),
        ("{{open}}", headings.open),
        ("{{answer_heading}}", headings.answer),
        ("{{critique_heading}}", headings.critique),
        ("{{improve_heading}}", headings.improve),
        ("{{close}}", headings.close),
        ("{{final_heading}}", "Final answer:\n\n"),
    ];
    places.iter().fold(text.to_owned(), |text, (place, own)| text.replace(place, own))
}
