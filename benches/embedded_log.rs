//! What the embedded log costs: CPU time for each record that is written once and read once.
//!
//! ```text
//! 4 committers ─▶ prompts ─▶ 1 consumer ─▶ its progress, committed every 64 records
//! ```
//!
//! `cargo bench --bench embedded_log -- [--records N]`. The time is user and system time of the whole process, as the
//! kernel counts it in `/proc/self/stat`, so it holds the database's threads too.

mod support;

use std::{path::PathBuf, time::Duration, time::Instant};

use avr::log::{
    Committer, Consumer, Event, GroupName, GroupProgress, Log, Output, Progress,
    embedded::{Durability, EmbeddedLog, Options, TopicSpec},
};
use avr::topic::{PROMPTS, Retention};
use bytes::Bytes;
use support::{cpu_seconds, option, peak_mib};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const RECORD_BYTES: usize = 20 << 10;
const COMMITTERS: usize = 4;
const DONE_AT_ONCE: usize = 64;
const PARTITIONS: u32 = 8;
const GROUP: GroupName = GroupName("readers");

fn main() -> Result<(), Failure> {
    let records = option("records")?.unwrap_or(40_000);
    println!(
        "{:<22} {:>10} {:>12} {:>12} {:>10}",
        "durability", "records", "CPU µs each", "records/s", "peak MiB"
    );
    for (name, durability) in [
        ("interval of 1 s", Durability::Interval(Duration::from_secs(1))),
        ("each commit", Durability::EachCommit),
    ] {
        let folder = tempfile::tempdir()?;
        let (cpu_before, start) = (cpu_seconds()?, Instant::now());
        let running = run(folder.path().to_owned(), durability, records);
        // On a worker, where an engine's tasks are too, not on a thread of its own.
        tokio::runtime::Runtime::new()?.block_on(async { tokio::spawn(running).await? })?;
        let (cpu, seconds) = (cpu_seconds()? - cpu_before, start.elapsed().as_secs_f64());
        let count = records as f64;
        println!(
            "{name:<22} {records:>10} {:>12.1} {:>12.0} {:>10}",
            cpu / count * 1e6,
            count / seconds,
            peak_mib()?
        );
    }
    Ok(())
}

async fn run(folder: PathBuf, durability: Durability, records: usize) -> Result<(), Failure> {
    let topic = TopicSpec { name: PROMPTS.name, partitions: PARTITIONS, retention: Retention::Consumed };
    let log = EmbeddedLog::open(&folder, &[topic], Options { durability, ..Options::default() })?;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..COMMITTERS {
        let committer = log.committer(&format!("writer {number}")).await?;
        let share = records / COMMITTERS + usize::from(number < records % COMMITTERS);
        writers.spawn(write(committer, share));
    }
    read(&log, records).await?;
    while let Some(result) = writers.join_next().await {
        result??;
    }
    Ok(())
}

async fn write(mut committer: impl Committer, count: usize) -> Result<(), avr::log::CommitError> {
    let payload = Bytes::from(vec![b'x'; RECORD_BYTES]);
    for _ in 0..count {
        let output = Output { topic: PROMPTS.name, key: None, value: Some(payload.clone()), headers: vec![] };
        committer.commit(vec![output], vec![]).await?;
    }
    Ok(())
}

async fn read(log: &EmbeddedLog, count: usize) -> Result<(), Failure> {
    let mut consumer = log.consumer(GROUP, &[PROMPTS.name]).await?;
    let mut committer = log.committer("reader").await?;
    let (mut read, mut committed) = (0, 0);
    let mut done = std::collections::BTreeMap::new();
    while read < count {
        let Event::Records(records) = consumer.next().await? else { continue };
        read += records.len();
        done.extend(records.iter().map(|record| (record.partition, record.offset + 1)));
        if read - committed >= DONE_AT_ONCE {
            let progress = |(partition, offset)| (partition, Progress { offset, text: String::new() });
            let partitions = std::mem::take(&mut done).into_iter().map(progress).collect();
            committer
                .commit(
                    vec![],
                    vec![GroupProgress { group: GROUP, generation: consumer.generation(), partitions }],
                )
                .await?;
            committed = read;
        }
    }
    Ok(())
}
