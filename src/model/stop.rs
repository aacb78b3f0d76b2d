//! One signal for all calls of a process: stop waiting.

use std::sync::Arc;

use tokio::sync::watch;

/// Ends every wait of the model clients: for a place at an endpoint, and before a repeat.
///
/// A request that was already sent goes on, because its answer is paid for; who cannot wait for it drops the
/// call's future. Cloning shares the signal.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Gives the signal, for good.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for the signal.
    pub async fn stopped(&self) {
        let mut signal = self.0.subscribe();
        // An error would mean that the sender is gone, and this value holds it.
        let _ = signal.wait_for(|stopped| *stopped).await;
    }
}
