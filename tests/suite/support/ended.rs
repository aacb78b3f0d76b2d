//! Lives of workers that have ended: how, and what they said of steps that they began in vain.

use std::collections::BTreeMap;

use super::{Finished, Process, calls::Life, log_state::Reached};

/// The exit code of a stop whose last results the log did not take.
const NOT_TAKEN: i32 = 5;

/// One life of a worker that has ended.
pub(crate) struct Past {
    worker: String,
    process: u32,
    /// What it said of steps that it dropped.
    dropped: Vec<Dropped>,
    /// Of one that was killed: what was committed by then.
    killed: Option<Reached>,
}

impl Past {
    /// SIGKILL, and then a look at what is committed.
    pub(crate) fn kill(worker: String, process: Process, committed: impl FnOnce() -> Reached) -> Self {
        let number = process.id();
        process.signal("KILL");
        let killed = process.finish_soon();
        assert_eq!(killed.code, None, "it ran until it was killed: {killed:?}");
        Self { worker, process: number, dropped: dropped(&killed), killed: Some(committed()) }
    }

    /// SIGTERM is a wish, and a worker that could fulfil it says so with its exit code. One whose partitions went to others
    /// before its last results were taken says that, and which steps it dropped.
    pub(crate) fn end_well(worker: String, process: Process) -> Self {
        let number = process.id();
        process.terminate();
        let ended = process.finish_soon();
        assert!(matches!(ended.code, Some(0 | NOT_TAKEN)), "it ended well or said why not: {ended:?}");
        Self { worker, process: number, dropped: dropped(&ended), killed: None }
    }

    /// As the calls are judged by it; `thread_of` tells how the ids of the calls begin that the thread of a dropped step
    /// makes, if it is known.
    pub(crate) fn life(self, thread_of: impl Fn(&Dropped) -> Option<String>) -> Life {
        let Self { worker, process, dropped, killed } = self;
        let mut steps = BTreeMap::<String, u64>::new();
        for step in &dropped {
            let thread = thread_of(step).unwrap_or_default();
            *steps.entry(format!("{thread}-{}-", step.stage)).or_default() += 1;
        }
        Life { worker, process, dropped: steps, killed }
    }
}

/// A step that a worker began in vain: its partition was lost, or a grace was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) stage: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What a worker said of steps that it dropped: `stage topic/partition [offset, offset]` behind the log line's head.
fn dropped(worker: &Finished) -> Vec<Dropped> {
    let told = worker.stderr.lines().filter_map(|line| line.split_once("avr::engine::discarded: "));
    told.flat_map(|(_, steps)| parse_dropped(steps).unwrap_or_else(|| panic!("not understood: {steps}")))
        .collect()
}

fn parse_dropped(steps: &str) -> Option<Vec<Dropped>> {
    let (stage, rest) = steps.split_once(' ')?;
    let (place, offsets) = rest.split_once(" [")?;
    let (topic, partition) = place.rsplit_once('/')?;
    let offsets = offsets.strip_suffix(']')?.split(", ");
    let step = |offset: &str| {
        let (stage, topic) = (stage.to_owned(), topic.to_owned());
        Some(Dropped { stage, topic, partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    };
    offsets.map(step).collect()
}

#[test]
fn dropped_steps_are_read_from_the_log() {
    let worker = Finished {
        code: None,
        stdout: String::new(),
        stderr: "WARN x: y\nDEBUG avr::engine::discarded: draft dead-letters/3 [7, 12]\n".to_owned(),
    };
    let step = |offset| Dropped { stage: "draft".into(), topic: "dead-letters".into(), partition: 3, offset };
    assert_eq!(dropped(&worker), [step(7), step(12)]);
}
