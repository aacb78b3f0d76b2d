//! The one OS thread that writes.
//!
//! ```text
//! commit ─▶ bounded queue ─▶ admit ─▶ one batch of all that wait ─▶ (sync) ─▶ publish ─▶ answer
//!                             │ fenced, refused                                 │ ends, tails, wake readers
//! ```
//!
//! Commits that wait for the disk together go there together: the busier the log, the cheaper a commit. Within
//! a batch they keep their order, and nothing of it is visible before all of it is written. An error of the disk
//! breaks the log for good: what is in the database is then known only after it is opened again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        mpsc::{Receiver as StopReceiver, RecvTimeoutError},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{
    Durability,
    group::ProcessId,
    shared::{LogState, Shared},
};
use crate::{
    log::{CommitError, GroupName, GroupProgress, LogError, LogErrorKind, Partition, Progress},
    topic::TopicName,
};

/// Tasks that may wait; more wait in their senders.
pub(super) const QUEUE_LENGTH: usize = 64;
/// A batch is closed once it holds so many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// Who commits.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The committer's name.
    pub(super) name: Arc<str>,
    /// Which of that name; a later one fences it.
    pub(super) epoch: u64,
    /// The process, which must have the partitions whose progress it commits.
    pub(super) process: ProcessId,
}

/// One commit.
pub(super) struct Commit {
    /// Who commits.
    pub(super) identity: Identity,
    /// Encoded records.
    pub(super) outputs: Vec<(Partition, Bytes)>,
    /// Progress, to be checked against who has the partitions.
    pub(super) progress: Vec<GroupProgress>,
    /// Where the result goes.
    pub(super) reply: oneshot::Sender<Result<(), CommitError>>,
}

/// What the writer is asked.
pub(super) enum WriterTask {
    /// To write.
    Commit(Commit),
    /// To answer once all that was asked before is decided.
    Barrier(oneshot::Sender<()>),
}

/// What is to be written at once.
#[derive(Default)]
pub(super) struct Plan {
    records: Vec<(Partition, i64, Bytes)>,
    /// One entry for each key of the database: within a batch a key must not be written twice.
    progress: BTreeMap<(Partition, GroupName), Progress>,
    /// From where to where each partition's first kept offset moves.
    firsts: BTreeMap<Partition, (i64, i64)>,
    replies: Vec<oneshot::Sender<Result<(), CommitError>>>,
}

/// Writes until every sender of tasks is gone.
pub(super) fn run(shared: &Shared, mut tasks: mpsc::Receiver<WriterTask>) {
    while let Some(task) = tasks.blocking_recv() {
        let (commits, barriers) = gather(task, &mut tasks);
        let plan = admit(&mut shared.state(), commits);
        write(shared, plan);
        for barrier in barriers {
            // Whoever gave up waiting needs no answer.
            let _ = barrier.send(());
        }
    }
}

/// Puts on disk at intervals what commits left to it, until `stop` hangs up.
pub(super) fn run_sync(shared: &Shared, interval: Duration, stop: &StopReceiver<()>) {
    while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if let Err(error) = shared.sync() {
            shared.state().break_down(&error);
        }
    }
}

