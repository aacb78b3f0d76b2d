//! The side that reads: one member of a group.
//!
//! A member that keeps up reads what is still in memory and never touches the disk. One that is behind reads
//! ahead, a part of one partition at a time, on an OS thread for blocking work; what it read waits in its cursor
//! until its turn, also while the partition is paused.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::{
    Notify,
    oneshot::{self, error::TryRecvError},
};

use super::{
    EmbeddedLogError, Running,
    group::{AssignmentChange, MemberId},
    partition::{Found, ReadLimit},
    shared::{LogState, Shared},
    store,
};
use crate::log::{
    Budget, Consumer, Event, Generation, GroupName, LogError, LogErrorKind, Partition, Progress, Record,
};

/// A consumer of an embedded log. Dropping it leaves the group.
pub struct EmbeddedConsumer {
    running: Arc<Running>,
    group: GroupName,
    member: MemberId,
    wake: Arc<Notify>,
    cursors: BTreeMap<Partition, Cursor>,
    turns: VecDeque<Partition>,
    reading: Option<PendingRead>,
    budget: Arc<Budget>,
}

/// Where a member is in one partition.
#[derive(Debug, Default)]
struct Cursor {
    /// The next offset to fetch.
    position: i64,
    paused: bool,
    /// Read from disk and not yet handed out.
    ahead: VecDeque<Record>,
}

/// A read from disk on its way.
struct PendingRead {
    partition: Partition,
    from: i64,
    result: oneshot::Receiver<DiskRead>,
}

/// Records and the offset behind them.
type DiskRead = Result<(Vec<Record>, i64), LogErrorKind>;

impl EmbeddedConsumer {
    /// The member `member` of `group`, which wakes it through `wake`. It hands out what `budget` allows.
    pub(super) fn new(
        running: Arc<Running>,
        group: GroupName,
        member: MemberId,
        wake: Arc<Notify>,
        budget: Arc<Budget>,
    ) -> Self {
        let (cursors, turns) = (BTreeMap::new(), VecDeque::new());
        let woken = Arc::clone(&wake);
        budget.on_room(move || woken.notify_one());
        Self { running, group, member, wake, cursors, turns, reading: None, budget }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.running.shared)
    }

    /// What there is to report now, if anything.
    fn poll(&mut self) -> Result<Option<Event>, LogErrorKind> {
        // Before the lock: whoever has the turn decodes records, and commits must not wait for that.
        let budget = Arc::clone(&self.budget);
        let turn = budget.turn();
        let shared = self.shared();
        let mut state = shared.state();
        state.check()?;
        if let Some(change) = state.announce(self.group, self.member) {
            return Ok(Some(self.apply(change, &state)));
        }
        self.take_disk_read()?;
        let Some(turn) = turn else { return Ok(None) };
        let round = self.collect(&state);
        drop(state);
        if self.reading.is_none() {
            self.reading =
                round.on_disk.map(|(partition, from, until)| self.start_reading(partition, from, until));
        }
        let records = round.records()?;
        turn.take(&records);
        Ok((!records.is_empty()).then_some(Event::Records(records)))
    }

    fn apply(&mut self, change: AssignmentChange, state: &LogState) -> Event {
        match change {
            AssignmentChange::Revoked(partitions) => {
                self.cursors.retain(|partition, _| !partitions.contains(partition));
                self.turns.retain(|partition| !partitions.contains(partition));
                Event::Revoked(partitions)
            }
            AssignmentChange::Assigned(partitions) => {
                let assigned = partitions.into_iter().map(|partition| self.begin(partition, state));
                Event::Assigned(assigned.collect())
            }
        }
    }

    fn begin(&mut self, partition: Partition, state: &LogState) -> (Partition, Progress) {
        let known = state.partitions.get(&partition).and_then(|known| known.progress(self.group.0));
        let progress = known.cloned().unwrap_or_default();
        self.cursors.insert(partition, Cursor { position: progress.offset, ..Cursor::default() });
        self.turns.push_back(partition);
        (partition, progress)
    }

    /// Puts a finished read where it belongs, if its partition is still this member's.
    fn take_disk_read(&mut self) -> Result<(), LogErrorKind> {
        let Some(mut reading) = self.reading.take() else { return Ok(()) };
        let (records, next) = match reading.result.try_recv() {
            Ok(read) => read?,
            Err(TryRecvError::Closed) => return Err(EmbeddedLogError::ReaderGone.into()),
            Err(TryRecvError::Empty) => {
                self.reading = Some(reading);
                return Ok(());
            }
        };
        let cursor = self.cursors.get_mut(&reading.partition);
        if let Some(cursor) = cursor.filter(|cursor| cursor.position == reading.from) {
            cursor.ahead.extend(records);
            cursor.position = next;
        }
        Ok(())
    }

    /// One round over the partitions, each with its share, beginning with another one each time.
    fn collect(&mut self, state: &LogState) -> FetchRound {
        let mut round =
            FetchRound { bytes_left: self.running.shared.options.batch_bytes, ..FetchRound::default() };
        let share = self.share();
        self.turns.rotate_left(usize::from(!self.turns.is_empty()));
        for partition in &self.turns {
            let Some(cursor) = self.cursors.get_mut(partition).filter(|cursor| !cursor.paused) else {
                continue;
            };
            if round.bytes_left == 0 {
                break;
            }
            if !cursor.ahead.is_empty() {
                round.take_ahead(cursor, share);
            } else if let Some(known) = state.partitions.get(partition) {
                round.take_found(*partition, cursor, known.read(cursor.position, share));
            }
        }
        round
    }

    /// What one partition may take of a batch, so that none has to wait for another's backlog.
    fn share(&self) -> ReadLimit {
        let (options, parts) = (&self.running.shared.options, self.turns.len().max(1));
        ReadLimit::new(options.batch_records / parts, options.batch_bytes / parts)
    }

    fn start_reading(&self, partition: Partition, from: i64, until: i64) -> PendingRead {
        let (sender, result) = oneshot::channel();
        let (shared, limit) = (self.shared(), self.share());
        let wake = WakeOnDrop(Arc::clone(&self.wake));
        tokio::task::spawn_blocking(move || {
            let read = shared.store.read(partition, from, until, limit);
            // A consumer that is gone needs no records.
            let _ = sender.send(read);
            drop(wake);
        });
        PendingRead { partition, from, result }
    }

    fn set_paused(&mut self, partitions: &[Partition], paused: bool) {
        for partition in partitions {
            if let Some(cursor) = self.cursors.get_mut(partition) {
                cursor.paused = paused;
            }
        }
        self.wake.notify_one();
    }
}

impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Event, LogError> {
        loop {
            match self.poll() {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => self.wake.notified().await,
                Err(error) => return Err(LogError::new(format!("reading for {}", self.group), error)),
            }
        }
    }

    fn generation(&self) -> Generation {
        self.shared().state().generation(self.group, self.member)
    }

    fn pause(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.set_paused(partitions, true);
        Ok(())
    }

    fn resume(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.set_paused(partitions, false);
        Ok(())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), LogError> {
        self.shared().state().release(self.group, self.member, partitions);
        Ok(())
    }

    async fn leave(self) -> Result<(), LogError> {
        drop(self);
        Ok(())
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.running.shared.state().leave(self.group, self.member);
    }
}

/// What one round over the partitions found.
#[derive(Default)]
struct FetchRound {
    /// Decoded already, as what comes from disk is.
    records: Vec<Record>,
    /// As they lie in memory; decoded once the lock is free.
    encoded: Vec<(Partition, i64, Bytes)>,
    /// The first partition that has to be read from disk, from where, and up to where.
    on_disk: Option<(Partition, i64, i64)>,
    bytes_left: usize,
}

impl FetchRound {
    fn take_ahead(&mut self, cursor: &mut Cursor, mut share: ReadLimit) {
        while let Some(record) = cursor.ahead.front().filter(|record| share.take(record.size())) {
            self.bytes_left = self.bytes_left.saturating_sub(record.size());
            self.records.extend(cursor.ahead.pop_front());
        }
    }

    fn take_found(&mut self, partition: Partition, cursor: &mut Cursor, found: Found) {
        match found {
            Found::Nothing => {}
            Found::Disk { from, until } => {
                cursor.position = from;
                self.on_disk = self.on_disk.or(Some((partition, from, until)));
            }
            Found::Memory { from, encoded } => {
                cursor.position = from;
                for bytes in encoded {
                    self.bytes_left = self.bytes_left.saturating_sub(bytes.len());
                    self.encoded.push((partition, cursor.position, bytes));
                    cursor.position += 1;
                }
            }
        }
    }

    fn records(self) -> Result<Vec<Record>, LogErrorKind> {
        let decoded = self
            .encoded
            .into_iter()
            .map(|(partition, offset, bytes)| store::decode(partition, offset, bytes));
        self.records.into_iter().map(Ok).chain(decoded).collect()
    }
}

/// Wakes the reader however its read ends.
struct WakeOnDrop(Arc<Notify>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
