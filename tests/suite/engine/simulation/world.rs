//! What stands outside the processes and survives them, and what is true of it in the end.

use std::sync::{Arc, Mutex};

use avr::{
    engine::{Appended, Sink, SinkError, progress_text},
    log::{GroupName, Output, Partition, Record},
    topic::{DEAD_LETTERS, DRAFTED, PROMPTS, RECORDS, TopicName},
};
use bytes::Bytes;

use super::{broken::Fault, shards::Folder};
use crate::memory_log::{MemoryLog, Options};

/// Records of the input; those that end in 0 are poison to the second stage.
pub(super) const INPUTS: u64 = 14;
/// Records that are written at once.
pub(super) const BATCH: u64 = 4;

/// What the world outside the processes sees.
#[derive(Clone)]
pub(super) struct World {
    pub(super) log: MemoryLog,
    /// What is wrong with the log, where a test of the test wants that.
    pub(super) fault: Fault,
    /// Lines of the sink's file, with what crashes left behind.
    pub(super) file: Arc<Mutex<Vec<Bytes>>>,
    /// The shards of sinks whose partitions each carry a checkpoint.
    pub(super) folder: Arc<Mutex<Folder>>,
    /// Steps that started although their commit was visible.
    redone: Arc<Mutex<Vec<String>>>,
    /// Where the durations of steps are drawn.
    random: Arc<Mutex<fastrand::Rng>>,
}

impl World {
    pub(super) fn new(seed: u64, options: Options, fault: Fault) -> Self {
        let topics = [(PROMPTS.name, 2), (DRAFTED.name, 2), (RECORDS.name, 2), (DEAD_LETTERS, 1)];
        Self {
            log: MemoryLog::new(&topics, Options { fences: fault != Fault::DoesNotFence, ..options }),
            fault,
            file: Arc::default(),
            folder: Arc::default(),
            redone: Arc::default(),
            random: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
        }
    }

    pub(super) fn draw(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.lock().expect("no test panics while drawing").u64(range)
    }

    fn values(&self, topic: TopicName) -> Vec<Bytes> {
        let mut values: Vec<Bytes> = self.log.records(topic).into_iter().filter_map(|r| r.value).collect();
        values.sort();
        values
    }

    /// Whether every record has come to an end, in the log and in a file.
    pub(super) fn is_complete(&self) -> bool {
        let ended = self.log.records(RECORDS.name).len() + self.log.records(DEAD_LETTERS).len();
        let lines = self.file.lock().map_or(0, |file| file.len());
        let in_shards = self.folder.lock().map_or(0, |folder| folder.lines().len());
        ended as u64 >= INPUTS && (lines + in_shards) as u64 >= INPUTS
    }

    /// Records a step whose commit is visible already.
    pub(super) fn note_if_redone(&self, group: GroupName, record: &Record) {
        let progress = self.log.progress(group, record.partition);
        let decoded = progress.map(|progress| progress_text::decode(&progress).expect("our own"));
        if decoded.is_some_and(|decoded| decoded.completed.contains(record.offset)) {
            let place = format!("{group} {} {}", record.partition, record.offset);
            self.redone.lock().expect("no test panics here").push(place);
        }
    }

    pub(super) fn assert_exactly_once(&self, seed: u64) {
        let (good, bad): (Vec<Bytes>, Vec<Bytes>) = all().into_iter().partition(|n| !n.ends_with(b"0"));
        assert_eq!(self.values(RECORDS.name), good, "seed {seed}: records");
        assert_eq!(self.values(DEAD_LETTERS), bad, "seed {seed}: dead letters");
    }

    pub(super) fn assert_file_is_exact(&self, seed: u64) {
        let mut lines = self.file.lock().expect("no one else").clone();
        lines.sort();
        assert_eq!(lines, all(), "seed {seed}: lines of the file");
    }

    pub(super) fn assert_shards_are_exact(&self, seed: u64) {
        let mut lines = self.folder.lock().expect("no one else").lines();
        lines.sort();
        assert_eq!(lines, all(), "seed {seed}: lines of the shards");
    }

    pub(super) fn assert_nothing_redone(&self, seed: u64) {
        let redone = self.redone.lock().expect("no one else");
        assert_eq!(*redone, Vec::<String>::new(), "seed {seed}: redone");
    }
}

/// The input's values, sorted as text.
fn all() -> Vec<Bytes> {
    let mut all: Vec<Bytes> = (0..INPUTS).map(|n| Bytes::from(n.to_string())).collect();
    all.sort();
    all
}

/// The input, in the batches in which it is written.
pub(super) fn batches() -> Vec<Vec<Output>> {
    let numbers: Vec<u64> = (0..INPUTS).collect();
    numbers.chunks(BATCH as usize).map(|chunk| chunk.iter().copied().map(input).collect()).collect()
}

/// One record of the input.
pub(super) fn input(number: u64) -> Output {
    let text = Bytes::from(number.to_string());
    Output { topic: PROMPTS.name, key: Some(text.clone()), value: Some(text), headers: vec![] }
}

/// A file of lines in memory. Its checkpoint is its length.
pub(super) struct Lines {
    file: Arc<Mutex<Vec<Bytes>>>,
    committed: usize,
    checkpoint_partition: Option<Partition>,
}

impl Lines {
    pub(super) fn of(world: &World) -> Self {
        Self { file: Arc::clone(&world.file), committed: 0, checkpoint_partition: None }
    }
}

impl Sink for Lines {
    fn blocks(&self) -> bool {
        false
    }

    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        self.committed = if checkpoint.is_empty() { 0 } else { checkpoint.parse()? };
        self.checkpoint_partition = Some(partition);
        self.roll_back()
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        let mut file = self.file.lock().map_err(|_| "poisoned")?;
        file.extend(records.iter().filter_map(|record| record.value.clone()));
        let checkpoint = file.len().to_string();
        Ok(Appended {
            checkpoints: self.checkpoint_partition.map(|it| (it, checkpoint)).into_iter().collect(),
            refused: vec![],
        })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        self.committed = self.file.lock().map_or(0, |file| file.len());
        Ok(())
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
