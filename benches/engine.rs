//! What the engine alone can do: one stage that copies its input of 20 KiB, and nothing else.
//!
//! ```text
//! prompts ─▶ copy ─▶ drafted          as fast as it goes: records a second, CPU each
//!                                     at half of that: how long a commit takes
//! ```
//!
//! `cargo bench --bench engine -- [--records N] [--partitions N] [--commit-interval MS] [--pace N]
//! [--kafka HOST:PORT,…]`; `--pace` is records a second in place of the half. Over the embedded log with
//! either durability; with `--kafka` over that cluster instead, in topics of their own with three replicas, or as
//! many as `--replicas` says, which are deleted afterwards. CPU is that of this process alone.

mod support;

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use avr::{
    engine::{Engine, EngineOptions, Stage, StageSpec, StepError, Stop},
    log::{
        Budget, CommitError, Committer, GroupName, GroupProgress, Log, LogError, Output, Partition, Progress,
        Record,
        embedded::{Durability, EmbeddedLog, Options, TopicSpec},
        kafka::{KafkaLog, KafkaOptions, MissingProgress},
    },
    observe::Metrics,
    topic::{DRAFTED, PROMPTS, Retention, TopicName},
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use support::{cpu_seconds, option, peak_mib};
use tokio::sync::watch;

type Error = Box<dyn std::error::Error + Send + Sync>;

const RECORD_BYTES: usize = 20 << 10;
/// Records in one commit of what is laid ready.
const LAID_AT_ONCE: usize = 200;
/// Steps at once.
const IN_FLIGHT: usize = 1024;
/// How long records come at half the speed.
const PACED: Duration = Duration::from_secs(10);
/// Between two commits of records that come at half the speed.
const BEAT: Duration = Duration::from_millis(10);

/// Hands its input on.
struct Copy;

impl Stage for Copy {
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, StepError>> {
        let Record { key, value, headers, .. } = record.clone();
        Box::pin(ready(Ok(vec![Output { topic: DRAFTED.name, key, value, headers }])))
    }
}

/// What is seen of commits.
#[derive(Clone, Default)]
struct Seen {
    /// How long each took.
    took: Arc<Mutex<Vec<Duration>>>,
    /// Records written by all of them. Offsets would not do: over Kafka the marks of transactions take some.
    written: watch::Sender<usize>,
}

/// A log whose commits are seen.
#[derive(Clone)]
struct Observed<L> {
    log: L,
    seen: Seen,
}

struct ObservedCommitter<C> {
    committer: C,
    seen: Seen,
}

impl<L: Log> Log for Observed<L> {
    type Consumer = L::Consumer;
    type Committer = ObservedCommitter<L::Committer>;

    async fn consumer_within(
        &self,
        group: GroupName,
        topics: &[TopicName],
        budget: Arc<Budget>,
    ) -> Result<Self::Consumer, LogError> {
        self.log.consumer_within(group, topics, budget).await
    }

    async fn committer(&self, name: &str) -> Result<Self::Committer, LogError> {
        Ok(ObservedCommitter { committer: self.log.committer(name).await?, seen: self.seen.clone() })
    }

    async fn scan(&self, topic: TopicName, visit: &mut (dyn FnMut(Record) + Send)) -> Result<(), LogError> {
        self.log.scan(topic, visit).await
    }

    async fn scan_from(
        &self,
        starts: Vec<(Partition, i64)>,
        visit: &mut (dyn FnMut(Record) -> ControlFlow<()> + Send),
    ) -> Result<(), LogError> {
        self.log.scan_from(starts, visit).await
    }

    async fn progress(
        &self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        self.log.progress(group, partitions).await
    }

    async fn ends(&self, topic: TopicName) -> Result<Vec<(Partition, i64)>, LogError> {
        self.log.ends(topic).await
    }

    fn max_record_bytes(&self) -> usize {
        self.log.max_record_bytes()
    }
}

impl<C: Committer> Committer for ObservedCommitter<C> {
    async fn commit(
        &mut self,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        let (started, count) = (Instant::now(), outputs.len());
        let result = self.committer.commit(outputs, progress).await;
        self.seen.took.lock().expect("nobody panics with it").push(started.elapsed());
        if result.is_ok() {
            self.seen.written.send_modify(|written| *written += count);
        }
        result
    }

    async fn recover(&mut self) -> Result<(), LogError> {
        self.committer.recover().await
    }

    async fn progress(
        &mut self,
        group: GroupName,
        partitions: Vec<Partition>,
    ) -> Result<Vec<Option<Progress>>, LogError> {
        self.committer.progress(group, partitions).await
    }
}

fn main() -> Result<(), Error> {
    let records: usize = option("records")?.unwrap_or(20_000);
    let partitions: u32 = option("partitions")?.unwrap_or(4);
    println!(
        "{:<26} {:>9} {:>11} {:>13} {:>14} {:>14} {:>9}",
        "log", "records", "records/s", "CPU µs each", "commit p50 ms", "commit p99 ms", "peak MiB"
    );
    let kafka: Option<String> = option("kafka")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Some(servers) = kafka {
        let replicas = option("replicas")?.unwrap_or(3);
        return runtime
            .block_on(async { tokio::spawn(over_kafka(servers, partitions, replicas, records)).await? });
    }
    for (name, durability) in [
        ("embedded, each commit", Durability::EachCommit),
        ("embedded, interval 200 ms", Durability::Interval(Duration::from_millis(200))),
    ] {
        let folder = tempfile::tempdir()?;
        let topic = |name| TopicSpec { name, partitions, retention: Retention::Consumed };
        let topics = [topic(PROMPTS.name), topic(DRAFTED.name)];
        let log = EmbeddedLog::open(folder.path(), &topics, Options { durability, ..Options::default() })?;
        runtime.block_on(async { tokio::spawn(measure(name, log, records)).await? })?;
    }
    Ok(())
}

/// Measures over a cluster, in topics that are made for it and deleted afterwards.
async fn over_kafka(servers: String, partitions: u32, replicas: i32, records: usize) -> Result<(), Error> {
    let prefix = format!("bench-{}.", std::process::id());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &servers).create()?;
    let names = [PROMPTS.name, DRAFTED.name].map(|topic| format!("{prefix}{topic}"));
    let topic = |name| NewTopic::new(name, partitions.cast_signed(), TopicReplication::Fixed(replicas));
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| topic(name)).collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    for created in admin.create_topics(&topics, &options).await? {
        created.map_err(|(topic, code)| format!("{topic}: {code}"))?;
    }
    let options = KafkaOptions {
        missing_progress: MissingProgress::Begin,
        max_record_bytes: 900_000,
        ..KafkaOptions::new(servers.split(',').map(str::to_owned).collect(), prefix)
    };
    let measured = measure("Kafka", KafkaLog::connect(options).await?, records).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    admin.delete_topics(&names, &AdminOptions::new()).await?;
    measured
}

