//! Calls that may never return, made on a thread of their own.
//!
//! librdkafka takes a time limit for each call about a transaction, and yet it forgets some callers: in 2.12
//! `send_offsets_to_transaction` waits for ever where a coordinator dies at the wrong moment (seen in the chaos test).
//! So the limit is kept here, too. Who was forgotten is left behind with its thread; nobody asks it any more.

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

type Call<T> = Box<dyn FnOnce(&T) + Send>;

/// A thread that makes calls of `T`, one after the other. It ends when this is dropped, and drops `T` then; or never,
/// where a call does not return.
#[derive(Debug)]
pub(super) struct Calls<T> {
    calls: SyncSender<Call<T>>,
    is_lost: AtomicBool,
    /// Counts the calls that did not return.
    lost: watch::Sender<u64>,
}

impl<T: Send + Sync + 'static> Calls<T> {
    /// Starts the thread. `lost` counts the calls that do not return.
    pub(super) fn of(subject: Arc<T>, name: &str, lost: watch::Sender<u64>) -> Result<Self, io::Error> {
        let (calls, queue) = mpsc::sync_channel::<Call<T>>(1);
        let make = move || queue.into_iter().for_each(|call| call(&subject));
        thread::Builder::new().name(name.to_owned()).spawn(make)?;
        Ok(Self { calls, is_lost: AtomicBool::new(false), lost })
    }

    /// The result of a call; none where it did not return in time, and of every call after that.
    pub(super) fn make<R: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce(&T) -> R + Send + 'static,
    ) -> Option<R> {
        if self.is_lost.load(Ordering::Acquire) {
            return None;
        }
        let (reply, result) = mpsc::sync_channel(1);
        // Whoever does not wait any more needs no answer.
        let call = Box::new(move |subject: &T| drop(reply.send(call(subject))));
        let result = self.calls.try_send(call).ok().and_then(|()| result.recv_timeout(limit).ok());
        if result.is_none() {
            self.is_lost.store(true, Ordering::Release);
            self.lost.send_modify(|lost| *lost += 1);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_forgotten_is_left_behind() {
        let lost = watch::Sender::new(0);
        let calls = Calls::of(Arc::new(2), "test", lost.clone()).expect("a thread");
        assert_eq!(calls.make(Duration::from_secs(60), |number| number + 1), Some(3));
        assert_eq!(*lost.borrow(), 0);
        let (end, never) = mpsc::channel::<()>();
        let forgotten = calls.make(Duration::from_millis(1), move |_| never.recv().is_ok());
        assert_eq!(forgotten, None);
        assert_eq!(calls.make(Duration::from_secs(60), |number| *number), None, "it is not waited for again");
        assert_eq!(*lost.borrow(), 1, "one thread is left behind");
        drop(end);
    }

    #[test]
    fn the_subject_ends_with_the_calls() {
        let (subject, alive) = mpsc::channel::<()>();
        let subject = Arc::new(std::sync::Mutex::new(subject));
        let calls = Calls::of(subject, "test", watch::Sender::new(0)).expect("a thread");
        drop(calls);
        assert!(alive.recv().is_err(), "its only other end was dropped");
    }
}
