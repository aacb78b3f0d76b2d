//! Configuration: raw as the user wrote it, then a value whose existence means that it is valid.

mod reader;

pub use reader::{InForce, Mistake, Reader, Section};