/// Copies what was laid ready as fast as it goes, then half as much a second, and prints a row.
async fn measure<L: Log>(name: &'static str, log: L, records: usize) -> Result<(), Error> {
    let mut writer = log.committer("writer").await?;
    for first in (0..records).step_by(LAID_AT_ONCE) {
        writer.commit(numbered(first..records.min(first + LAID_AT_ONCE)), vec![]).await?;
    }
    let seen = Seen::default();
    let mut written = seen.written.subscribe();
    let mut options = EngineOptions { committer: "bench".to_owned(), ..EngineOptions::default() };
    if let Some(interval) = option("commit-interval")? {
        options.commit_interval = Duration::from_millis(interval);
    }
    let stages = vec![StageSpec::steps("draft", PROMPTS.name, Copy, IN_FLIGHT)];
    let observed = Observed { log, seen: seen.clone() };
    let (engine, handle) = Engine::new(observed, stages, None, options, Metrics::new());
    let (stop, stopped) = watch::channel(Stop::Run);
    let (cpu_before, start) = (cpu_seconds()?, Instant::now());
    let running = tokio::spawn(engine.run(stopped));
    written.wait_for(|written| *written >= records).await?;
    let (cpu, seconds) = (cpu_seconds()? - cpu_before, start.elapsed().as_secs_f64());

    seen.took.lock().expect("nobody panics with it").clear();
    let rate = records as f64 / seconds;
    let paced = pace(&mut writer, records, option("pace")?.unwrap_or(rate / 2.0)).await?;
    written.wait_for(|written| *written >= records + paced).await?;
    let took = std::mem::take(&mut *seen.took.lock().expect("nobody panics with it"));
    stop.send_replace(Stop::Drain);
    running.await??;
    drop(handle);
    println!(
        "{name:<26} {records:>9} {rate:>11.0} {:>13.1} {:>14.1} {:>14.1} {:>9}",
        cpu / records as f64 * 1e6,
        quantile(&took, 0.5),
        quantile(&took, 0.99),
        peak_mib()?
    );
    Ok(())
}

/// Writes records at this rate for a while; gives how many.
async fn pace(writer: &mut impl Committer, first: usize, per_second: f64) -> Result<usize, Error> {
    let mut beat = tokio::time::interval(BEAT);
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < PACED {
        beat.tick().await;
        let due = (start.elapsed().as_secs_f64() * per_second) as usize;
        if due > written {
            writer.commit(numbered(first + written..first + due), vec![]).await?;
            written = due;
        }
    }
    Ok(written)
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Output> {
    // Bytes that compress about as well as text does would flatter nobody: these do not compress.
    let output = |number: usize| {
        let mut rng = fastrand::Rng::with_seed(number as u64);
        let mut payload = vec![0; RECORD_BYTES];
        rng.fill(&mut payload);
        let key = Some(Bytes::from(number.to_string()));
        Output { topic: PROMPTS.name, key, value: Some(payload.into()), headers: vec![] }
    };
    numbers.map(output).collect()
}

/// The quantile of times, in milliseconds.
fn quantile(times: &[Duration], share: f64) -> f64 {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    times.sort_unstable_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
