//! # avr: a streaming refinery for LLM training data
//!
//! Prompts flow through the topics of a log; independent stages draft an answer, criticise it, improve it,
//! score what came, and select training records. The method is AvR, *Alignment via Refinement*
//! (arXiv 2506.06009); the engine promises that no record is lost or doubled and that no model call of a
//! committed step is made again.
//!
//! ```text
//! source ─▶ prompts ─▶ draft ─▶ drafted ─▶ critique ─▶ critiqued ─▶ improve ─▶ improved ─▶ score
//!                                                                                           │
//!      files ◀─ export ◀─ records ◀─ select ◀─ scored ◀─────────────────────────────────────┘
//!                  ▲
//!                  └───── dead-letters ◀─ any stage
//! ```
//!
//! One unit of work, the [thread](record::Thread), goes from topic to topic and grows. Its recipe decides the way:
//! with several rounds, a scored thread goes back to `drafted`; see [`dataflow`].
//!
//! ## Reading order
//!
//! 1. [`record`]: what a thread and a training record are. Below everything else.
//! 2. [`method`]: the rules of the paper, pure: no async, no clock, no network, no log.
//! 3. [`log`]: the interface to the log, as narrow as the engine needs it; the embedded log and Kafka stand behind it.
//! 4. [`engine`]: runs any stage exactly once; knows no method.
//! 5. [`stage`]: one file a stage, each a thin join of method and models.
//! 6. [`dataflow`]: the only place where topics meet stages.
//! 7. The edges: [`source`] and [`intake`] bring prompts in, [`export`] writes files, [`model`] asks model servers,
//!    [`dead_letter`] keeps what could not be handled.
//! 8. Over Kafka: [`provision`] makes a cluster's topics what they should be, [`pipeline`] looks after a running one.
//! 9. The program: [`config`], [`app`] (opens and wires), [`command`] (one file a command), [`terminal`] (what people
//!    see), [`observe`] (what machines scrape), [`simulate`] (model servers for trying things).
//!
//! What each may use is a table in `ARCHITECTURE.md`, which the tests compare with the sources.
//!
//! ## Deliberately absent
//!
//! - No stage joins two messages or keeps state: everything a step needs is in its thread.
//! - `method` imports no I/O, `engine` imports no method, and only `log` knows a concrete log
//!   (`tests/tidy/` guards these walls).
//! - Nothing redoes a model call to save memory or code.

pub mod app;
pub mod backoff;
pub mod clock;
pub mod command;
pub mod config;
pub mod dataflow;
pub mod dead_letter;
pub mod engine;
pub mod export;
pub mod intake;
pub mod log;
pub mod method;
pub mod model;
pub mod observe;
pub mod pipeline;
pub mod provision;
pub mod record;
pub mod simulate;
pub mod source;
pub mod stage;
pub mod terminal;
pub mod topic;
