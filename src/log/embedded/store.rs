//! The database of a log: two keyspaces of fjall, their keys, and how they are tuned.
//!
//! ```text
//! records   topic u16 · partition u32 · offset i64           → a record (see codec)
//! state     't' · topic's name                               → topic u16 · partitions u32
//!           'f' · topic u16 · partition u32                  → first offset that is kept
//!           'p' · topic u16 · partition u32 · group's name   → offset i64 · the engine's text
//! ```
//!
//! Integers are big endian. Payloads are a few dozen KiB and live for seconds, so they are kept out of the sorted
//! tables (key-value separation) and nothing is compressed: a compaction moves keys only.
//!
//! **Deleting.** The batch that moves a partition's first kept offset holds a mark for each record that goes with
//! it, so that a loss of power can never bring back a progress whose records are gone. The marks are the database's
//! weak kind, meant for keys that are written once: a record that is consumed before its table is written goes
//! together with its mark and never becomes part of a table. Of a log whose readers keep up, the disk sees the
//! journal and little else. The last record before the end may go too: the end is then the first kept offset.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, LsmError,
    OwnedWriteBatch, PersistMode, config::CompressionPolicy,
};

use super::{
    EmbeddedLogError, Options, Retention, TopicSpec, codec, partition::PartitionLog, partition::ReadLimit,
};
use crate::{
    log::{LogErrorKind, Partition, Progress, Record},
    topic::TopicName,
};

const RECORDS: &str = "records";
const STATE: &str = "state";
const JOURNAL_BYTES: u64 = 128 << 20;
/// Of several, the first hands every compaction back to the queue until another takes it, and turns round and
/// round while the others write. One has enough time: it compacts keys only.
const DATABASE_THREADS: usize = 1;
const STATE_MEMTABLE_BYTES: u64 = 4 << 20;
const SEPARATED_FROM_BYTES: u32 = 512;
/// Small enough that a file's payloads are soon all dropped.
const PAYLOAD_FILE_BYTES: u64 = 16 << 20;

/// Everything known of the partitions, as it is loaded.
pub(super) type Partitions = BTreeMap<Partition, PartitionLog>;

/// The database.
pub(super) struct Store {
    records: Keyspace,
    state: Keyspace,
    topics: BTreeMap<TopicName, u16>,
    database: Database,
}

impl Store {
    /// Opens or creates the database in `path` and brings its topics up to `specs`.
    pub(super) fn open(
        path: &Path,
        specs: &[TopicSpec],
        options: &Options,
    ) -> Result<(Self, Partitions), LogErrorKind> {
        let database = open_database(path, options).map_err(database_error)?;
        let records = database.keyspace(RECORDS, || record_options(options)).map_err(database_error)?;
        let state = database.keyspace(STATE, state_options).map_err(database_error)?;
        let mut store = Self { records, state, topics: BTreeMap::new(), database };
        store.settle_topics(specs)?;
        let partitions = store.load(specs)?;
        Ok((store, partitions))
    }

