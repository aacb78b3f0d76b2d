//! Writes values one by one, each once, whatever happens to the cluster.

use std::collections::BTreeSet;

use avr::broker::{CommitError, Committer, Log, Output};

use tokio::sync::watch;

use crate::log_suite::WORK;

/// Writes outputs, each in a commit of its own.
pub(crate) struct Writer<L: Log> {
    log: L,
    committer: L::Committer,
    /// Commits that the log did not make.
    troubles: watch::Sender<usize>,
}

impl<L: Log> Writer<L> {
    pub(crate) async fn start(log: L, troubles: watch::Sender<usize>) -> Self {
        let committer = log.committer("writer").await.expect("a committer is to be had");
        Self { log, committer, troubles }
    }

    pub(crate) async fn write(&mut self, outputs: &[Output]) {
        for output in outputs {
            self.write_one(output).await;
        }
    }

    async fn write_one(&mut self, output: &Output) {
        loop {
            let result = self.committer.commit(vec![output.clone()], vec![]).await;
            self.troubles.send_modify(|troubles| *troubles += usize::from(result.is_err()));
            match result {
                Ok(()) => return,
                Err(CommitError::Retriable(_)) => {}
                Err(CommitError::Doubtful(_)) => {
                    self.committer.recover().await.expect("the cluster comes back");
                    if self.written().await.contains(&output.value.clone().unwrap_or_default()) {
                        return;
                    }
                }
                Err(error) => panic!("a commit that nothing speaks against failed: {error}"),
            }
        }
    }

    async fn written(&self) -> BTreeSet<bytes::Bytes> {
        let mut values = BTreeSet::new();
        let mut visit = |record: avr::broker::Record| {
            values.insert(record.value.unwrap_or_default());
        };
        self.log.scan(WORK, &mut visit).await.expect("the cluster comes back");
        values
    }
}
