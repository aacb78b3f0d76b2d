//! The one committer of a process: it makes results visible together with the progress that says they are done.
//!
//! ```text
//!   Job ─▶ sink.append ─▶ log.commit ─┬─▶ Done
//!                                     ├─▶ Refused    nothing written: some groups lost partitions
//!                                     └─▶ Unknown    recovered; the progress that is committed decides
//! ```

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Completed, EngineError, Sink, partition::Epoch, progress_text};
use crate::{
    clock::now_ms,
    dead_letter::{DeadLetterCause, dead_letter},
    log::{
        CommitError, Committer, Generation, GroupName, GroupProgress, LogError, Output, Partition, Progress,
        Record,
    },
    topic::TopicName,
};

/// Waits between tries of a commit that the log could not take for the moment.
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(2);

/// A step that ended with outputs.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) stage: usize,
    pub(super) epoch: Epoch,
    pub(super) record: Arc<Record>,
    pub(super) outputs: Vec<Output>,
}

impl Finished {
    /// The bytes of its outputs.
    pub(super) fn size(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }
}

/// The sink's part of a commit.
#[derive(Debug)]
pub(super) struct SinkPart {
    pub(super) stage: usize,
    pub(super) name: &'static str,
    pub(super) group: GroupName,
    /// What it is to write; nothing where it begins, and must have a checkpoint committed before it may.
    pub(super) records: Vec<(Epoch, Arc<Record>)>,
    /// Letters of those that it could not write, each with its kind. Made anew if the commit is.
    pub(super) letters: Vec<(&'static str, Output)>,
}

/// The checkpoints that a sink made in a commit, by partition of its group.
pub(super) type NewCheckpoints = BTreeMap<Partition, String>;

/// Outputs from outside the dataflow, and whom to tell.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) outputs: Vec<Output>,
    pub(super) reply: oneshot::Sender<Result<(), SubmitError>>,
}

/// Why a submission may not be in the log.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It may be or may not be: read the log to know. The engine may have stopped meanwhile.
    #[error("whether the prompts were written is unknown")]
    Doubtful,
    /// It is not: the engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
}

/// Where one partition will be when the job is committed.
#[derive(Debug)]
pub(super) struct Advance {
    pub(super) group: GroupName,
    pub(super) generation: Generation,
    pub(super) partition: Partition,
    pub(super) completed: Completed,
    /// The checkpoint as it is; one that the sink makes in this commit replaces it.
    pub(super) checkpoint: String,
}

/// Everything that one commit holds.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) finished: Vec<Finished>,
    pub(super) sink: Option<SinkPart>,
    pub(super) submissions: Vec<Submission>,
    pub(super) advances: Vec<Advance>,
}

impl Job {
    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.submissions.is_empty() && self.sink.is_none()
    }
}

/// What became of a job.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is committed, with these checkpoints of the sink.
    Done { checkpoints: NewCheckpoints },
    /// Nothing was written, because these groups gave partitions away.
    Refused(Vec<GroupName>),
    /// What is committed now, for every partition of the job.
    Unknown(Vec<(GroupName, Partition, Option<Progress>)>),
    /// The process must end.
    Fatal(EngineError),
}

impl Verdict {
    /// The name in metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
            Self::Fatal(_) => "failed",
        }
    }
}

/// A job and what became of it.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) job: Job,
    pub(super) verdict: Verdict,
    pub(super) outputs: Vec<(TopicName, u64)>,
    pub(super) took: Duration,
}

/// A sink between two uses.
pub(super) type SinkSlot = Option<Box<dyn Sink>>;

/// What the engine asks of the committer.
#[derive(Debug)]
pub(super) enum Errand {
    Commit(Job),
    /// Bring the files of this partition to where its checkpoint says they are.
    Restore(Vec<(Partition, String)>),
    /// Read the progress of these partitions, assigned to this stage, again.
    Read {
        stage: usize,
        group: GroupName,
        partitions: Vec<Partition>,
    },
}

/// What came of an errand.
#[derive(Debug)]
pub(super) enum Answer {
    Committed(Box<Committed>),
    Read { stage: usize, assigned: Vec<(Partition, Progress)> },
}

/// Runs one errand after the other until the engine drops its end of `errands`.
pub(super) async fn run<C: Committer>(
    mut committer: C,
    mut sink: SinkSlot,
    mut errands: mpsc::Receiver<Errand>,
    answers: mpsc::Sender<Answer>,
) {
    while let Some(errand) = errands.recv().await {
        let answer = match errand {
            Errand::Commit(job) => Some(committed(commit(&mut committer, &mut sink, job).await)),
            Errand::Restore(checkpoints) => restore(&mut sink, checkpoints).await,
            Errand::Read { stage, group, partitions } => {
                Some(read(&mut committer, stage, group, partitions).await)
            }
        };
        if let Some(answer) = answer
            && answers.send(answer).await.is_err()
        {
            return;
        }
    }
}

