//! Ctrl-C and SIGTERM: the first asks the run to end, the second ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::command::run::RunError;

/// Exit code of a process that a second signal ends at once.
const EXIT_INTERRUPTED: i32 = 130;

/// The signals that end a run. One value hears them all, from its beginning on: a signal that comes while nobody
/// waits is not lost.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, RunError> {
        let heard = |kind| signal(kind).map_err(RunError::Signals);
        Ok(Self { interrupt: heard(SignalKind::interrupt())?, terminate: heard(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// The next one ends the process. Nothing more is waited for: the log survives it as it survives a crash.
    pub(crate) async fn end_at_once(mut self) {
        self.next().await;
        std::process::exit(EXIT_INTERRUPTED);
    }
}
