//! The engine under a seed: random crashes between any two steps, a log at its worst, and still every record comes
//! out exactly once, and no step that was committed is made again.
//!
//! Time is paused, everything runs on one thread, and each seed is one run that can be repeated.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use avr::{
    broker::{Committer as _, Log as _, Output, Partition, Record},
    engine::{
        Appended, DeadLetter, Engine, EngineError, EngineOptions, Failure, Sink, SinkError, Stage, StageSpec,
        Stop, progress_text,
    },
    observe::Metrics,
    topic::{DEAD_LETTERS, DRAFTED, PROMPTS, RECORDS, TopicName},
};
use bytes::Bytes;
use tokio::sync::watch;

use crate::memory_log::{Faults, MemoryLog, MemoryProcess, Options};

/// Records of the input; every tenth is one that the second stage cannot handle.
const INPUTS: u64 = 24;
/// A run that takes longer, in virtual time, is stuck.
const STUCK: Duration = Duration::from_secs(3600);

/// What the world outside the processes sees: it survives every crash.
#[derive(Clone, Default)]
struct World {
    log: Option<MemoryLog>,
    /// Lines of the sink's file, with what crashes left behind.
    file: Arc<Mutex<Vec<Bytes>>>,
    /// Steps that started although their commit was visible.
    redone: Arc<Mutex<Vec<String>>>,
    /// Where the durations of steps are drawn.
    random: Arc<Mutex<fastrand::Rng>>,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let topics = [(PROMPTS.name, 2), (DRAFTED.name, 2), (RECORDS.name, 1), (DEAD_LETTERS, 1)];
        let log = Some(MemoryLog::new(&topics, options));
        Self { log, random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))), ..Self::default() }
    }

    fn log(&self) -> &MemoryLog {
        self.log.as_ref().expect("every world has a log")
    }

    fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.lock().expect("no test panics while drawing").u64(range)
    }

    fn values(&self, topic: TopicName) -> Vec<Bytes> {
        let mut values: Vec<Bytes> = self.log().records(topic).into_iter().filter_map(|r| r.value).collect();
        values.sort();
        values
    }
}

/// Hands a record on after a while, with a mark of its own; `poison` decides what it cannot handle.
struct Pass<const SECOND: bool> {
    world: World,
    check_redone: bool,
}

impl<const SECOND: bool> Pass<SECOND> {
    const TO: TopicName = if SECOND { RECORDS.name } else { DRAFTED.name };

    async fn pass(&self, record: &Record) -> Result<Vec<Output>, Failure> {
        if self.check_redone {
            self.note_if_redone(record);
        }
        let wait = self.world.draw(0..40);
        tokio::time::sleep(Duration::from_millis(wait * wait)).await;
        let value = record.value.clone().unwrap_or_default();
        if SECOND && value.ends_with(b"0") {
            return Err(Failure::DeadLetter(DeadLetter::new("poison", "it ends in 0")));
        }
        Ok(vec![Output { topic: Self::TO, key: record.key.clone(), value: Some(value), headers: vec![] }])
    }

    fn note_if_redone(&self, record: &Record) {
        let group = avr::broker::GroupName(if SECOND { "second" } else { "first" });
        let progress = self.world.log().progress(group, record.partition);
        let decoded = progress.map(|progress| progress_text::decode(&progress).expect("our own"));
        if decoded.is_some_and(|decoded| decoded.completed.contains(record.offset)) {
            let place = format!("{group} {} {}", record.partition, record.offset);
            self.world.redone.lock().expect("no test panics here").push(place);
        }
    }
}

impl Stage for Pass<false> {
    const NAME: &'static str = "first";
    const INPUT: TopicName = PROMPTS.name;

    async fn process(&self, record: &Record) -> Result<Vec<Output>, Failure> {
        self.pass(record).await
    }
}

impl Stage for Pass<true> {
    const NAME: &'static str = "second";
    const INPUT: TopicName = DRAFTED.name;

    async fn process(&self, record: &Record) -> Result<Vec<Output>, Failure> {
        self.pass(record).await
    }
}

/// A file of lines in memory. Its note is its length.
struct Lines {
    file: Arc<Mutex<Vec<Bytes>>>,
    committed: usize,
}

impl Sink for Lines {
    fn blocks(&self) -> bool {
        false
    }

