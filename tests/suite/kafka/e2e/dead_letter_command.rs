//! `avr dead-letters` on a pipeline, as a user types it.

use serde_json::Value;

use super::pipeline::Pipeline;
use crate::support::{Finished, Process};

/// Starts `avr dead-letters` with these arguments.
pub(crate) fn start(pipeline: &Pipeline, arguments: &[&str]) -> Process {
    Process::start(&mut pipeline.bench.avr(&[&["dead-letters"], arguments].concat()))
}

/// Lets it come to its end.
pub(crate) fn letters(pipeline: &Pipeline, arguments: &[&str]) -> Finished {
    start(pipeline, arguments).finish()
}

/// What it says on standard output when all is well.
#[track_caller]
pub(crate) fn told(pipeline: &Pipeline, arguments: &[&str]) -> String {
    letters(pipeline, arguments).expect_code(0).stdout
}

/// The letters that `list` shows.
#[track_caller]
pub(crate) fn listed(pipeline: &Pipeline, arguments: &[&str]) -> Vec<Value> {
    let text = told(pipeline, &[&["list", "--json"], arguments].concat());
    let list: Value = serde_json::from_str(&text).expect("JSON");
    list["dead_letters"].as_array().expect("a list").clone()
}

/// What each letter has under a key, as text.
pub(crate) fn texts<'a>(letters: &'a [Value], key: &str) -> Vec<&'a str> {
    letters.iter().map(|letter| letter[key].as_str().expect("a text")).collect()
}