/// The task at hand and what else waits, as far as one batch goes.
fn gather(
    first: WriterTask,
    tasks: &mut mpsc::Receiver<WriterTask>,
) -> (Vec<Commit>, Vec<oneshot::Sender<()>>) {
    let (mut commits, mut barriers, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(task) = next {
        match task {
            WriterTask::Barrier(reply) => barriers.push(reply),
            WriterTask::Commit(commit) => {
                bytes += commit.outputs.iter().map(|(_, encoded)| encoded.len()).sum::<usize>();
                commits.push(commit);
            }
        }
        let is_full = bytes >= BATCH_BYTES || commits.len() + barriers.len() >= QUEUE_LENGTH;
        next = if is_full { None } else { tasks.try_recv().ok() };
    }
    (commits, barriers)
}

/// Plans the commits that may be made, and answers the others. Nothing of the plan is visible yet.
pub(super) fn admit(state: &mut LogState, commits: Vec<Commit>) -> Plan {
    let mut plan = Plan::default();
    for commit in commits {
        match check(state, &commit) {
            Ok(()) => plan.add(state, commit),
            Err(error) => drop(commit.reply.send(Err(error))),
        }
    }
    plan.move_firsts(state);
    plan
}

fn check(state: &LogState, commit: &Commit) -> Result<(), CommitError> {
    let context = || format!("committing as {}", commit.identity.name);
    state.check().map_err(|error| LogError::new(context(), error))?;
    if state.committers.get(&*commit.identity.name) != Some(&commit.identity.epoch) {
        return Err(LogError::new(context(), LogErrorKind::Fenced).into());
    }
    let is_foreign = |progress: &&GroupProgress| {
        let GroupProgress { group, generation, .. } = **progress;
        let may_commit = |at| state.may_commit(group, commit.identity.process, at, generation);
        !progress.partitions.iter().all(|(partition, _)| may_commit(*partition))
    };
    let refused: Vec<_> = commit.progress.iter().filter(is_foreign).map(|progress| progress.group).collect();
    if refused.is_empty() { Ok(()) } else { Err(CommitError::Refused(refused)) }
}

impl Plan {
    fn add(&mut self, state: &mut LogState, commit: Commit) {
        for (partition, encoded) in commit.outputs {
            if let Some(known) = state.partitions.get_mut(&partition) {
                self.records.push((partition, known.reserve(), encoded));
            }
        }
        for GroupProgress { group, partitions, .. } in commit.progress {
            for (partition, progress) in partitions {
                state.committing.insert((group, partition));
                self.progress.insert((partition, group), progress);
            }
        }
        self.replies.push(commit.reply);
    }

    /// Sees which records go with the progress.
    fn move_firsts(&mut self, state: &LogState) {
        let mut last = None;
        for (partition, _) in self.progress.keys() {
            if last.replace(*partition) == Some(*partition) {
                continue;
            }
            let Some(known) = state.partitions.get(partition) else { continue };
            let from_here = self.progress.range((*partition, GroupName(""))..);
            let written = from_here.take_while(|((of, _), _)| of == partition);
            if let Some(first) = known.first_after(written.map(|((_, group), progress)| (group.0, progress)))
            {
                self.firsts.insert(*partition, (known.first(), first));
            }
        }
    }
}

/// Writes the plan, then makes all of it visible at once.
pub(super) fn write(shared: &Shared, plan: Plan) {
    let result = write_batch(shared, &plan);
    let mut state = shared.state();
    let replies = match &result {
        Ok(()) => publish(&mut state, plan),
        Err(error) => {
            state.break_down(error);
            plan.replies
        }
    };
    let results: Vec<_> = replies.into_iter().map(|reply| (reply, answer(&state))).collect();
    drop(state);
    for (reply, result) in results {
        // Whoever gave up waiting reads the progress instead.
        let _ = reply.send(result);
    }
}

fn answer(state: &LogState) -> Result<(), CommitError> {
    state.check().map_err(|error| LogError::new("committing", error).into())
}

fn write_batch(shared: &Shared, plan: &Plan) -> Result<(), LogErrorKind> {
    if plan.records.is_empty() && plan.progress.is_empty() {
        return Ok(());
    }
    let mut batch = shared.store.batch();
    for (partition, offset, encoded) in &plan.records {
        batch.record(*partition, *offset, encoded.clone())?;
    }
    for ((partition, group), progress) in &plan.progress {
        batch.progress(*partition, group.0, progress)?;
    }
    for (partition, (kept, first)) in &plan.firsts {
        batch.first(*partition, *kept, *first)?;
    }
    let to_disk = shared.options.durability == Durability::EachCommit;
    batch.write(to_disk)?;
    if !to_disk {
        shared.note_unsynced();
    }
    Ok(())
}

fn publish(state: &mut LogState, plan: Plan) -> Vec<oneshot::Sender<Result<(), CommitError>>> {
    let mut topics: BTreeSet<TopicName> = BTreeSet::new();
    for (partition, offset, encoded) in plan.records {
        topics.insert(partition.topic);
        state.append(partition, offset, encoded);
    }
    for ((partition, group), progress) in plan.progress {
        if let Some(known) = state.partitions.get_mut(&partition) {
            known.set_progress(group.0, progress);
        }
    }
    for (partition, (_, first)) in plan.firsts {
        state.cut(partition, first);
    }
    state.wake_readers(&topics);
    state.end_committing();
    plan.replies
}