    fn restore(&mut self, note: &str) -> Result<(), SinkError> {
        self.committed = if note.is_empty() { 0 } else { note.parse()? };
        self.roll_back()
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let mut file = self.file.lock().map_err(|_| "poisoned")?;
        file.extend(records.iter().filter_map(|record| record.value.clone()));
        Ok(Appended { note: file.len().to_string(), refused: vec![] })
    }

    fn committed(&mut self) {
        self.committed = self.file.lock().map_or(0, |file| file.len());
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        let mut file = self.file.lock().map_err(|_| "poisoned")?;
        if file.len() < self.committed {
            return Err(format!("{} lines, {} are committed", file.len(), self.committed).into());
        }
        file.truncate(self.committed);
        Ok(())
    }
}

/// Which parts a process has.
#[derive(Clone, Copy, PartialEq)]
enum Parts {
    /// Both stages and the sink: the only process.
    All,
    /// Both stages; others have them too.
    Shared,
}

async fn write_inputs(world: &World) {
    let process = world.log().process("writer");
    let mut committer = process.committer("writer").await.expect("calm");
    let number = |n: u64| Bytes::from(format!("{n}"));
    let output =
        |n| Output { topic: PROMPTS.name, key: Some(number(n)), value: Some(number(n)), headers: vec![] };
    for chunk in (0..INPUTS).collect::<Vec<_>>().chunks(5) {
        committer.commit(chunk.iter().copied().map(output).collect(), vec![]).await.expect("calm");
    }
}

/// One life of a process, until it is stopped, fails or dies.
async fn live(world: World, process: MemoryProcess, parts: Parts, stop: watch::Receiver<Stop>) {
    let check_redone = parts == Parts::All;
    let mut stages = vec![
        StageSpec::steps(Pass::<false> { world: world.clone(), check_redone }, 4),
        StageSpec::steps(Pass::<true> { world: world.clone(), check_redone }, 3),
    ];
    let mut sink: Option<Box<dyn Sink>> = None;
    if parts == Parts::All {
        stages.push(StageSpec::sink("export", vec![RECORDS.name, DEAD_LETTERS], 5));
        sink = Some(Box::new(Lines { file: Arc::clone(&world.file), committed: 0 }));
    }
    let options = EngineOptions {
        committer: format!("committer-{}", world.draw(0..1_000_000_000)),
        max_bytes: 24,
        revoke_grace: Duration::from_secs(1),
        drain_grace: Duration::from_secs(5),
        ..EngineOptions::default()
    };
    let options = match parts {
        Parts::All => EngineOptions { committer: "the one".to_owned(), ..options },
        Parts::Shared => options,
    };
    let (engine, _handle) = Engine::new(process.clone(), stages, sink, options, Metrics::new());
    tokio::select! {
        biased;
        ended = engine.run(stop) => may_end_so(&ended),
        () = process.killed() => {}
    }
    process.kill();
}

/// An engine ends when it is told to or when its log is gone; any other end is a fault of its own.
fn may_end_so(ended: &Result<(), EngineError>) {
    assert!(matches!(ended, Ok(()) | Err(EngineError::Log(_))), "{ended:?}");
}

/// Runs a scenario; a seed picked by hand also shows what the engine says.
fn run(seed: u64, scenario: impl AsyncFnOnce(u64)) {
    if std::env::var("AVR_SEED").is_ok() {
        drop(tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let ran = tokio::time::timeout(STUCK, scenario(seed)).await;
        assert!(ran.is_ok(), "seed {seed}: stuck");
    });
}

/// How many distinct records have come to an end.
fn ended(world: &World) -> usize {
    world.values(RECORDS.name).len() + world.values(DEAD_LETTERS).len()
}

fn assert_exactly_once(seed: u64, world: &World) {
    let (mut good, mut bad): (Vec<Bytes>, Vec<Bytes>) =
        (0..INPUTS).map(|n| Bytes::from(format!("{n}"))).partition(|n| !n.ends_with(b"0"));
    good.sort();
    bad.sort();
    assert_eq!(world.values(RECORDS.name), good, "seed {seed}: records");
    assert_eq!(world.values(DEAD_LETTERS), bad, "seed {seed}: dead letters");
}

