//! What every log must do, and the engine under simulation over a log in memory.

mod cases;
mod log;
#[path = "../log_suite/mod.rs"]
mod log_suite;
mod memory_log;
mod simulation;
mod storm;
