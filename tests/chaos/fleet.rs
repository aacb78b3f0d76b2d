//! The workers: started, killed, stopped and started again, each under a name of its own.

use crate::{
    judge::Reached,
    support::{Bench, Cluster, Finished, Process},
};

/// What a worker does; nothing named is everything.
type Stages = &'static [&'static str];

/// What the workers of the beginning do: some everything, some one stage or two.
const FIRST: [Stages; 7] =
    [&[], &[], &[], &["draft", "critique"], &["improve"], &["score", "select"], &["export"]];

/// What those do that are added later.
const LATER: [Stages; 3] = [&["improve", "score"], &[], &["critique"]];

/// Lines of each worker that are shown where nothing moves.
const LAST_LINES: usize = 25;

/// One worker.
struct Worker {
    name: String,
    stages: Stages,
    process: Process,
}

impl Worker {
    fn end(self, end: impl FnOnce(Process) -> (Finished, Option<Reached>)) -> Past {
        let process = self.process.id();
        let (finished, killed) = end(self.process);
        Past { worker: self.name, process, dropped: dropped(&finished), killed }
    }
}

/// All workers, the first ones before those that were added.
pub(crate) struct Fleet<'a> {
    bench: &'a Bench,
    cluster: &'a Cluster,
    workers: Vec<Worker>,
    /// Those that have ended.
    past: Vec<Past>,
}

/// One life of a worker that has ended.
pub(crate) struct Past {
    pub(crate) worker: String,
    pub(crate) process: u32,
    /// What it said of steps that it dropped.
    pub(crate) dropped: Vec<Dropped>,
    /// Of one that was killed: what was committed by then.
    pub(crate) killed: Option<Reached>,
}

impl<'a> Fleet<'a> {
    pub(crate) fn start(bench: &'a Bench, cluster: &'a Cluster) -> Self {
        let mut fleet = Self { bench, cluster, workers: vec![], past: vec![] };
        for (number, stages) in FIRST.into_iter().enumerate() {
            fleet.begin(fleet.workers.len(), format!("first-{number}"), stages);
        }
        fleet
    }

    /// SIGKILL, a look at what is committed, and another start under the same name.
    pub(crate) fn kill(&mut self, which: usize, committed: impl FnOnce() -> Reached) {
        self.replace(which, |process| (kill(process), Some(committed())));
    }

    /// SIGTERM, its clean end, and another start under the same name.
    pub(crate) fn terminate(&mut self, which: usize) {
        self.replace(which, |process| (end_well(process), None));
    }

    /// One worker more.
    pub(crate) fn add(&mut self, nth: usize) {
        self.begin(self.workers.len(), format!("added-{nth}"), LATER[nth % LATER.len()]);
    }

    /// SIGTERM for the one that was added last.
    pub(crate) fn remove(&mut self) {
        assert!(self.workers.len() > FIRST.len(), "one was added");
        if let Some(worker) = self.workers.pop() {
            self.past.push(worker.end(|process| (end_well(process), None)));
        }
    }

    /// Fails if a worker has ended by itself.
    pub(crate) fn check(&mut self) {
        let ended = self.workers.iter_mut().position(|worker| !worker.process.is_running());
        if let Some(Worker { name, process, .. }) = ended.map(|at| self.workers.swap_remove(at)) {
            panic!("{name} ended by itself: {:?}", process.finish());
        }
    }

    /// What there is to see where nothing moves any more: the status of the pipeline, and each worker's last lines.
    pub(crate) fn describe(&mut self) -> String {
        let status = Process::start(&mut self.bench.avr(&["status"])).finish();
        let last_lines = |worker: &mut Worker| {
            let lines: Vec<&str> = worker.process.said().lines().rev().take(LAST_LINES).collect();
            let lines: String = lines.into_iter().rev().map(|line| format!("  {line}\n")).collect();
            format!("{} {:?}:\n{lines}", worker.name, worker.stages)
        };
        let workers: String = self.workers.iter_mut().map(last_lines).collect();
        format!("{}{}\n{workers}", status.stdout, status.stderr)
    }

    /// SIGTERM for all, one after the other, so that each drains while others take over. Gives all that there were.
    pub(crate) fn end(mut self) -> Vec<Past> {
        self.check();
        let ended = self.workers.drain(..).map(|worker| worker.end(|process| (end_well(process), None)));
        self.past.extend(ended);
        self.past
    }

    fn replace(&mut self, which: usize, end: impl FnOnce(Process) -> (Finished, Option<Reached>)) {
        let at = which % self.workers.len();
        let worker = self.workers.remove(at);
        let (name, stages) = (worker.name.clone(), worker.stages);
        self.past.push(worker.end(end));
        self.begin(at, name, stages);
    }

    fn begin(&mut self, at: usize, name: String, stages: Stages) {
        let mut arguments = vec!["--worker", &name];
        arguments.extend(stages.iter().flat_map(|stage| ["--stage", stage]));
        let process = self.bench.start(self.cluster, &arguments);
        self.workers.insert(at, Worker { name, stages, process });
    }
}

/// SIGKILL leaves no exit code.
fn kill(process: Process) -> Finished {
    process.signal("KILL");
    let killed = process.finish_soon();
    assert_eq!(killed.code, None, "it ran until it was killed: {killed:?}");
    killed
}

/// SIGTERM is a wish, and a worker that could fulfil it says so with its exit code.
fn end_well(process: Process) -> Finished {
    process.terminate();
    process.finish_soon().expect_code(0)
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
