//! A sink with a checkpoint for each partition, in memory: what counts is put aside, committed by name, and put in
//! place by whoever has the partition.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use avr::{
    engine::{Appended, Sink, SinkError},
    log::{Partition, Record},
};
use bytes::Bytes;

use super::world::World;

/// What all processes share: shards by name, put aside or in place.
#[derive(Debug, Default)]
pub(super) struct Folder {
    staged: BTreeMap<String, Vec<Bytes>>,
    placed: BTreeMap<String, Vec<Bytes>>,
}

impl Folder {
    /// The lines that are in place.
    pub(super) fn lines(&self) -> Vec<Bytes> {
        self.placed.values().flatten().cloned().collect()
    }

    /// Puts a shard in place, if it is not there yet.
    fn place(&mut self, name: &str) -> bool {
        if let Some(lines) = self.staged.remove(name) {
            self.placed.insert(name.to_owned(), lines);
        }
        self.placed.contains_key(name)
    }
}

/// The sink of one process.
pub(super) struct Shards {
    world: World,
    folder: Arc<Mutex<Folder>>,
    pending: Vec<String>,
}

impl Shards {
    pub(super) fn of(world: &World) -> Self {
        Self { world: world.clone(), folder: Arc::clone(&world.folder), pending: vec![] }
    }

    fn folder(&self) -> Result<MutexGuard<'_, Folder>, SinkError> {
        self.folder.lock().map_err(|_| "poisoned".into())
    }
}

impl Sink for Shards {
    fn blocks(&self) -> bool {
        false
    }

    fn restore(&mut self, partition: Partition, checkpoint: &str) -> Result<(), SinkError> {
        let mut folder = self.folder()?;
        if !checkpoint.is_empty() && !folder.place(checkpoint) {
            return Err(format!("{partition}: {checkpoint} is neither put aside nor in place").into());
        }
        Ok(())
    }

    fn append(&mut self, records: &[Arc<Record>]) -> Result<Appended, SinkError> {
        if !self.pending.is_empty() {
            return Err("the batch before was neither committed nor rolled back".into());
        }
        let mut batches: BTreeMap<Partition, Vec<Bytes>> = BTreeMap::new();
        for record in records {
            batches.entry(record.partition).or_default().extend(record.value.clone());
        }
        let mut checkpoints = BTreeMap::new();
        for (partition, lines) in batches {
            let name = format!("{partition}-{}", self.world.draw(0..1 << 60));
            self.folder()?.staged.insert(name.clone(), lines);
            self.pending.push(name.clone());
            checkpoints.insert(partition, name);
        }
        Ok(Appended { checkpoints, refused: vec![] })
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        for name in std::mem::take(&mut self.pending) {
            if !self.folder()?.place(&name) {
                return Err(format!("{name} is committed and gone").into());
            }
        }
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        for name in std::mem::take(&mut self.pending) {
            self.folder()?.staged.remove(&name);
        }
        Ok(())
    }
}
