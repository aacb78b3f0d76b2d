//! What can keep a simulated cluster from starting or from leaving its files.

use std::{io, net::SocketAddr, path::PathBuf};

use thiserror::Error;

/// Why the simulated cluster did not start, or could not write what was asked for.
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
    /// A file asked for could not be written.
    #[error("cannot write {}: {source}; choose a file in a folder that exists and can be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output is closed, or signals cannot be waited for.
    #[error("cannot talk to the terminal or wait for signals: {0}; start the command from a shell")]
    Terminal(#[source] io::Error),
}
