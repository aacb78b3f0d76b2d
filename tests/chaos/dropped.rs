//! What workers say of steps that they began in vain.

use crate::support::Finished;

/// A step that a worker began in vain: its partition was lost, or a grace was over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) stage: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// What a worker said of steps that it dropped: `stage topic/partition [offset, offset]` behind the log line's head.
pub(crate) fn dropped(worker: &Finished) -> Vec<Dropped> {
    let told = worker.stderr.lines().filter_map(|line| line.split_once("avr::engine::dropped: "));
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
        stderr: "WARN x: y\nDEBUG avr::engine::dropped: draft dead-letters/3 [7, 12]\n".to_owned(),
    };
    let step = |offset| Dropped { stage: "draft".into(), topic: "dead-letters".into(), partition: 3, offset };
    assert_eq!(dropped(&worker), [step(7), step(12)]);
}