    /// A batch that is written whole or not at all.
    pub(super) fn batch(&self) -> WriteBatch<'_> {
        WriteBatch { batch: self.database.batch(), store: self }
    }

    /// Puts everything written so far safely on disk.
    pub(super) fn sync(&self) -> Result<(), LogErrorKind> {
        self.database.persist(PersistMode::SyncData).map_err(database_error)
    }

    /// Reads the records of `partition` from `from` up to `until`, as many as the limit allows, and says from
    /// where to go on.
    pub(super) fn read(
        &self,
        partition: Partition,
        from: i64,
        until: i64,
        mut limit: ReadLimit,
    ) -> Result<(Vec<Record>, i64), LogErrorKind> {
        let prefix = self.prefix(partition)?;
        let mut records = Vec::new();
        for item in self.records.range(record_key(prefix, from)..record_key(prefix, until)) {
            let (key, value) = item.into_inner().map_err(database_error)?;
            let offset = offset_of(&key)?;
            if !limit.take(value.len()) {
                return Ok((records, offset));
            }
            records.push(decode(partition, offset, value.into())?);
        }
        Ok((records, until))
    }

    /// Waits until everything is in tables.
    #[cfg(test)]
    pub(super) fn flush_for_tests(&self) {
        self.records.rotate_memtable_and_wait().unwrap();
    }

    /// Waits until everything is in tables and compacted.
    #[cfg(test)]
    pub(super) fn settle_for_tests(&self) {
        self.flush_for_tests();
        self.records.major_compact().unwrap();
    }

    /// The bytes of tables and payload files.
    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> u64 {
        self.records.disk_space()
    }

    /// The records that the database holds, those included that nobody can see any more.
    #[cfg(test)]
    pub(super) fn records_on_disk(&self) -> usize {
        self.records.len().unwrap()
    }

    fn prefix(&self, partition: Partition) -> Result<[u8; 6], LogErrorKind> {
        let topic =
            self.topics.get(&partition.topic).ok_or(EmbeddedLogError::UnknownTopic(partition.topic))?;
        Ok(partition_prefix(*topic, partition.index))
    }

    /// Gives new topics a number, and lets known ones grow.
    fn settle_topics(&mut self, specs: &[TopicSpec]) -> Result<(), LogErrorKind> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        let mut free = self.stored_topics()?;
        for spec in specs {
            let key = topic_key(spec.name);
            let known = self.state.get(&key).map_err(database_error)?;
            let id = match known.as_deref().map(decode_topic).transpose()? {
                Some((_, count)) if spec.partitions < count => {
                    return Err(EmbeddedLogError::FewerPartitions {
                        topic: spec.name,
                        stored: count,
                        asked: spec.partitions,
                    }
                    .into());
                }
                Some((id, _)) => id,
                None => {
                    free += 1;
                    free - 1
                }
            };
            self.topics.insert(spec.name, id);
            batch.insert(&self.state, key, encode_topic(id, spec.partitions).as_slice());
        }
        batch.commit().map_err(database_error)
    }

    /// How many topics there are. Topics are never removed, so this is also the next one's number.
    fn stored_topics(&self) -> Result<u16, LogErrorKind> {
        u16::try_from(self.state.prefix(b"t").count())
            .map_err(|_| LogErrorKind::Corrupt("too many topics".into()))
    }

    fn load(&self, specs: &[TopicSpec]) -> Result<Partitions, LogErrorKind> {
        let mut partitions = BTreeMap::new();
        for spec in specs {
            for index in 0..spec.partitions {
                let index = i32::try_from(index).map_err(|_| EmbeddedLogError::PartitionCount(spec.name))?;
                let partition = Partition { topic: spec.name, index };
                partitions.insert(partition, self.load_partition(partition, spec.retention)?);
            }
        }
        Ok(partitions)
    }

    fn load_partition(
        &self,
        partition: Partition,
        retention: Retention,
    ) -> Result<PartitionLog, LogErrorKind> {
        let prefix = self.prefix(partition)?;
        let first = self.state.get(state_key(b'f', prefix, "")).map_err(database_error)?;
        let first = first.as_deref().map(decode_offset).transpose()?.unwrap_or(0);
        let last = self
            .records
            .prefix(prefix)
            .next_back()
            .map(|item| item.key().map_err(database_error))
            .transpose()?;
        let end = last.as_deref().map(offset_of).transpose()?.map_or(first, |last| first.max(last + 1));
        Ok(PartitionLog::new(retention, first, end, self.load_progress(prefix)?))
    }

    fn load_progress(&self, prefix: [u8; 6]) -> Result<BTreeMap<String, Progress>, LogErrorKind> {
        let start = state_key(b'p', prefix, "");
        let mut progress = BTreeMap::new();
        for item in self.state.prefix(&start) {
            let (key, value) = item.into_inner().map_err(database_error)?;
            let group = key.get(start.len()..).and_then(|group| std::str::from_utf8(group).ok());
            let group = group.ok_or_else(|| LogErrorKind::Corrupt("a group's name is not UTF-8".into()))?;
            progress.insert(group.to_owned(), decode_progress(&value)?);
        }
        Ok(progress)
    }
}

/// Writes that become visible together.
pub(super) struct WriteBatch<'a> {
    batch: OwnedWriteBatch,
    store: &'a Store,
}

