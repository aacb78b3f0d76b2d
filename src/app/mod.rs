//! Opens and wires what a command works with: the log, the models, the services beside them, and how it is told to
//! stop. Holds no logic of a part.

mod assemble;
mod exit_code;
mod models;
mod open_log;
mod running_engine;
mod services;
mod shutdown;

pub use assemble::AssembleError;
pub(crate) use assemble::{Assembled, assemble, definition};
pub use exit_code::{EXIT_CODES, ExitCode, HasExitCode};
pub use models::ModelSetupError;
pub(crate) use models::{ModelClients, are_simulated, is_simulated};
pub use open_log::{OpenLogError, STATE};
pub(crate) use open_log::{await_cluster, connect, connect_admin, open_cluster, open_folder};
pub use running_engine::{Broken, EngineEnd};
pub(crate) use running_engine::{RunningEngine, Until};
pub(crate) use services::Services;
pub use shutdown::{Shutdown, ShutdownError};
