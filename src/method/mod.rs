//! The rules of the paper, pure: values in, values out. No async, no clock, no network, no log, no files.
//!
//! ```text
//!              Recipe, Templates
//!                     │
//! Thread ─▶ ask ─▶ (a model answers) ─▶ rating, final_answer, scoring ─▶ Thread, grown
//!   ▲                                                                      │
//!   └── another round ◀─────────────── way, recursion, losing ◀────────────┘
//!                                       │ finished
//!   select ─▶ pairs ─▶ rows ─┐          ▼
//!   long_record, long_pairs ─┴─▶ selection
//!   finished_set                                       after the stream: mixing, repeats
//! ```
//!
//! `text_class` holds the little of Python's view of Unicode that the rules depend on: the method is defined by
//! what the authors' Python does, so where Rust and Python disagree on a character, Python is right here.
//! `docs/METHOD.md` leads from each step of the paper to its place in this folder.

pub mod all_pairs;
pub mod ask;
pub mod call_site;
mod candidate;
pub mod final_answer;
pub mod finished_set;
pub mod long_pairs;
pub mod long_record;
pub mod losing;
pub mod pairs;
pub mod pairwise;
pub mod provenance;
pub mod rating;
pub mod recipe;
mod recipe_check;
pub mod recursion;
pub mod redundancy;
pub mod rows;
#[cfg(test)]
mod samples;
pub mod scoring;
pub mod select;
pub mod selection;
pub mod template;
mod template_check;
mod text_class;
pub mod threshold;
pub mod way;

pub use ask::Turn;
pub use call_site::CallSite;
pub use recipe::{AnswerSource, Base, PairChoice, Recipe, Shape};
pub use recipe_check::Mistake;
pub use selection::select_records;
pub use template::{TemplateError, Templates};
