//! Writes values one by one, each once, whatever happens to the cluster.

use std::collections::BTreeSet;

use avr::log::{CommitError, Committer, Log, Output};

use tokio::sync::watch;

use super::brokers::Troubles;
use crate::log_suite::{WORK, worker::original};

/// Writes the values from 0 on, each in a commit of its own.
pub(crate) struct Writer<L: Log> {
    log: L,
    committer: L::Committer,
    written: watch::Sender<usize>,
    troubles: Troubles,
}

impl<L: Log> Writer<L> {
    pub(crate) async fn start(log: L, troubles: Troubles) -> Self {
        let committer = log.committer("writer").await.expect("a committer is to be had");
        Self { log, committer, written: watch::Sender::new(0), troubles }
    }

    /// How many values are written.
    pub(crate) fn written(&self) -> usize {
        *self.written.borrow()
    }

    /// The count of values written, to be waited on.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.written.subscribe()
    }

    pub(crate) async fn write(&mut self, count: usize) {
        for _ in 0..count {
            let output = original(self.written());
            self.write_one(&output).await;
            self.written.send_modify(|written| *written += 1);
        }
    }

    /// The writer is the only one of its name: what is not made may be made again.
    async fn write_one(&mut self, output: &Output) {
        loop {
            let result = self.committer.commit(vec![output.clone()], vec![]).await;
            self.troubles.note(&result);
            match result {
                Ok(()) => return,
                Err(CommitError::Retriable(_)) => {
                    self.committer.recover().await.expect("the cluster comes back");
                }
                Err(CommitError::Doubtful(_)) => {
                    self.committer.recover().await.expect("the cluster comes back");
                    if self.has(output).await {
                        return;
                    }
                }
                Err(error) => panic!("a commit that nothing speaks against failed: {error}"),
            }
        }
    }

    async fn has(&self, output: &Output) -> bool {
        let mut values = BTreeSet::new();
        let mut visit = |record: avr::log::Record| {
            values.insert(record.value);
        };
        self.log.scan(WORK, &mut visit).await.expect("the cluster comes back");
        values.contains(&output.value)
    }
}
