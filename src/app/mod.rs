//! Opens and wires what a command works with: the log, the models, the services beside them, and how it is told to
//! stop. Holds no logic of a part.

mod assemble;
mod models;
mod services;
mod shutdown;

pub use assemble::{OpenError, STATE};
pub(crate) use assemble::{assemble, await_cluster, definition, open_cluster, open_log, open_state};
pub(crate) use models::Models;
pub use services::simulated;
pub(crate) use services::{Process, is_simulated};
pub(crate) use shutdown::Signals;
