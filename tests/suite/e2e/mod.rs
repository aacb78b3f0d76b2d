//! `avr run` end to end: real processes, real signals, real files, against a simulated cluster in a process of its
//! own.
//!
//! Every test starts what it needs on free ports, in a folder of its own, and ends it. Tests wait for what they can
//! see (lines of a log, counts of the cluster, lines of a file), never for time to pass.

mod config;
mod dead_letters;
mod faults;
mod follow;
mod input;
mod interruption;
mod kill;
mod long_texts;
mod observe;
mod recipe;
mod replay;
mod state;
