//! Ctrl-C and SIGTERM. Every command hears the same: the first asks it to stop, the second ends the process at once.

use std::{future::Future, io, process};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{ExitCode, HasExitCode};

/// Whether this process was told to stop. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
}

/// Nothing could tell the process to stop.
#[derive(Debug, thiserror::Error)]
#[error("signals cannot be heard: {0}")]
pub struct ShutdownError(#[from] io::Error);

impl HasExitCode for ShutdownError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Failed
    }
}

impl Shutdown {
    /// From here on no signal is lost, and none ends the process by itself. A task of its own waits for them, so the second
    /// one works whatever the command is waiting for.
    ///
    /// # Errors
    /// The system does not let us listen.
    pub fn listen() -> Result<Self, ShutdownError> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (ask, asked) = watch::channel(false);
        let next = async move || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        // Nothing more is waited for: the log survives it as it survives a crash.
        tokio::spawn(obey(next, ask, || process::exit(ExitCode::Interrupted as i32)));
        Ok(Self { asked })
    }

    /// Of a process that nobody tells to stop.
    pub fn never() -> Self {
        Self { asked: watch::channel(false).1 }
    }

    /// Waits until the process is told to stop.
    pub async fn asked(&self) {
        if self.asked.clone().wait_for(|asked| *asked).await.is_err() {
            std::future::pending().await
        }
    }

    /// Whether the process was told to stop.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// What `work` comes to; none if the process is told to stop before, and the work is dropped.
    pub async fn unless_asked<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.asked() => None,
            done = work => Some(done),
        }
    }
}

/// The first signal asks, the second ends.
async fn obey(mut next: impl AsyncFnMut(), ask: watch::Sender<bool>, end: impl FnOnce()) {
    next().await;
    tracing::info!("told to stop: what is under way is brought to its end; a second signal ends at once");
    ask.send_replace(true);
    next().await;
    end();
}

#[cfg(test)]
mod tests {
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    /// A process, its signals, and what hears of its sudden end.
    fn process() -> (Shutdown, &'static Semaphore, oneshot::Receiver<()>) {
        let signals: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
        let (ask, asked) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let next = async || signals.acquire().await.expect("never closed").forget();
        tokio::spawn(obey(next, ask, || end.send(()).expect("it is waited for")));
        (Shutdown { asked }, signals, ended)
    }

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_ends() {
        let (shutdown, signals, mut ended) = process();
        assert_eq!(shutdown.unless_asked(async { 7 }).await, Some(7));
        assert!(!shutdown.is_asked());
        signals.add_permits(1);
        assert_eq!(shutdown.unless_asked(std::future::pending::<()>()).await, None, "it waits for no work");
        assert!(shutdown.is_asked() && ended.try_recv().is_err(), "it goes on after one signal");
        signals.add_permits(1);
        ended.await.expect("the end after two");
    }

    #[tokio::test]
    async fn who_was_told_before_begins_nothing() {
        let (shutdown, signals, _ended) = process();
        signals.add_permits(1);
        shutdown.asked().await;
        assert_eq!(shutdown.unless_asked(async { 7 }).await, None);
    }

    #[tokio::test]
    async fn nobody_tells_it_to_stop() {
        assert_eq!(Shutdown::never().unless_asked(tokio::task::yield_now()).await, Some(()));
    }
}
