//! What looks after a pipeline while its stages work: what is left to do, who may take on more, who is alive, what
//! can be deleted, and what it was begun for.

pub(crate) mod admission;
pub mod backlog;
pub mod claims;
pub(crate) mod heartbeat;
pub mod retention;
