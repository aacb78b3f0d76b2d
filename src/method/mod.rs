//! The rules of the paper, pure: values in, values out. No async, no clock, no network, no log, no files.
//!
//! ```text
//!              Recipe, Templates
//!                     │
//! Thread ─▶ ask ─▶ (a model answers) ─▶ rating, final_answer, scoring ─▶ Thread, grown
//!   ▲                                                                      │
//!   └── another round ◀────────────── routing, recursion, pruning ◀────────┘
//!                                       │ finished
//!                                       ▼
//!                                   selection ─▶ records and an outcome
//!                                                finished_set: mixing, repeats    after the stream
//! ```
//!
//! `text_class` holds the little of Python's view of Unicode that the rules depend on: the method is defined by
//! what the authors' Python does, so where Rust and Python disagree on a character, Python is right here.
//! `docs/METHOD.md` leads from each step of the paper to its place in this folder.

pub mod ask;
pub mod call_site;
pub mod final_answer;
pub mod finished_set;
pub mod pairwise;
pub mod pruning;
pub mod rating;
pub mod recipe;
mod recipe_check;
pub mod recursion;
pub mod redundancy;
pub mod routing;
#[cfg(test)]
mod samples;
pub mod scored;
pub mod scoring;
pub mod selection;
pub mod template;
mod template_check;
mod template_form;
mod text_class;

pub use ask::ChatTurn;
pub use call_site::CallSite;
pub use recipe::{AnswerSource, Base, PairChoice, Recipe, Shape};
pub use recipe_check::RecipeError;
pub use selection::select_records;
pub use template::{TemplateError, Templates};
