//! What one commit holds: results of steps, what the sink writes, submissions, and how far each partition gets with them.

use std::{collections::BTreeMap, sync::Arc};

use super::{Completed, handle::Submission, partition::Epoch, progress_text};
use crate::{
    log::{Generation, GroupName, GroupProgress, Output, Partition, Record},
    topic::TopicName,
};

/// What a step gave, to be committed.
#[derive(Debug)]
pub(super) struct StepOutputs {
    pub(super) stage: usize,
    pub(super) epoch: Epoch,
    pub(super) record: Arc<Record>,
    pub(super) outputs: Vec<Output>,
}

impl StepOutputs {
    /// The bytes of its outputs.
    pub(super) fn size(&self) -> usize {
        self.outputs.iter().map(Output::size).sum()
    }
}

/// The sink's part of a commit.
#[derive(Debug)]
pub(super) struct SinkBatch {
    pub(super) stage: usize,
    pub(super) name: &'static str,
    pub(super) group: GroupName,
    /// What it is to write; nothing where it begins, and must have a checkpoint committed before it may.
    pub(super) records: Vec<(Epoch, Arc<Record>)>,
    /// Dead letters of those that it could not write, each with its kind. Made anew if the commit is.
    pub(super) dead_letters: Vec<(&'static str, Output)>,
}

/// The checkpoints that a sink made in a commit, by partition of its group.
pub(super) type NewCheckpoints = BTreeMap<Partition, String>;

/// Where one partition will be when the batch is committed.
#[derive(Debug)]
pub(super) struct OffsetAdvance {
    pub(super) group: GroupName,
    pub(super) generation: Generation,
    pub(super) partition: Partition,
    pub(super) completed: Completed,
    /// The checkpoint as it is; one that the sink makes in this commit replaces it.
    pub(super) checkpoint: String,
}

/// Everything that one commit holds.
#[derive(Debug, Default)]
pub(super) struct CommitBatch {
    pub(super) steps: Vec<StepOutputs>,
    pub(super) sink: Option<SinkBatch>,
    pub(super) submissions: Vec<Submission>,
    pub(super) advances: Vec<OffsetAdvance>,
}

impl CommitBatch {
    /// Whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.submissions.is_empty() && self.sink.is_none()
    }

    /// What is written to the log.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let steps = self.steps.iter().flat_map(|step| &step.outputs);
        let dead_letters =
            self.sink.iter().flat_map(|sink| sink.dead_letters.iter().map(|(_, letter)| letter));
        let submissions = self.submissions.iter().flat_map(|submission| &submission.outputs);
        steps.chain(dead_letters).chain(submissions).cloned().collect()
    }

    /// The progress that is committed with it, given what the sink made of its part.
    pub(super) fn progress(&self, checkpoints: &NewCheckpoints) -> Vec<GroupProgress> {
        let mut groups: Vec<GroupProgress> = Vec::new();
        let sink_group = self.sink.as_ref().map(|sink| sink.group);
        for advance in &self.advances {
            let new = checkpoints.get(&advance.partition).filter(|_| sink_group == Some(advance.group));
            let text = progress_text::encode(&advance.completed, new.unwrap_or(&advance.checkpoint));
            let progress = (advance.partition, text);
            match groups.iter_mut().find(|group| group.group == advance.group) {
                Some(group) => group.partitions.push(progress),
                None => {
                    let OffsetAdvance { group, generation, .. } = *advance;
                    groups.push(GroupProgress { group, generation, partitions: vec![progress] });
                }
            }
        }
        groups
    }
}

/// How many outputs there are for each topic.
pub(super) fn count_by_topic(outputs: &[Output]) -> Vec<(TopicName, u64)> {
    let mut counts: Vec<(TopicName, u64)> = Vec::new();
    for output in outputs {
        match counts.iter_mut().find(|(topic, _)| *topic == output.topic) {
            Some((_, count)) => *count += 1,
            None => counts.push((output.topic, 1)),
        }
    }
    counts
}
