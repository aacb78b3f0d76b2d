//! Configuration: raw as the user wrote it, then a value whose existence means that it is valid.
//!
//! ```text
//!   avr.toml ─▶ environment (AVR__…) ─▶ command line ─▶ merged tree ─▶ Reader ─▶ Settings, or every mistake
//! ```
//!
//! Later sources go before earlier ones. Each part of the program reads its own section; what nobody read is an
//! unknown key.

mod engine;
mod kafka;
mod models;
mod observe;
mod reader;
mod recipe;
mod settings;
mod sources;
mod value;

pub use engine::LogSettings;
pub use kafka::KafkaSettings;
pub use observe::ObserveSettings;
pub use reader::{InForce, Mistake, Reader, Section};
pub use settings::{RuntimeSettings, Settings};
pub use sources::{ConfigError, Override, load, passed_over_variables};
