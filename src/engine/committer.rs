//! The one committer of a process: it makes results visible together with the progress that says they are done.
//!
//! ```text
//!   CommitBatch ─▶ sink.append ─▶ log.commit ─┬─▶ Done
//!                                             ├─▶ Refused    nothing written: some groups lost partitions
//!                                             └─▶ Unknown    recovered; the progress that is committed decides
//! ```

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    EngineError, Sink, SinkError,
    commit_batch::{CommitBatch, NewCheckpoints, OffsetAdvance, count_by_topic},
    progress_text::{self, Decoded},
};
use crate::{
    clock::now_ms,
    dead_letter::dead_letter,
    log::{CommitError, Committer, GroupName, LogError, Output, Partition, Progress, Record},
    topic::TopicName,
};

/// Waits between attempts at a commit that the log could not take for the moment.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// What the coordinator asks of the committer.
#[derive(Debug)]
pub(super) enum CommitterCommand {
    Commit(CommitBatch),
    /// Bring the files of these partitions to where their checkpoints say they are.
    Restore(Vec<(Partition, String)>),
    /// Read the progress of these partitions, assigned to this stage, again.
    ReadProgress {
        stage: usize,
        group: GroupName,
        partitions: Vec<Partition>,
    },
}

/// What the committer tells the coordinator.
#[derive(Debug)]
pub(super) enum CommitterEvent {
    Committed(Box<Committed>),
    ProgressRead {
        stage: usize,
        assigned: Vec<(Partition, Progress)>,
    },
    /// Files could not be restored, or progress not be read: the process must end.
    Failed(EngineError),
}

/// A batch and what became of it.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) batch: CommitBatch,
    pub(super) outcome: CommitOutcome,
    /// What the sink made of its part; it counts if the batch is committed.
    pub(super) checkpoints: NewCheckpoints,
    /// How many outputs the batch has for each topic.
    pub(super) outputs: Vec<(TopicName, u64)>,
    pub(super) took: Duration,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum CommitOutcome {
    /// It is committed.
    Done,
    /// Nothing was written, because these groups gave partitions away.
    Refused(Vec<GroupName>),
    /// Whether it was written must be seen from what is committed now.
    Unknown(Known),
    /// The process must end.
    Fatal(EngineError),
}

impl CommitOutcome {
    /// The name in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::Fatal(_) => "failed",
        }
    }
}

/// What is committed for the partitions of a batch, as it was read back. A partition that has no progress, or whose
/// progress is not ours, is not in it.
pub(super) type Known = BTreeMap<(GroupName, Partition), Decoded>;

/// A sink between two uses.
type SinkSlot = Option<Box<dyn Sink>>;

