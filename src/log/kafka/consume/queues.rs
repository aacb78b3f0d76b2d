//! What passes between a consumer, which is async, and its poller, an OS thread that may block: events one way, commands
//! the other. Neither side waits for the other.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::log::{Event, Generation, LogError, Partition, Progress, lock};

/// Bytes of records above which the poller hands over no more.
const EVENT_BYTES: usize = 1 << 20;

/// Events on their way from the poller to the consumer.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    pending: Mutex<PendingEvents>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct PendingEvents {
    events: VecDeque<(Generation, Result<Event, LogError>)>,
    bytes: usize,
}

impl EventQueue {
    /// Whether records have to wait.
    pub(super) fn is_full(&self) -> bool {
        lock(&self.pending).bytes >= EVENT_BYTES
    }

    pub(super) fn push(&self, generation: Generation, event: Result<Event, LogError>) {
        let mut pending = lock(&self.pending);
        pending.bytes += size(&event);
        pending.events.push_back((generation, event));
        drop(pending);
        self.arrived.notify_one();
    }

    /// Takes the oldest event, and says whether the queue was full before.
    pub(super) fn pop(&self) -> Option<(Generation, Result<Event, LogError>, bool)> {
        let mut pending = lock(&self.pending);
        let (generation, event) = pending.events.pop_front()?;
        let was_full = pending.bytes >= EVENT_BYTES;
        pending.bytes -= size(&event);
        Some((generation, event, was_full))
    }

    /// Waits until there may be an event.
    pub(super) async fn wait(&self) {
        self.arrived.notified().await;
    }
}

/// The bytes of an event's records; each counts for one at least.
fn size(event: &Result<Event, LogError>) -> usize {
    match event {
        Ok(Event::Records(records)) => records.iter().map(|record| record.size() + 1).sum(),
        _ => 0,
    }
}

/// Commands on their way from the consumer to the poller, and what wakes the poller.
#[derive(Debug, Default)]
pub(crate) struct CommandQueue {
    pending: Mutex<Commands>,
    woken: Condvar,
}

/// The commands that have come since the poller last looked.
#[derive(Debug, Default)]
pub(super) struct Commands {
    is_woken: bool,
    /// Whether each partition is to be paused: the latest word on it.
    pub(super) pauses: BTreeMap<Partition, bool>,
    /// Partitions that the engine has released after they were revoked.
    pub(super) released: Vec<Partition>,
    /// What was read for partitions that librdkafka waits to have assigned.
    pub(super) fetched: Option<FetchedProgress>,
    /// Leave the group; the sender is told when that is done.
    pub(super) leave: Option<Option<oneshot::Sender<()>>>,
}

/// The committed progress of partitions that are to be assigned; none where nothing is committed.
pub(super) type FetchedProgress = Result<Vec<(Partition, Option<Progress>)>, LogError>;

impl CommandQueue {
    /// Changes the pending commands and wakes the poller.
    pub(super) fn send(&self, change: impl FnOnce(&mut Commands)) {
        let mut pending = lock(&self.pending);
        change(&mut pending);
        pending.is_woken = true;
        self.woken.notify_one();
    }

    /// Wakes the poller.
    pub(super) fn wake(&self) {
        self.send(|_| {});
    }

    /// Takes all pending commands.
    pub(super) fn take(&self) -> Commands {
        std::mem::take(&mut *lock(&self.pending))
    }

    /// Waits until the poller is woken, or for this long.
    pub(super) fn wait(&self, at_most: Duration) {
        let pending = lock(&self.pending);
        if !pending.is_woken {
            drop(self.woken.wait_timeout(pending, at_most).unwrap_or_else(PoisonError::into_inner));
        }
    }
}
