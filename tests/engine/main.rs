//! What every log must do, and the log in memory on which the engine is simulated.

mod log;
mod log_suite;
mod memory_log;
mod simulation;
mod storm;
