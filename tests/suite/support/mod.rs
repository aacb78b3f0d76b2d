//! What the tests share: a folder, processes in it, a cluster beside it, and what is in the files afterwards.

mod bench;
pub(crate) mod calls;
mod cluster;
pub(crate) mod ended;
mod http;
pub(crate) mod lines;
pub(crate) mod log_state;
mod output;
mod process;

use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) use bench::{Bench, prompts};
pub(crate) use cluster::{Cluster, SLOW};
pub(crate) use http::get;
pub(crate) use output::Output;
pub(crate) use process::{Finished, Process};

/// When a test gives up waiting. Only a defect takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A pause between two looks at another process, which has no way to tell.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// Makes `ring` the cryptography of this process, as `main` does. All tests share the process: the first that comes does it.
pub(crate) fn use_ring() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Looks until something is there; none when it took too long.
pub(crate) fn look_until<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(seen) = look() {
            return Some(seen);
        }
        thread::sleep(LOOK_AGAIN);
    }
    None
}