fn committed(committed: Committed) -> Answer {
    Answer::Committed(Box::new(committed))
}

async fn restore(sink: &mut SinkSlot, checkpoints: Vec<(Partition, String)>) -> Option<Answer> {
    let restore_all = move |sink: &mut dyn Sink| {
        checkpoints.iter().try_for_each(|(partition, checkpoint)| sink.restore(*partition, checkpoint))
    };
    let restored = on_sink(sink, restore_all).await;
    restored.err().map(|error| committed(failed(Job::default(), error)))
}

async fn read<C: Committer>(
    committer: &mut C,
    stage: usize,
    group: GroupName,
    partitions: Vec<Partition>,
) -> Answer {
    match committer.progress(group, partitions.clone()).await {
        Ok(progress) => {
            let progress = progress.into_iter().map(Option::unwrap_or_default);
            Answer::Read { stage, assigned: partitions.into_iter().zip(progress).collect() }
        }
        Err(error) => committed(failed(Job::default(), error.into())),
    }
}

async fn commit<C: Committer>(committer: &mut C, sink: &mut SinkSlot, mut job: Job) -> Committed {
    let started = Instant::now();
    let (mut outputs, checkpoints) = match gather(sink, &mut job).await {
        Ok(gathered) => gathered,
        Err(error) => return failed(job, error),
    };
    let progress = progress_of(&job, &checkpoints);
    let counts = count_by_topic(&outputs);
    let mut wait = RETRY_FIRST;
    let verdict = loop {
        match committer.commit(std::mem::take(&mut outputs), progress.clone()).await {
            Ok(()) => break Verdict::Done { checkpoints: checkpoints.clone() },
            Err(CommitError::Refused(groups)) => break Verdict::Refused(groups),
            Err(CommitError::Doubtful(error)) => {
                tracing::warn!(%error, "the outcome of a commit is unknown; asking the log what it has");
                break decide(committer, &job.advances).await;
            }
            Err(CommitError::Fatal(error)) => break Verdict::Fatal(error.into()),
            Err(CommitError::Retriable(error)) => {
                tracing::warn!(%error, wait_ms = wait.as_millis(), "a commit was not taken; trying again");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY_MOST);
                if let Err(error) = committer.recover().await {
                    break Verdict::Fatal(error.into());
                }
                outputs = outputs_of(&job);
            }
        }
    };
    let verdict = settle_sink(sink, &job, &checkpoints, verdict).await;
    Committed { job, verdict, outputs: counts, took: started.elapsed() }
}

fn failed(job: Job, error: EngineError) -> Committed {
    Committed { job, verdict: Verdict::Fatal(error), outputs: vec![], took: Duration::ZERO }
}

/// All outputs of a job, and the checkpoints of the sink after it wrote its part.
async fn gather(sink: &mut SinkSlot, job: &mut Job) -> Result<(Vec<Output>, NewCheckpoints), EngineError> {
    let Some(part) = &mut job.sink else { return Ok((outputs_of(job), NewCheckpoints::new())) };
    let records: Vec<Arc<Record>> = part.records.iter().map(|(_, record)| Arc::clone(record)).collect();
    let appended = on_sink(sink, move |sink| sink.append(&records)).await?;
    for (at, letter) in &appended.refused {
        let (_, record) = &part.records[*at];
        part.letters.push((letter.kind, dead_letter(record, part.name, letter, now_ms())));
    }
    Ok((outputs_of(job), appended.checkpoints))
}

fn outputs_of(job: &Job) -> Vec<Output> {
    let steps = job.finished.iter().flat_map(|finished| &finished.outputs);
    let letters = job.sink.iter().flat_map(|part| part.letters.iter().map(|(_, letter)| letter));
    steps
        .chain(letters)
        .chain(job.submissions.iter().flat_map(|submission| &submission.outputs))
        .cloned()
        .collect()
}

fn count_by_topic(outputs: &[Output]) -> Vec<(TopicName, u64)> {
    let mut counts: Vec<(TopicName, u64)> = Vec::new();
    for output in outputs {
        match counts.iter_mut().find(|(topic, _)| *topic == output.topic) {
            Some((_, count)) => *count += 1,
            None => counts.push((output.topic, 1)),
        }
    }
    counts
}

