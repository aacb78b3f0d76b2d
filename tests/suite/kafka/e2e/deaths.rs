//! Workers that die or drop work, and what may be asked again for it.

use std::collections::BTreeMap;

use avr::{
    log::{Log as _, Partition, Record},
    simulate::RequestCounts,
};

use super::{pipeline::Pipeline, workers::PAIR};
use crate::support::{
    Cluster, Process,
    calls::{self, Calls, Snapshot},
    ended::{Dropped, Past},
    log_state::{Reached, TOPICS, calls_of},
};

/// What there was when a worker had died: how far topics reached, and then what had been asked.
struct Death {
    ends: BTreeMap<Partition, i64>,
    counts: RequestCounts,
}

impl Death {
    fn of(pipeline: &Pipeline, models: &Cluster) -> Self {
        let ends = |topic| pipeline.runtime.block_on(pipeline.log.ends(topic)).expect("the cluster answers");
        Self { ends: TOPICS.into_iter().flat_map(ends).collect(), counts: models.counts() }
    }

    /// A step whose results were in the log by then is committed, now or a moment later, and its calls were counted:
    /// its worker was about to say that it is done. What was given up instead is not there.
    fn reached(&self, pipeline: &Pipeline) -> Reached {
        let was_there = |record: &Record| record.offset < self.ends[&record.partition];
        pipeline.runtime.block_on(Reached::in_log(&pipeline.log, was_there))
    }
}

/// The workers of a pipeline that have ended, and what there was at each violent end.
#[derive(Default)]
pub(crate) struct Deaths {
    pub(crate) snapshots: Vec<Snapshot>,
    past: Vec<Past>,
}

impl Deaths {
    /// SIGKILL for the worker of this name; `next` is to take its place before anybody waits for what it left undecided.
    pub(crate) fn kill<T>(
        &mut self,
        pipeline: &Pipeline,
        models: &Cluster,
        (name, worker): (&str, Process),
        next: impl FnOnce() -> T,
    ) -> T {
        let mut begun = None;
        let snapshots = &mut self.snapshots;
        let past = Past::kill(name.to_owned(), worker, || {
            let death = Death::of(pipeline, models);
            begun = Some(next());
            let reached = death.reached(pipeline);
            snapshots.push(Snapshot::of(&reached, death.counts));
            reached
        });
        self.past.push(past);
        begun.expect("it took the place")
    }

    /// Kills one of a pair and the other in turn, each time the models have given so many answers, and starts it again
    /// under its name.
    pub(crate) fn kill_in_turn(
        &mut self,
        pipeline: &Pipeline,
        models: &Cluster,
        workers: [Process; 2],
        moments: &[u64],
    ) -> [Process; 2] {
        let [mut one, mut other] = workers;
        for (answers, which) in moments.iter().zip((0..2).cycle()) {
            one.until("its moment has come", || (models.answered() >= *answers).then_some(()));
            let again = self
                .kill(pipeline, models, (PAIR[which], one), || pipeline.named_worker(models, PAIR[which]));
            (one, other) = (other, again);
        }
        [one, other]
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(&mut self, name: &str, worker: Process) {
        self.past.push(Past::end_well(name.to_owned(), worker));
    }

    /// Checks what was asked again by all workers that there were, see [`calls::check`].
    pub(crate) fn check(self, pipeline: &Pipeline, models: &Cluster) -> Calls {
        let thread_of = |dropped: &Dropped| Some(calls_of(&thread_at(pipeline, dropped)?));
        let lives: Vec<_> = self.past.into_iter().map(|past| past.life(thread_of)).collect();
        calls::check(&self.snapshots, &lives, &models.counts(), &models.senders())
    }
}

/// The thread of the record that a dropped step was at.
fn thread_at(pipeline: &Pipeline, at: &Dropped) -> Option<String> {
    let topic = TOPICS.into_iter().find(|topic| topic.0 == at.topic)?;
    let place = (Partition { topic, index: at.partition }, at.offset);
    let mut found = None;
    let mut visit = |record: Record| {
        if (record.partition, record.offset) == place {
            found = record.key.map(|key| String::from_utf8(key.to_vec()).expect("an id"));
        }
    };
    pipeline.runtime.block_on(pipeline.log.scan(topic, &mut visit)).expect("the cluster answers");
    found
}
