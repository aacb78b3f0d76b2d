//! One signal for all calls of a process: begin nothing that fails anew, or stop waiting altogether.

use std::sync::Arc;

use tokio::sync::watch;

/// Ends waits of the model clients: while the process drains, those of calls that fail; after a stop every one, for a
/// slot at an endpoint and before a retry.
///
/// A request that was already sent goes on, because its answer is paid for; who cannot wait for it drops the
/// call's future. Cloning shares the signal.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<watch::Sender<StopPhase>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StopPhase {
    Run,
    Drain,
    Stop,
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::new()
    }
}

impl StopSignal {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(StopPhase::Run)))
    }

    /// Calls that fail are given up from now on; others may still come to their end.
    pub fn drain(&self) {
        self.advance(StopPhase::Drain);
    }

    /// Gives the signal, for good.
    pub fn stop(&self) {
        self.advance(StopPhase::Stop);
    }

    /// Whether the signal to stop was given.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() == StopPhase::Stop
    }

    /// Waits for the signal to stop.
    pub async fn stopped(&self) {
        self.reached(StopPhase::Stop).await;
    }

    /// Waits until the process drains or stops.
    pub async fn draining(&self) {
        self.reached(StopPhase::Drain).await;
    }

    fn advance(&self, to: StopPhase) {
        self.0.send_modify(|phase| *phase = to.max(*phase));
    }

    async fn reached(&self, wanted: StopPhase) {
        let mut signal = self.0.subscribe();
        // An error would mean that the sender is gone, and this value holds it.
        let _ = signal.wait_for(|phase| *phase >= wanted).await;
    }
}
