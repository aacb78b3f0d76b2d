//! Every test that runs the code: the parts in this process, and `avr` in processes of its own.
//!
//! ```text
//!   golden           the rules of the method against known results
//!   recipes          every recipe over simulated models, against the same recipe played by hand
//!   engine           the engine over a log in memory, with faults
//!   dead_letter, claims, status, submit    what else is built on a log, over the same log in memory
//!   log_suite        what every log must do, over the logs of this process
//!   export, model, simulate, source        a part each
//!   e2e              `avr` with the embedded log
//!   kafka            everything that needs a Kafka cluster: ignored unless --include-ignored is given
//!   memory_log, support                    what tests share
//! ```
//!
//! One binary, because what tests share is compiled and linked once. `cargo test --test suite engine::` runs a part of it,
//! `scripts/test kafka::` starts a cluster and runs the tests that need one.

mod claims;
mod dead_letter;
mod e2e;
mod engine;
mod export;
mod golden;
mod kafka;
mod log_suite;
mod memory_log;
mod model;
mod recipes;
mod simulate;
mod source;
mod status;
mod submit;
mod support;
