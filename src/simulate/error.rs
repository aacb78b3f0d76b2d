//! What can keep a simulated cluster from starting.

use std::{io, net::SocketAddr};

use thiserror::Error;

/// Why the simulated cluster did not start.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// Options that contradict each other.
    #[error("the simulated cluster cannot start: {0}")]
    Options(&'static str),
    /// A port could not be taken.
    #[error("cannot listen on {address}: {source}; choose another --port, or 0 for any free ports")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
