//! The suite that any log must pass, over each log.

use crate::{
    log_suite::{LogUnderTest, TOPICS, log_suite},
    memory_log::{MemoryLog, MemoryProcess, Options},
};

/// A log in memory whose processes are all killed when it is reopened.
struct Memory<const GAPS: bool> {
    log: MemoryLog,
}

impl<const GAPS: bool> LogUnderTest for Memory<GAPS> {
    type Log = MemoryProcess;

    async fn start() -> Self {
        let options = Options { gaps: GAPS, batch_max: 16, ..Options::calm(1) };
        Self { log: MemoryLog::new(TOPICS, options) }
    }

    fn process(&self) -> MemoryProcess {
        self.log.process("suite")
    }

    async fn reopened(self) -> Self {
        self.log.kill_all();
        self
    }
}

mod memory {
    use super::*;
    log_suite!(Memory<false>);
}

mod memory_with_gaps {
    use super::*;
    log_suite!(Memory<true>);
}
