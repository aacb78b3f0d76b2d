//! What is left to do in a log, for whoever looks on: it takes no part in any group.
//!
//! A stage's progress in a partition is a completed prefix and a set of offsets beyond it, so what is left is what lies
//! before the end and in neither. Counted in offsets that is an upper bound: markers of transactions take offsets, and
//! behind the last record of an idle topic there are always some. So where little is left it is read, from the prefix
//! on; a read that meets no record but completed ones up to the end says that nothing is left.

use std::{collections::BTreeMap, ops::ControlFlow};

use crate::{
    dataflow::STAGES,
    engine::{Completed, progress_text},
    log::{GroupName, Log, LogError, LogErrorKind, Partition, Progress, Record},
};

/// Records of one partition that are read to see what is left, at most, and their bytes.
const LOOK_RECORDS: u64 = 200;
const LOOK_BYTES: usize = 4 << 20;

/// How far a stage is in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The stage.
    pub stage: &'static str,
    /// The partition.
    pub partition: Partition,
    /// The offsets that are done.
    pub completed: Completed,
    /// The partition's end. It is read after the progress, so that nothing is taken for done that is not.
    pub end: i64,
}

impl Behind {
    /// Offsets before the end that are not known to be done: what is left at most.
    pub fn offsets(&self) -> u64 {
        let beyond: i64 = self.completed.runs().map(|(start, end)| (end.min(self.end) - start).max(0)).sum();
        u64::try_from(self.end - self.completed.prefix() - beyond).unwrap_or(0)
    }

    /// Offsets that are done, over all time.
    pub fn done(&self) -> u64 {
        u64::try_from(self.completed.prefix() + self.completed.beyond()).unwrap_or(0)
    }
}

/// What is left in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How many records.
    pub records: u64,
    /// Whether they were counted; else there are at most so many.
    pub is_exact: bool,
    /// When the oldest of them was written, in milliseconds since the Unix epoch; none where nothing is left.
    pub oldest_ms: Option<i64>,
}

/// How far a stage's group is in each partition of its topics.
///
/// # Errors
/// The log cannot be read.
pub async fn behind<L: Log>(log: &L, stage: &'static str) -> Result<Vec<Behind>, LogError> {
    let topics = STAGES.iter().find(|known| known.name == stage).map_or(&[][..], |known| known.reads);
    let mut all = Vec::new();
    for topic in topics {
        let partitions: Vec<Partition> =
            log.ends(*topic).await?.into_iter().map(|(partition, _)| partition).collect();
        let progress = log.progress(GroupName(stage), partitions.clone()).await?;
        let ends: BTreeMap<Partition, i64> = log.ends(*topic).await?.into_iter().collect();
        for (partition, progress) in partitions.iter().zip(&progress) {
            let (offset, end) = (progress.as_ref().map(|progress| progress.offset), ends.get(partition));
            within_the_end(stage, *partition, offset, end.copied())?;
        }
        let with_end = partitions.into_iter().zip(progress).filter_map(|(partition, progress)| {
            let completed = progress.map(completed).unwrap_or_default();
            Some(Behind { stage, partition, completed, end: *ends.get(&partition)? })
        });
        all.extend(with_end);
    }
    Ok(all)
}

/// Nobody knows what is left where a group is committed up to an offset that the log has not reached.
fn within_the_end(
    stage: &str,
    Partition { topic, index }: Partition,
    offset: Option<i64>,
    end: Option<i64>,
) -> Result<(), LogError> {
    let Some((offset, end)) = offset.zip(end).filter(|(offset, end)| offset > end) else { return Ok(()) };
    let text = format!(
        "group {stage} is committed up to offset {offset} in partition {index} of topic {topic}, which ends at {end}: the \
         topic was made anew, or lost records. Stop its workers and say where it is to begin: avr topics apply \
         --start-lost-groups-at earliest|latest"
    );
    Err(LogError::new("looking at what is left", LogErrorKind::Other(text.into())))
}

/// What is done; of progress that another program wrote, its offset.
fn completed(progress: Progress) -> Completed {
    match progress_text::decode(&progress) {
        Ok(decoded) => decoded.completed,
        Err(_) => Completed::up_to(progress.offset),
    }
}

