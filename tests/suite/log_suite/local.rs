//! The suite over the logs of this process: the one in memory, and the embedded one.

use avr::{
    log::embedded::{EmbeddedLog, Options as EmbeddedOptions, TopicSpec},
    topic::Retention,
};
use tempfile::TempDir;

use crate::{
    log_suite::{LogUnderTest, TOPICS, log_suite},
    memory_log::{MemoryLog, MemoryProcess, Options},
};

/// A log in memory, with gaps between offsets or without.
struct Memory<const GAPS: bool> {
    log: MemoryLog,
}

impl<const GAPS: bool> LogUnderTest for Memory<GAPS> {
    type Log = MemoryProcess;

    async fn start() -> Self {
        let options = Options { gaps: GAPS, batch_max: 16, ..Options::calm(1) };
        Self { log: MemoryLog::new(TOPICS, options) }
    }

    async fn process(&self) -> MemoryProcess {
        self.log.process("suite")
    }

    async fn reopened(self) -> Self {
        self.log.kill_all();
        self
    }
}

/// A log in a folder of its own.
struct Embedded {
    log: EmbeddedLog,
    folder: TempDir,
}

impl Embedded {
    fn open(folder: TempDir) -> Self {
        let topic = |&(name, partitions): &(_, i32)| TopicSpec {
            name,
            partitions: partitions.unsigned_abs(),
            retention: Retention::Forever,
        };
        let topics: Vec<TopicSpec> = TOPICS.iter().map(topic).collect();
        let log = EmbeddedLog::open(folder.path(), &topics, EmbeddedOptions::default());
        Self { log: log.expect("nobody else has the folder"), folder }
    }
}

impl LogUnderTest for Embedded {
    type Log = EmbeddedLog;

    async fn start() -> Self {
        Self::open(tempfile::tempdir().expect("a folder for the test"))
    }

    async fn process(&self) -> EmbeddedLog {
        self.log.another_process()
    }

    async fn reopened(self) -> Self {
        let Self { log, folder } = self;
        drop(log);
        Self::open(folder)
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

mod embedded {
    use super::*;
    log_suite!(Embedded);
}