fn progress_of(job: &Job, checkpoints: &NewCheckpoints) -> Vec<GroupProgress> {
    let mut groups: Vec<GroupProgress> = Vec::new();
    let sink_group = job.sink.as_ref().map(|part| part.group);
    for advance in &job.advances {
        let new_checkpoint =
            checkpoints.get(&advance.partition).filter(|_| sink_group == Some(advance.group));
        let checkpoint = new_checkpoint.unwrap_or(&advance.checkpoint);
        let progress = (advance.partition, progress_text::encode(&advance.completed, checkpoint));
        match groups.iter_mut().find(|group| group.group == advance.group) {
            Some(group) => group.partitions.push(progress),
            None => {
                let Advance { group, generation, .. } = *advance;
                groups.push(GroupProgress { group, generation, partitions: vec![progress] });
            }
        }
    }
    groups
}

/// After a commit of unknown outcome: makes the committer usable and reads what is committed.
async fn decide<C: Committer>(committer: &mut C, advances: &[Advance]) -> Verdict {
    match read_back(committer, advances).await {
        Ok(known) => Verdict::Unknown(known),
        Err(error) => Verdict::Fatal(error.into()),
    }
}

async fn read_back<C: Committer>(
    committer: &mut C,
    advances: &[Advance],
) -> Result<Vec<(GroupName, Partition, Option<Progress>)>, LogError> {
    committer.recover().await?;
    let mut known = Vec::with_capacity(advances.len());
    for advance in advances {
        let progress = committer.progress(advance.group, vec![advance.partition]).await?;
        known.push((advance.group, advance.partition, progress.into_iter().next().flatten()));
    }
    Ok(known)
}

/// Tells the sink whether what it appended is committed, unless nobody knows: what it appended then stays, and the
/// next start settles it by the checkpoints that were committed.
async fn settle_sink(
    sink: &mut SinkSlot,
    job: &Job,
    checkpoints: &NewCheckpoints,
    verdict: Verdict,
) -> Verdict {
    let Some(part) = &job.sink else { return verdict };
    let written = match &verdict {
        Verdict::Done { .. } => true,
        Verdict::Refused(_) => false,
        Verdict::Unknown(known) => is_written(part.group, checkpoints, known),
        // The commit may have been written: taking files back could take what is committed. The next start knows.
        Verdict::Fatal(_) => return verdict,
    };
    let settled = on_sink(sink, move |sink| if written { sink.committed() } else { sink.roll_back() });
    match settled.await {
        Ok(()) => verdict,
        Err(error) => Verdict::Fatal(error),
    }
}

/// Whether one of the checkpoints is in the log: a commit is written whole or not at all, and no other commit has such
/// a checkpoint. Offsets would not tell, for another process may have written the same records since. Where every
/// partition has another checkpoint, they are others' by now, who have brought to its place whatever was committed.
fn is_written(
    group: GroupName,
    checkpoints: &NewCheckpoints,
    known: &[(GroupName, Partition, Option<Progress>)],
) -> bool {
    known.iter().filter(|(of, ..)| *of == group).any(|(_, partition, progress)| {
        let decoded = progress.as_ref().and_then(|progress| progress_text::decode(progress).ok());
        let ours = checkpoints.get(partition);
        decoded.is_some_and(|decoded| ours == Some(&decoded.checkpoint))
    })
}

/// Whether committed progress says that `offset` is done.
pub(super) fn holds(progress: Option<&Progress>, offset: i64) -> bool {
    let decoded = progress.and_then(|progress| progress_text::decode(progress).ok());
    decoded.is_some_and(|decoded| decoded.completed.contains(offset))
}

/// Runs `use_sink`, on a thread that may block where the sink does.
async fn on_sink<T: Send + 'static>(
    slot: &mut SinkSlot,
    use_sink: impl FnOnce(&mut dyn Sink) -> Result<T, super::SinkError> + Send + 'static,
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

/// A dead letter in place of outputs of which one is above the log's limit.
pub(super) fn too_large(outputs: &[Output], limit: usize) -> Option<DeadLetterCause> {
    let largest = outputs.iter().max_by_key(|output| output.size())?;
    (largest.size() > limit).then(|| {
        let key = largest.key.as_ref().map(Bytes::as_ref).map(String::from_utf8_lossy).unwrap_or_default();
        DeadLetterCause::new(
            "too_large",
            format!(
                "the output {key} for topic {} has {} bytes; the log takes {limit}",
                largest.topic,
                largest.size()
            ),
        )
    })
}