/// What is left in each partition, in the order given.
///
/// # Errors
/// The log cannot be read.
pub async fn left<L: Log>(log: &L, behind: &[Behind]) -> Result<Vec<Left>, LogError> {
    let mut looks: BTreeMap<Partition, Look<'_>> = BTreeMap::new();
    for behind in behind.iter().filter(|behind| behind.offsets() > 0) {
        looks.insert(behind.partition, Look::new(&behind.completed));
    }
    let starts = looks.iter().map(|(partition, look)| (*partition, look.completed.prefix())).collect();
    let mut visit = |record: Record| match looks.get_mut(&record.partition) {
        Some(look) => look.at(&record),
        None => ControlFlow::Break(()),
    };
    if !behind.is_empty() {
        log.scan_from(starts, &mut visit).await?;
    }
    Ok(behind
        .iter()
        .map(|behind| looks.get(&behind.partition).map_or(NOTHING, |look| look.left(behind)))
        .collect())
}

const NOTHING: Left = Left { records: 0, is_exact: true, oldest_ms: None };

/// A look at the first records of a partition that may be left.
struct Look<'a> {
    completed: &'a Completed,
    seen: u64,
    bytes: usize,
    left: Left,
}

impl<'a> Look<'a> {
    fn new(completed: &'a Completed) -> Self {
        Self { completed, seen: 0, bytes: 0, left: NOTHING }
    }

    fn at(&mut self, record: &Record) -> ControlFlow<()> {
        self.seen += 1;
        self.bytes += record.size();
        if !self.completed.contains(record.offset) {
            self.left.records += 1;
            self.left.oldest_ms.get_or_insert(record.timestamp_ms);
        }
        if self.seen < LOOK_RECORDS && self.bytes < LOOK_BYTES {
            return ControlFlow::Continue(());
        }
        self.left.is_exact = false;
        ControlFlow::Break(())
    }

    fn left(&self, behind: &Behind) -> Left {
        let records = if self.left.is_exact { self.left.records } else { behind.offsets() };
        Left { records, ..self.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::PROMPTS;

    const PARTITION: Partition = Partition { topic: PROMPTS.name, index: 0 };

    fn behind(completed: Completed, end: i64) -> Behind {
        Behind { stage: "draft", partition: PARTITION, completed, end }
    }

    /// Up to 10, and 12 and 13 beyond it.
    fn completed() -> Completed {
        let mut completed = Completed::up_to(10);
        completed.insert_run(12, 14);
        completed
    }

    fn record(offset: i64, bytes: usize) -> Record {
        let value = Some(vec![b'x'; bytes].into());
        Record { partition: PARTITION, offset, timestamp_ms: offset * 100, key: None, value, headers: vec![] }
    }

    #[test]
    fn offsets_are_an_upper_bound() {
        let cases =
            [(Completed::default(), 7, 7), (completed(), 20, 8), (completed(), 13, 2), (completed(), 5, 0)];
        for (completed, end, offsets) in cases {
            assert_eq!(behind(completed, end).offsets(), offsets, "{end}");
        }
        assert_eq!(behind(completed(), 20).done(), 12);
    }

    #[test]
    fn a_group_beyond_the_end_is_not_taken_for_done() {
        let within = |offset, end| within_the_end("draft", PARTITION, offset, end);
        for (offset, end) in [(Some(7), Some(7)), (Some(0), Some(7)), (None, Some(7)), (Some(7), None)] {
            assert!(within(offset, end).is_ok(), "{offset:?} of {end:?}");
        }
        let error = within(Some(50), Some(9)).expect_err("the log ends before").to_string();
        for part in ["group draft", "offset 50", "partition 0 of topic prompts", "ends at 9", "topics apply"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn markers_and_completed_records_are_not_left() {
        let completed = completed();
        let mut look = Look::new(&completed);
        // 10, 11 and 14 to 19 are markers, 12 and 13 done.
        assert!([12, 13].iter().all(|offset| look.at(&record(*offset, 1)).is_continue()));
        assert_eq!(look.left(&behind(completed.clone(), 20)), NOTHING);
        let mut look = Look::new(&completed);
        [11, 12, 15].iter().for_each(|offset| _ = look.at(&record(*offset, 1)));
        let left = Left { records: 2, is_exact: true, oldest_ms: Some(1100) };
        assert_eq!(look.left(&behind(completed.clone(), 20)), left);
    }

    #[test]
    fn much_is_not_counted_one_by_one() {
        let completed = Completed::default();
        let by_number = (0..).find(|offset| {
            Look { seen: *offset as u64, ..Look::new(&completed) }.at(&record(*offset, 1)).is_break()
        });
        assert_eq!(by_number, Some(LOOK_RECORDS as i64 - 1));
        let mut look = Look::new(&completed);
        assert!(look.at(&record(0, LOOK_BYTES)).is_break());
        let left = Left { records: 5000, is_exact: false, oldest_ms: Some(0) };
        assert_eq!(look.left(&behind(Completed::default(), 5000)), left);
    }
}
