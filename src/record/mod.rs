//! The values that flow: threads on their way, training records at the end, and one outcome for each thread.
//!
//! These types are the payloads of the topics, so their serde shapes are the wire format. Fields that this
//! version does not know survive a pass through it (`extra`), so that a rolling upgrade harms no thread.

mod cluster;
mod evaluation;
mod intake;
mod message;
mod outcome;
mod payload;
mod thread;
mod training;

pub use cluster::{HandledAction, HandledLetter, WorkerPartition, WorkerStage, WorkerStatus};
pub use evaluation::ModelOutput;
pub use intake::{IndexEntry, Reject};
pub use message::{Extra, Message, Role};
pub use outcome::{Outcome, OutcomeReason, SelectionResult, SourceModels};
pub use payload::{newer_schema, payload_misfit, read_payload};
pub use thread::{
    Answer, Comparison, Critique, Fusion, Improvement, LongSample, ModelCall, Origin, Preferred, RecipeRef,
    Round, SCHEMA_VERSION, Thread, ThreadId,
};
pub use training::{RecordKind, Rewards, TrainingRecord};
