//! The engine in single cases: what it does with records that are parked, stuck, poisonous or too large, and how it
//! stops. Time is paused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use avr::{
    dead_letter::DeadLetterHeaders,
    engine::{
        Completed, Engine, EngineError, EngineOptions, Handle, PausedStages, Stage, StageSpec, StepError,
        Stop, SubmitError, progress_text,
    },
    log::{
        Committer as _, Consumer as _, Event, GroupName, GroupProgress, Log as _, Output, Partition, Record,
    },
    observe::Metrics,
    topic::{DEAD_LETTERS, PROMPTS, RECORDS, TopicName},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::memory_log::{Faults, MemoryLog, MemoryProcess, Options};

pub(crate) const GROUP: GroupName = GroupName("scripted");

type Made = Result<Bytes, StepError>;

/// A stage whose steps do what a script says about the number in the record.
struct Scripted {
    script: Box<dyn Fn(u64) -> BoxFuture<'static, Made> + Send + Sync>,
    started: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Stage for Scripted {
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, StepError>> {
        Box::pin(async {
            let number = number_of(record);
            *self.started.lock().expect("no panic while counting").entry(number).or_insert(0) += 1;
            let value = (self.script)(number).await?;
            let key = record.key.clone();
            Ok(vec![Output { topic: RECORDS.name, key, value: Some(value), headers: vec![] }])
        })
    }
}

/// The record's number; values that the scripts make begin with it.
fn number_of(record: &Record) -> u64 {
    let value = record.value.as_ref().map(|value| String::from_utf8_lossy(value)).unwrap_or_default();
    value.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

pub(crate) fn text(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}

/// A log with `count` numbered records in so many partitions.
pub(crate) async fn log_of(count: u64, partitions: i32, options: Options) -> MemoryLog {
    let log = MemoryLog::new(&[(PROMPTS.name, partitions), (RECORDS.name, 1), (DEAD_LETTERS, 1)], options);
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    let output =
        |n| Output { topic: PROMPTS.name, key: Some(text(n)), value: Some(text(n)), headers: vec![] };
    committer.commit((0..count).map(output).collect(), vec![]).await.expect("calm");
    log
}

/// The engine's options in these cases.
pub(crate) fn options() -> EngineOptions {
    EngineOptions { drain_grace: Duration::from_secs(5), ..EngineOptions::default() }
}

/// A running engine with one scripted stage.
pub(crate) struct Life {
    pub(crate) handle: Handle,
    paused: watch::Sender<PausedStages>,
    pub(crate) stop: watch::Sender<Stop>,
    pub(crate) task: JoinHandle<Result<(), EngineError>>,
    metrics: Metrics,
    /// How often the step of each number was started.
    pub(crate) started: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Life {
    fn start<F>(
        process: MemoryProcess,
        at_once: usize,
        script: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Made> + Send + 'static,
    {
        Self::start_as("avr", process, at_once, script)
    }

    /// With a committer of this name.
    fn start_as<F>(
        committer: &str,
        process: MemoryProcess,
        at_once: usize,
        script: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Made> + Send + 'static,
    {
        let options = EngineOptions { committer: committer.to_owned(), ..options() };
        Self::start_with(options, process, at_once, script)
    }

    pub(crate) fn start_with<F>(
        options: EngineOptions,
        process: MemoryProcess,
        at_once: usize,
        script: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Made> + Send + 'static,
    {
        let started = Arc::<Mutex<BTreeMap<u64, u32>>>::default();
        let script = Box::new(move |number| -> BoxFuture<'static, Made> { Box::pin(script(number)) });
        let stage = Scripted { script, started: Arc::clone(&started) };
        let metrics = Metrics::new();
        let stages = vec![StageSpec::steps(GROUP.0, PROMPTS.name, stage, at_once)];
        let (engine, handle) = Engine::new(process, stages, None, options, metrics.clone());
        let (stop, stopped) = watch::channel(Stop::Run);
        let (paused, watched) = watch::channel(PausedStages::new());
        let task = tokio::spawn(engine.with_paused(watched).run(stopped));
        Self { handle, paused, stop, task, metrics, started }
    }

    /// Waits until it ends by itself.
    pub(crate) async fn end(self) -> Result<(), EngineError> {
        self.task.await.expect("the engine does not panic")
    }

    pub(crate) async fn stop(self) -> (Result<(), EngineError>, Duration) {
        self.stop.send_replace(Stop::Drain);
        let from = Instant::now();
        (self.task.await.expect("the engine does not panic"), from.elapsed())
    }

    fn started(&self) -> usize {
        self.started.lock().expect("no panic while counting").len()
    }

    /// How many partitions it has.
    pub(crate) fn shares(&self) -> usize {
        self.handle.status().borrow().stages[0].partitions.len()
    }

    /// The value of a metric of the stage.
    pub(crate) fn metric(&self, line: &str) -> Option<String> {
        let text = self.metrics.encode();
        let found = text.lines().find_map(|written| written.strip_prefix(line));
        found.map(|value| value.trim().to_owned())
    }
}

/// Long enough for everything that can happen to have happened.
pub(crate) async fn a_while() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

pub(crate) fn numbers(log: &MemoryLog, topic: TopicName) -> Vec<u64> {
    let mut numbers: Vec<u64> = log.records(topic).iter().map(number_of).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn what_one_process_parks_another_does_and_nothing_else() {
    let log = log_of(10, 2, Options::calm(1)).await;
    let even_only = |n| async move {
        if n % 2 == 1 { Err(StepError::Parked("another recipe".into())) } else { Ok(text(n)) }
    };
    let life = Life::start(log.process("first"), 4, even_only);
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), [0, 2, 4, 6, 8]);
    let parked = life.metric("avr_stage_parked{stage=\"scripted\"}");
    assert_eq!((parked.as_deref(), life.handle.status().borrow().stages[0].parked), (Some("5"), 5));
    assert_eq!(life.metric("avr_bytes_in_flight").as_deref(), Some("0"), "what is parked takes no room");
    let (ended, took) = life.stop().await;
    assert!(ended.is_ok() && took < Duration::from_secs(1), "{ended:?} after {took:?}");

    let life = Life::start(log.process("second"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    assert_eq!(*life.started.lock().expect("no panic"), [1, 3, 5, 7, 9].map(|n| (n, 1)).into());
    assert_eq!(numbers(&log, RECORDS.name), (0..10).collect::<Vec<_>>());
    assert!(life.stop().await.0.is_ok());
}

/// What runs is finished and committed; nothing starts; the consumer is polled on, so that the group goes on giving
/// this member partitions; and once the stage is resumed everything comes through, each once.
#[tokio::test(start_paused = true)]
async fn a_paused_stage_starts_nothing_until_it_is_resumed() {
    let log = log_of(40, 2, Options::calm(1)).await;
    let slow = |n| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(text(n))
    };
    let life = Life::start(log.process("first"), 4, slow);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    life.paused.send_replace([GROUP.0].into());
    a_while().await;
    let through = numbers(&log, RECORDS.name).len();
    assert_eq!((through, life.started()), (8, 8), "the four that ran are committed, no other started");

    let other = Life::start_as("other", log.process("second"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    assert_eq!((life.shares(), other.shares()), (1, 1), "it took part in the sharing out");
    assert_eq!(life.started(), 8);
    assert!(other.stop().await.0.is_ok());

    life.paused.send_replace(PausedStages::new());
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), (0..40).collect::<Vec<_>>());
    assert!(life.stop().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_paused_stage_stops_at_once() {
    let log = log_of(4, 1, Options::calm(1)).await;
    let life = Life::start(log.process("avr"), 4, |n| async move { Ok(text(n)) });
    life.paused.send_replace([GROUP.0].into());
    a_while().await;
    let (ended, took) = life.stop().await;
    assert!(ended.is_ok() && took < Duration::from_secs(1), "{ended:?} after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_output_too_large_make_letters_of_their_input() {
    let options = Options { max_record_bytes: 2000, ..Options::calm(1) };
    let log = log_of(3, 1, options).await;
    let life = Life::start(log.process("avr"), 2, |n| async move {
        assert!(n != 1, "the stage has a bug");
        Ok(if n == 2 { vec![b'x'; 3000].into() } else { text(n) })
    });
    a_while().await;
    assert!(life.stop().await.0.is_ok());
    let letters = log.records(DEAD_LETTERS);
    let told: Vec<_> =
        letters.iter().map(|letter| (number_of(letter), DeadLetterHeaders::of(letter).kind)).collect();
    assert_eq!(numbers(&log, RECORDS.name), [0]);
    assert!(told.contains(&(1, "panic".into())) && told.contains(&(2, "too_large".into())), "{told:?}");
    let keys: Vec<_> = letters.iter().map(|letter| letter.key.clone()).collect();
    assert!(keys.contains(&Some(text(1))) && keys.contains(&Some(text(2))), "the input's own: {keys:?}");
}

/// A log with two records, the first as large as the log takes, of which the stage can handle the second only.
async fn large_and_bad(max_record_bytes: usize) -> MemoryLog {
    let log = log_of(0, 1, Options { max_record_bytes, ..Options::calm(1) }).await;
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    let output = |value: String| Output {
        topic: PROMPTS.name,
        key: Some(text(0)),
        value: Some(value.into()),
        headers: vec![],
    };
    let large = format!("0 {}", "x".repeat(max_record_bytes - 3));
    committer.commit(vec![output(large), output("1".into())], vec![]).await.expect("calm");
    log
}

async fn the_first_is_bad(number: u64) -> Made {
    assert!(number != 0, "the stage has a bug");
    Ok(text(number))
}

#[tokio::test(start_paused = true)]
async fn the_largest_record_has_a_letter() {
    let log = large_and_bad(100).await;
    let life = Life::start(log.process("avr"), 2, the_first_is_bad);
    a_while().await;
    assert_eq!((numbers(&log, RECORDS.name), numbers(&log, DEAD_LETTERS)), (vec![1], vec![0]));
    assert!(log.records(DEAD_LETTERS)[0].size() > 100, "there is room for its headers");
    assert!(life.stop().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_letter_is_too_large_is_parked() {
    let log = large_and_bad(DEAD_LETTERS.size_limit(1000)).await;
    log.set_max_record_bytes(100);
    let life = Life::start(log.process("avr"), 2, the_first_is_bad);
    a_while().await;
    assert_eq!((numbers(&log, RECORDS.name), numbers(&log, DEAD_LETTERS)), (vec![1], vec![]));
    assert_eq!(life.metric("avr_stage_parked{stage=\"scripted\"}").as_deref(), Some("1"));
    assert!(life.stop().await.0.is_ok(), "the process does not end over it");
}

#[tokio::test(start_paused = true)]
async fn steps_that_end_within_the_grace_are_committed_and_none_starts() {
    let log = log_of(20, 1, Options::calm(1)).await;
    let slow = |n| async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(text(n))
    };
    let life = Life::start(log.process("avr"), 4, slow);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Arc::clone(&life.started);
    let (ended, took) = life.stop().await;
    assert!(ended.is_ok() && took < Duration::from_secs(3), "{ended:?} after {took:?}");
    assert_eq!(numbers(&log, RECORDS.name), [0, 1, 2, 3]);
    assert_eq!(started.lock().expect("no panic").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn steps_that_outlast_the_grace_are_made_again() {
    let log = log_of(6, 1, Options::calm(1)).await;
    let slow = |n| async move {
        tokio::time::sleep(Duration::from_secs(if n % 2 == 0 { 600 } else { 1 })).await;
        Ok(text(n))
    };
    let life = Life::start(log.process("avr"), 6, slow);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (ended, took) = life.stop().await;
    assert!(ended.is_ok() && took >= Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    assert_eq!(numbers(&log, RECORDS.name), [1, 3, 5]);
    let life = Life::start(log.process("avr"), 6, |n| async move { Ok(text(n)) });
    a_while().await;
    assert_eq!(*life.started.lock().expect("no panic"), [0, 2, 4].map(|n| (n, 1)).into());
    assert_eq!(numbers(&log, RECORDS.name), (0..6).collect::<Vec<_>>());
    assert!(life.stop().await.0.is_ok());
}

/// A worker says with its last commit that it stops; nothing else need be under way.
#[tokio::test(start_paused = true)]
async fn what_is_submitted_before_a_stop_is_committed() {
    let log = log_of(0, 1, Options::calm(1)).await;
    let life = Life::start(log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    let handle = life.handle.clone();
    let output = Output { topic: RECORDS.name, key: None, value: Some(text(9)), headers: vec![] };
    let (submitted, (ended, _)) = tokio::join!(biased; handle.submit(vec![output]), life.stop());
    assert!(submitted.is_ok() && ended.is_ok(), "{submitted:?}, {ended:?}");
    assert_eq!(numbers(&log, RECORDS.name), [9]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_takes_nothing_does_not_keep_a_stopping_process() {
    let log = log_of(4, 1, Options::calm(1)).await;
    log.set_faults(Faults { retriable: 1.0, ..Faults::NONE });
    let life = Life::start(log.process("avr"), 4, |n| async move { Ok(text(n)) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let handle = life.handle.clone();
    let output = Output { topic: RECORDS.name, key: None, value: Some(text(9)), headers: vec![] };
    let submitted = tokio::spawn(async move { handle.submit(vec![output]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (ended, took) = life.stop().await;
    assert!(matches!(ended, Err(EngineError::NotTaken { steps: 4 })), "{ended:?}");
    assert!(took < Duration::from_secs(30), "after {took:?}");
    let answer = submitted.await.expect("it is answered");
    assert!(matches!(answer, Err(SubmitError::Doubtful)), "nobody can know: {answer:?}");
    assert!(numbers(&log, RECORDS.name).is_empty());
    log.set_faults(Faults::NONE);
    let life = Life::start(log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), [0, 1, 2, 3], "they are made again");
    assert!(life.stop().await.0.is_ok());
}

/// A log that does not answer for long also gives the process' partitions to others.
#[tokio::test(start_paused = true)]
async fn results_that_went_with_their_partitions_are_told_at_the_end_of_a_stop() {
    let log = log_of(4, 1, Options::calm(1)).await;
    log.set_faults(Faults { retriable: 1.0, ..Faults::NONE });
    let process = log.process("avr");
    let life = Life::start(process.clone(), 4, |n| async move { Ok(text(n)) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let calm = log.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        process.silence(GROUP);
        tokio::time::sleep(Duration::from_secs(1)).await;
        calm.set_faults(Faults::NONE);
    });
    let (ended, took) = life.stop().await;
    assert!(matches!(ended, Err(EngineError::NotTaken { steps: 4 })), "{ended:?}");
    assert!(took < Duration::from_secs(10), "nothing is left to wait for after {took:?}");
}

/// Commits that these offsets are done, before the engine comes.
async fn advance(log: &MemoryLog, done: &[(Partition, std::ops::Range<i64>)]) {
    let process = log.process("before");
    let mut consumer = process.consumer(GROUP, &[PROMPTS.name]).await.expect("calm");
    while !matches!(consumer.next().await, Ok(Event::Assigned(_))) {}
    let progress = |(partition, range): &(Partition, std::ops::Range<i64>)| {
        let mut completed = Completed::default();
        completed.insert_run(range.start, range.end);
        (*partition, progress_text::encode(&completed, ""))
    };
    let partitions = done.iter().map(progress).collect();
    let progress = vec![GroupProgress { group: GROUP, generation: consumer.generation(), partitions }];
    let mut committer = process.committer("before").await.expect("calm");
    committer.commit(vec![], progress).await.expect("it is the owner");
    consumer.leave().await.expect("calm");
}

pub(crate) fn partition(index: i32) -> Partition {
    Partition { topic: PROMPTS.name, index }
}

/// Steps are stuck at the start of a partition, every second one of the first 1,600. Those beyond come through,
/// until the text could become too long for the log; then the partition waits, and comes through once they move.
#[tokio::test(start_paused = true)]
async fn dispatch_waits_for_stuck_steps_before_the_progress_is_too_long() {
    const COUNT: u64 = 26_000;
    let log = log_of(COUNT, 1, Options { batch_max: 500, ..Options::calm(1) }).await;
    advance(&log, &[(partition(0), 1_600..23_500)]).await;
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let life = Life::start(log.process("avr"), 900, move |n| {
        let gate = Arc::clone(&shut);
        async move {
            if n < 1_600 && n % 2 == 0 {
                drop(gate.acquire().await);
            }
            Ok(text(n))
        }
    });
    a_while().await;
    let (before, started) = (log.records(RECORDS.name).len(), life.started());
    assert!(before > 800 + 500, "what is beyond comes through: {before}");
    assert!(started < 4_000, "and then waits: {started}");
    assert!(log.progress(GROUP, partition(0)).is_some_and(|progress| progress.text.len() <= 4096));
    gate.close();
    a_while().await;
    assert_eq!(log.records(RECORDS.name).len() as u64, COUNT - 21_900);
    assert!(life.started.lock().expect("no panic").values().all(|&times| times == 1));
    assert!(life.stop().await.0.is_ok());
}