/// Waits until `done` holds, looking every virtual second.
async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// One process after the other, each killed after a drawn number of its log's steps; the last one is calm.
async fn crashes(seed: u64) {
    let faults = Faults { lost: 0.0, ..Faults::STORM };
    let world = World::new(seed, Options { faults, ..Options::stormy(seed) });
    world.log().set_faults(Faults::NONE);
    write_inputs(&world).await;
    world.log().set_faults(faults);
    for _ in 0..world.draw(1..6) {
        let process = world.log().process("avr");
        process.kill_after(world.draw(1..120));
        let (_stop, stopped) = watch::channel(Stop::Run);
        // One that has nothing left to do never comes to its last step.
        drop(
            tokio::time::timeout(STUCK / 20, live(world.clone(), process.clone(), Parts::All, stopped)).await,
        );
        process.kill();
    }
    world.log().set_faults(Faults { yields: 0.5, ..Faults::NONE });
    finish(seed, &world, Parts::All).await;
    assert_exactly_once(seed, &world);
    let mut lines = world.file.lock().expect("no one else").clone();
    lines.sort();
    let mut all: Vec<Bytes> = (0..INPUTS).map(|n| Bytes::from(format!("{n}"))).collect();
    all.sort();
    assert_eq!(lines, all, "seed {seed}: lines of the file");
    assert_eq!(*world.redone.lock().expect("no one else"), Vec::<String>::new(), "seed {seed}: redone");
}

/// Lets one more process run to the end, and stops it as a user would.
async fn finish(seed: u64, world: &World, parts: Parts) {
    let process = world.log().process("avr");
    let (stop, stopped) = watch::channel(Stop::Run);
    let lines = Arc::clone(&world.file);
    let life = tokio::spawn(live(world.clone(), process, parts, stopped));
    let written = || parts == Parts::Shared || lines.lock().is_ok_and(|file| file.len() >= INPUTS as usize);
    let all_ended = until(|| ended(world) >= INPUTS as usize && written());
    if tokio::time::timeout(STUCK / 4, all_ended).await.is_err() {
        assert_exactly_once(seed, world);
        panic!("seed {seed}: everything is in the log but {:?} is in the file", world.file);
    }
    stop.send_replace(Stop::Drain);
    life.await.expect("a clean end");
}

/// Two and more processes share the partitions; they die, fall silent, come back and are fenced.
async fn sharing(seed: u64) {
    let world = World::new(seed, Options::stormy(seed));
    world.log().set_faults(Faults::NONE);
    write_inputs(&world).await;
    world.log().set_faults(Faults::STORM);
    let mut lives = tokio::task::JoinSet::new();
    let mut stops = Vec::new();
    for name in ["a", "b", "c"].iter().cycle().take(world.draw(3..8) as usize) {
        let process = world.log().process(name);
        if world.draw(0..4) > 0 {
            process.kill_after(world.draw(1..200));
        }
        let (stop, stopped) = watch::channel(Stop::Run);
        lives.spawn(live(world.clone(), process.clone(), Parts::Shared, stopped));
        stops.push(stop);
        tokio::time::sleep(Duration::from_millis(world.draw(0..3000))).await;
        match world.draw(0..4) {
            0 => process.silence(avr::broker::GroupName("first")),
            1 => process.silence(avr::broker::GroupName("second")),
            2 => drop(stops.swap_remove(0).send(Stop::Drain)),
            _ => {}
        }
    }
    world.log().set_faults(Faults { yields: 0.5, ..Faults::NONE });
    finish(seed, &world, Parts::Shared).await;
    stops.iter().for_each(|stop| _ = stop.send_replace(Stop::Drain));
    while let Some(life) = lives.join_next().await {
        life.expect("no life ends by a fault of its own");
    }
    assert_exactly_once(seed, &world);
}

/// Seeds from `first` on; `AVR_SEED` picks one alone, to look into it.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("AVR_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

#[test]
fn nothing_is_lost_doubled_or_redone_whenever_the_process_dies() {
    seeds(1500).for_each(|seed| run(seed, crashes));
}

#[test]
fn nothing_is_lost_or_doubled_however_partitions_move() {
    seeds(1500).for_each(|seed| run(seed, sharing));
}

/// The assertions can fail: a process that commits nothing is seen.
#[test]
fn a_record_that_is_missing_is_seen() {
    let world = World::new(0, Options::calm(0));
    let partition = Partition { topic: PROMPTS.name, index: 0 };
    assert!(world.log().progress(avr::broker::GroupName("first"), partition).is_none());
    let checked = std::panic::catch_unwind(|| assert_exactly_once(0, &World::new(0, Options::calm(0))));
    assert!(checked.is_err());
}
