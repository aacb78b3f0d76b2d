//! The smallest worker that copies a topic exactly once: it shows that the seam is enough for that.
//!
//! ```text
//!   Records ─▶ waiting ─▶ commit(copies, progress) ─▶ waiting is empty
//!   Refused: later · Retriable: recover · Doubtful: recover, drop what the progress covers · Fenced: a new committer
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use avr::log::{
    CommitError, Committer, Consumer, Event, GroupProgress, Log, LogErrorKind, Output, Partition, Progress,
    Record,
};
use tokio::sync::oneshot;

use super::{GROUP, MORE, OTHER_GROUP, WORK, output, reader::Reader, scan, texts, up_to};

/// Copies what it reads of [`WORK`] to [`MORE`], one process of several.
struct Worker<L: Log> {
    log: L,
    name: String,
    consumer: L::Consumer,
    committer: L::Committer,
    /// Records of partitions that it holds, read and not yet copied.
    waiting: BTreeMap<Partition, Vec<Record>>,
    /// Told how every commit ended.
    tell: Tell,
}

/// Somebody to be told how commits ended.
type Tell = Box<dyn Fn(&Result<(), CommitError>) + Send>;

impl<L: Log> Worker<L> {
    async fn start(log: L, name: String, tell: Tell) -> Option<Self> {
        let committer = log.committer(&name).await.ok()?;
        let consumer = log.consumer(GROUP, &[WORK]).await.ok()?;
        Some(Self { log, name, consumer, committer, waiting: BTreeMap::new(), tell })
    }

    /// Works until it is told to stop or its process is dead.
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            let idle = self.waiting.values().all(Vec::is_empty);
            let flow = tokio::select! {
                biased;
                event = self.consumer.next() => match event {
                    Ok(event) => self.take(event).await,
                    Err(error) => {
                        tracing::warn!(worker = self.name, %error, "the log does not go on for a worker of the test");
                        return;
                    }
                },
                _ = &mut stop => return,
                () = tokio::task::yield_now(), if !idle => self.copy().await,
            };
            if flow.is_break() {
                return;
            }
        }
    }

    async fn take(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Assigned(assigned) => self.waiting.extend(assigned.into_iter().map(|(p, _)| (p, vec![]))),
            Event::Lost(partitions) => self.waiting.retain(|partition, _| !partitions.contains(partition)),
            Event::Records(records) => {
                for record in records {
                    self.waiting.entry(record.partition).or_default().push(record);
                }
            }
            Event::Revoked(partitions) => {
                self.copy().await?;
                self.waiting.retain(|partition, _| !partitions.contains(partition));
                return stop_on_error(self.consumer.release(&partitions).await);
            }
        }
        ControlFlow::Continue(())
    }

    async fn copy(&mut self) -> ControlFlow<()> {
        let (outputs, partitions) = self.job();
        if outputs.is_empty() {
            return ControlFlow::Continue(());
        }
        let generation = self.consumer.generation();
        let progress = vec![GroupProgress { group: GROUP, generation, partitions }];
        let result = self.committer.commit(outputs, progress).await;
        (self.tell)(&result);
        match result {
            Ok(()) => self.waiting.values_mut().for_each(Vec::clear),
            Err(CommitError::Refused(_)) => {}
            Err(CommitError::Retriable(_)) => return stop_on_error(self.committer.recover().await),
            Err(CommitError::Doubtful(_)) => {
                stop_on_error(self.committer.recover().await)?;
                return self.drop_what_is_done().await;
            }
            Err(CommitError::Fatal(error)) if matches!(error.cause, LogErrorKind::Fenced) => {
                self.committer = stop_on_error(self.log.committer(&self.name).await)?;
                return self.drop_what_is_done().await;
            }
            Err(error @ CommitError::Fatal(_)) => return stop_on_error(Err(error)),
        }
        ControlFlow::Continue(())
    }

    fn job(&self) -> (Vec<Output>, Vec<(Partition, Progress)>) {
        let copy = |record: &Record| Output {
            topic: MORE,
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record.headers.clone(),
        };
        let outputs = self.waiting.values().flatten().map(copy).collect();
        let lasts = self.waiting.values().filter_map(|records| records.last());
        (outputs, lasts.map(|last| (last.partition, up_to(last.offset + 1))).collect())
    }

    async fn drop_what_is_done(&mut self) -> ControlFlow<()> {
        let partitions: Vec<Partition> = self.waiting.keys().copied().collect();
        let known = stop_on_error(self.committer.progress(GROUP, partitions).await)?;
        for (records, progress) in self.waiting.values_mut().zip(known) {
            let done = progress.map_or(0, |progress| progress.offset);
            records.retain(|record| record.offset >= done);
        }
        ControlFlow::Continue(())
    }
}

fn stop_on_error<T, E: std::fmt::Display>(result: Result<T, E>) -> ControlFlow<(), T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(error) => {
            tracing::warn!(%error, "a worker of the test ends");
            ControlFlow::Break(())
        }
    }
}

/// A worker under way.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn start<L: Log>(log: L, name: &str) -> Self {
        Self::start_telling(log, name, |_| {})
    }

    /// Starts a worker that tells how each of its commits ended.
    pub(crate) fn start_telling<L: Log>(
        log: L,
        name: &str,
        tell: impl Fn(&Result<(), CommitError>) + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (name, tell) = (name.to_owned(), Box::new(tell));
        let task = tokio::spawn(async move {
            if let Some(worker) = Worker::start(log, name, tell).await {
                worker.run(stopped).await;
            }
        });
        Self { stop, task }
    }

    /// Ends it between two events.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("a worker does not panic");
    }
}

/// The value `at`, to be copied, with a key that spreads values over the partitions.
pub(crate) fn original(at: usize) -> Output {
    output(WORK, &format!("key {at}"), at.to_string())
}

/// The values from 0 to `count`.
pub(crate) fn originals(count: usize) -> Vec<Output> {
    (0..count).map(original).collect()
}

/// Waits until there are as many copies as originals, and fails if any is missing or there twice.
pub(crate) async fn copies_are_exact<L: Log>(log: &L, count: usize) {
    Reader::join(log, OTHER_GROUP, &[MORE]).await.until_read(count).await;
    let copies = texts(&scan(log, MORE).await);
    let distinct: BTreeSet<usize> = copies.iter().filter_map(|copy| copy.parse().ok()).collect();
    assert_eq!(distinct.len(), count, "copies are missing");
    assert_eq!(copies.len(), count, "there are copies twice");
}