/// Obeys one command after the other until the engine drops its end of `commands`.
pub(super) async fn run<C: Committer>(
    mut committer: C,
    mut sink: SinkSlot,
    mut commands: mpsc::Receiver<CommitterCommand>,
    events: mpsc::Sender<CommitterEvent>,
) {
    while let Some(command) = commands.recv().await {
        let event = match command {
            CommitterCommand::Commit(batch) => {
                let committed = commit(&mut committer, &mut sink, batch).await;
                CommitterEvent::Committed(Box::new(committed))
            }
            CommitterCommand::Restore(checkpoints) => match restore(&mut sink, checkpoints).await {
                Ok(()) => continue,
                Err(error) => CommitterEvent::Failed(error),
            },
            CommitterCommand::ReadProgress { stage, group, partitions } => {
                match read_progress(&mut committer, group, partitions).await {
                    Ok(assigned) => CommitterEvent::ProgressRead { stage, assigned },
                    Err(error) => CommitterEvent::Failed(error.into()),
                }
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

async fn restore(sink: &mut SinkSlot, checkpoints: Vec<(Partition, String)>) -> Result<(), EngineError> {
    let restore_all = move |sink: &mut dyn Sink| {
        checkpoints.iter().try_for_each(|(partition, checkpoint)| sink.restore(*partition, checkpoint))
    };
    on_sink(sink, restore_all).await
}

async fn read_progress<C: Committer>(
    committer: &mut C,
    group: GroupName,
    partitions: Vec<Partition>,
) -> Result<Vec<(Partition, Progress)>, LogError> {
    let progress = committer.progress(group, partitions.clone()).await?;
    Ok(partitions.into_iter().zip(progress.into_iter().map(Option::unwrap_or_default)).collect())
}

async fn commit<C: Committer>(committer: &mut C, sink: &mut SinkSlot, mut batch: CommitBatch) -> Committed {
    let started = Instant::now();
    let (outcome, checkpoints, outputs) = match append(sink, &mut batch).await {
        Ok(checkpoints) => {
            let outputs = batch.outputs();
            let counts = count_by_topic(&outputs);
            let outcome = write(committer, &batch, outputs, &checkpoints).await;
            (finish_sink(sink, &batch, &checkpoints, outcome).await, checkpoints, counts)
        }
        Err(error) => (CommitOutcome::Fatal(error), NewCheckpoints::new(), vec![]),
    };
    Committed { batch, outcome, checkpoints, outputs, took: started.elapsed() }
}

/// Lets the sink write its part: the checkpoints that it made of it.
async fn append(sink: &mut SinkSlot, batch: &mut CommitBatch) -> Result<NewCheckpoints, EngineError> {
    let Some(part) = &mut batch.sink else { return Ok(NewCheckpoints::new()) };
    let records: Vec<Arc<Record>> = part.records.iter().map(|(_, record)| Arc::clone(record)).collect();
    let appended = on_sink(sink, move |sink| sink.append(&records)).await?;
    for (at, letter) in &appended.refused {
        let (_, record) = &part.records[*at];
        part.dead_letters.push((letter.kind, dead_letter(record, part.name, letter, now_ms())));
    }
    Ok(appended.checkpoints)
}

/// Commits the batch to the log, again and again where that may help, until what became of it can be told.
async fn write<C: Committer>(
    committer: &mut C,
    batch: &CommitBatch,
    mut outputs: Vec<Output>,
    checkpoints: &NewCheckpoints,
) -> CommitOutcome {
    let progress = batch.progress(checkpoints);
    let mut wait = RETRY_FIRST;
    loop {
        match committer.commit(outputs, progress.clone()).await {
            Ok(()) => return CommitOutcome::Done,
            Err(CommitError::Refused(groups)) => return CommitOutcome::Refused(groups),
            Err(CommitError::Doubtful(error)) => {
                tracing::warn!(%error, "the outcome of a commit is unknown; asking the log what it has");
                let known = read_back(committer, &batch.advances).await;
                return known.map_or_else(|error| CommitOutcome::Fatal(error.into()), CommitOutcome::Unknown);
            }
            Err(CommitError::Fatal(error)) => return CommitOutcome::Fatal(error.into()),
            Err(CommitError::Retriable(error)) => {
                tracing::warn!(%error, wait_ms = wait.as_millis(), "a commit was not taken; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MOST);
                if let Err(error) = committer.recover().await {
                    return CommitOutcome::Fatal(error.into());
                }
                outputs = batch.outputs();
            }
        }
    }
}

/// After a commit of unknown outcome: makes the committer usable and reads what is committed.
async fn read_back<C: Committer>(committer: &mut C, advances: &[OffsetAdvance]) -> Result<Known, LogError> {
    committer.recover().await?;
    let mut groups: BTreeMap<GroupName, Vec<Partition>> = BTreeMap::new();
    for advance in advances {
        groups.entry(advance.group).or_default().push(advance.partition);
    }
    let mut known = Known::new();
    for (group, partitions) in groups {
        let progress = committer.progress(group, partitions.clone()).await?;
        for (partition, progress) in partitions.into_iter().zip(progress) {
            let decoded = progress.and_then(|progress| progress_text::decode(&progress).ok());
            known.extend(decoded.map(|decoded| ((group, partition), decoded)));
        }
    }
    Ok(known)
}

/// Tells the sink whether what it appended is committed, unless nobody knows: what it appended then stays, and the
/// next start settles it by the checkpoints that were committed.
async fn finish_sink(
    sink: &mut SinkSlot,
    batch: &CommitBatch,
    checkpoints: &NewCheckpoints,
    outcome: CommitOutcome,
) -> CommitOutcome {
    let Some(part) = &batch.sink else { return outcome };
    let is_committed = match &outcome {
        CommitOutcome::Done => true,
        CommitOutcome::Refused(_) => false,
        CommitOutcome::Unknown(known) => is_written(part.group, checkpoints, known),
        // The commit may have been written: taking files back could take what is committed. The next start knows.
        CommitOutcome::Fatal(_) => return outcome,
    };
    let finish = move |sink: &mut dyn Sink| if is_committed { sink.committed() } else { sink.roll_back() };
    match on_sink(sink, finish).await {
        Ok(()) => outcome,
        Err(error) => CommitOutcome::Fatal(error),
    }
}

/// Whether one of the checkpoints is in the log: a commit is written whole or not at all, and no other commit has such
/// a checkpoint. Offsets would not tell, for another process may have written the same records since. Where every
/// partition has another checkpoint, they are others' by now, who have brought to its place whatever was committed.
fn is_written(group: GroupName, checkpoints: &NewCheckpoints, known: &Known) -> bool {
    let is_ours = |(partition, checkpoint): (&Partition, &String)| {
        known.get(&(group, *partition)).is_some_and(|decoded| decoded.checkpoint == *checkpoint)
    };
    checkpoints.iter().any(is_ours)
}

/// Runs `use_sink`, on an OS thread that may block where the sink does.
async fn on_sink<T: Send + 'static>(
    slot: &mut SinkSlot,
    use_sink: impl FnOnce(&mut dyn Sink) -> Result<T, SinkError> + Send + 'static,
) -> Result<T, EngineError> {
    let Some(mut sink) = slot.take() else { return Err(EngineError::NoSink) };
    let blocks = sink.blocks();
    let run = move || {
        let result = use_sink(sink.as_mut());
        (sink, result)
    };
    let ran = if blocks {
        tokio::task::spawn_blocking(run).await.ok()
    } else {
        std::panic::catch_unwind(AssertUnwindSafe(run)).ok()
    };
    let (sink, result) = ran.ok_or(EngineError::NoSink)?;
    *slot = Some(sink);
    result.map_err(EngineError::Sink)
}
