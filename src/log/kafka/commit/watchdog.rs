//! A watchdog over calls that may never return: they are made on an OS thread of their own, and given up there.
//!
//! librdkafka takes a time limit for each call about a transaction, and yet some calls hang: in 2.12
//! `send_offsets_to_transaction` waits for ever where a coordinator dies at the wrong moment (seen in the chaos test).
//! So the limit is kept here, too. A call that hangs is left behind with its OS thread and its client.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, SyncSender},
    },
    thread,
    time::Duration,
};

use tokio::sync::watch;

type WatchedCall<T> = Box<dyn FnOnce(&T) + Send>;

/// An OS thread that makes calls of `T`, one after the other. It ends when this is dropped, and drops `T` then; or never,
/// where a call hangs.
#[derive(Debug)]
pub(super) struct Watchdog<T> {
    calls: SyncSender<WatchedCall<T>>,
    is_hung: AtomicBool,
    /// Counts the calls that did not return in time.
    hung_calls: watch::Sender<u64>,
}

impl<T: Send + Sync + 'static> Watchdog<T> {
    /// Starts the OS thread. `hung_calls` counts the calls that do not return in time.
    pub(super) fn over(
        subject: Arc<T>,
        name: &str,
        hung_calls: watch::Sender<u64>,
    ) -> Result<Self, io::Error> {
        let (calls, queue) = mpsc::sync_channel::<WatchedCall<T>>(1);
        let make = move || queue.into_iter().for_each(|call| call(&subject));
        thread::Builder::new().name(name.to_owned()).spawn(make)?;
        Ok(Self { calls, is_hung: AtomicBool::new(false), hung_calls })
    }

    /// The result of a call; none where it did not return in time, and of every call after that.
    pub(super) fn call<R: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Option<R> {
        if self.is_hung.load(Ordering::Acquire) {
            return None;
        }
        let (reply, result) = mpsc::sync_channel(1);
        // Whoever does not wait any more needs no answer.
        let call = Box::new(move |subject: &T| drop(reply.send(call(subject))));
        let result = self.calls.try_send(call).ok().and_then(|()| result.recv_timeout(limit).ok());
        if result.is_none() {
            self.is_hung.store(true, Ordering::Release);
            self.hung_calls.send_modify(|calls| *calls += 1);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_left_behind() {
        let hung = watch::Sender::new(0);
        let watchdog = Watchdog::over(Arc::new(2), "test", hung.clone()).expect("a thread");
        assert_eq!(watchdog.call(Duration::from_secs(60), |number| number + 1), Some(3));
        assert_eq!(*hung.borrow(), 0);
        let (end, never) = mpsc::channel::<()>();
        let hangs = watchdog.call(Duration::from_millis(1), move |_| never.recv().is_ok());
        assert_eq!(hangs, None);
        assert_eq!(
            watchdog.call(Duration::from_secs(60), |number| *number),
            None,
            "it is not waited for again"
        );
        assert_eq!(*hung.borrow(), 1, "one thread is left behind");
        drop(end);
    }

    #[test]
    fn the_subject_ends_with_the_watchdog() {
        let (subject, alive) = mpsc::channel::<()>();
        let subject = Arc::new(std::sync::Mutex::new(subject));
        let watchdog = Watchdog::over(subject, "test", watch::Sender::new(0)).expect("a thread");
        drop(watchdog);
        assert!(alive.recv().is_err(), "its only other end was dropped");
    }
}