impl WriteBatch<'_> {
    /// Adds a record.
    pub(super) fn record(
        &mut self,
        partition: Partition,
        offset: i64,
        encoded: Bytes,
    ) -> Result<(), LogErrorKind> {
        let key = record_key(self.store.prefix(partition)?, offset);
        self.batch.insert(&self.store.records, key, encoded);
        Ok(())
    }

    /// Adds a group's progress.
    pub(super) fn progress(
        &mut self,
        partition: Partition,
        group: &str,
        progress: &Progress,
    ) -> Result<(), LogErrorKind> {
        let key = state_key(b'p', self.store.prefix(partition)?, group);
        let value = [&progress.offset.to_be_bytes(), progress.text.as_bytes()].concat();
        self.batch.insert(&self.store.state, key, value);
        Ok(())
    }

    /// Moves the first offset that is kept from `kept` up to `first`, and removes the records between.
    pub(super) fn first(&mut self, partition: Partition, kept: i64, first: i64) -> Result<(), LogErrorKind> {
        let prefix = self.store.prefix(partition)?;
        self.batch.insert(&self.store.state, state_key(b'f', prefix, ""), first.to_be_bytes());
        for offset in kept..first {
            self.batch.remove_weak(&self.store.records, record_key(prefix, offset));
        }
        Ok(())
    }

    /// Writes it all. It survives the death of the process, and with `to_disk` also the loss of power.
    pub(super) fn write(self, to_disk: bool) -> Result<(), LogErrorKind> {
        let mode = if to_disk { PersistMode::SyncData } else { PersistMode::Buffer };
        self.batch.durability(Some(mode)).commit().map_err(database_error)
    }
}

fn open_database(path: &Path, options: &Options) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(options.cache_bytes)
        .journal_compression(CompressionType::None)
        .max_journaling_size(JOURNAL_BYTES)
        .worker_threads(DATABASE_THREADS)
        .open()
}

fn record_options(options: &Options) -> KeyspaceCreateOptions {
    let payloads = KvSeparationOptions::default()
        .compression(CompressionType::None)
        .separation_threshold(SEPARATED_FROM_BYTES)
        .file_target_size(PAYLOAD_FILE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(options.memtable_bytes)
        .data_block_compression_policy(CompressionPolicy::disabled())
        .expect_point_read_hits(true)
        .with_kv_separation(Some(payloads))
}

fn state_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(STATE_MEMTABLE_BYTES)
}

fn partition_prefix(topic: u16, index: i32) -> [u8; 6] {
    let mut prefix = [0; 6];
    prefix[..2].copy_from_slice(&topic.to_be_bytes());
    prefix[2..].copy_from_slice(&index.to_be_bytes());
    prefix
}

fn record_key(prefix: [u8; 6], offset: i64) -> [u8; 14] {
    let mut key = [0; 14];
    key[..6].copy_from_slice(&prefix);
    key[6..].copy_from_slice(&offset.to_be_bytes());
    key
}

fn state_key(kind: u8, prefix: [u8; 6], rest: &str) -> Vec<u8> {
    [&[kind], &prefix[..], rest.as_bytes()].concat()
}

fn topic_key(name: TopicName) -> Vec<u8> {
    [b"t", name.0.as_bytes()].concat()
}

fn encode_topic(id: u16, partitions: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &partitions.to_be_bytes()].concat()
}

fn decode_topic(bytes: &[u8]) -> Result<(u16, u32), LogErrorKind> {
    let parts = bytes.split_first_chunk::<2>().and_then(|(id, rest)| Some((id, rest.first_chunk::<4>()?)));
    let (id, count) = parts.ok_or_else(|| LogErrorKind::Corrupt("a topic's entry is cut short".into()))?;
    Ok((u16::from_be_bytes(*id), u32::from_be_bytes(*count)))
}

fn decode_offset(bytes: &[u8]) -> Result<i64, LogErrorKind> {
    let offset = bytes.first_chunk().map(|offset| i64::from_be_bytes(*offset));
    offset.ok_or_else(|| LogErrorKind::Corrupt("an offset is cut short".into()))
}

fn offset_of(key: &[u8]) -> Result<i64, LogErrorKind> {
    decode_offset(key.get(6..).unwrap_or_default())
}

fn decode_progress(bytes: &[u8]) -> Result<Progress, LogErrorKind> {
    let offset = decode_offset(bytes)?;
    let text = String::from_utf8(bytes.get(8..).unwrap_or_default().to_vec());
    let text = text.map_err(|_| LogErrorKind::Corrupt("a progress' text is not UTF-8".into()))?;
    Ok(Progress { offset, text })
}

/// The record that `encoded` is, or what is wrong with which.
pub(super) fn decode(partition: Partition, offset: i64, encoded: Bytes) -> Result<Record, LogErrorKind> {
    codec::decode(partition, offset, encoded)
        .map_err(|error| LogErrorKind::Corrupt(format!("record {partition} at {offset}: {error}")))
}

fn database_error(error: fjall::Error) -> LogErrorKind {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => error.into(),
        fjall::Error::Locked => LogErrorKind::Locked,
        error @ (fjall::Error::Poisoned | fjall::Error::KeyspaceDeleted) => {
            LogErrorKind::Other(Box::new(error))
        }
        error => LogErrorKind::Corrupt(error.to_string()),
    }
}
