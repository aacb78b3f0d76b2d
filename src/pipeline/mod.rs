//! What looks after a pipeline while its stages work: what is left to do, who may take on more, who is alive, and what
//! can be deleted.

pub(crate) mod admission;
pub mod backlog;
pub(crate) mod heartbeat;
pub mod retention;
