//! The workers: started, killed, stopped and started again, each under a name of its own.

use crate::{
    dropped::{Dropped, dropped},
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

/// All workers, the first ones before those that were added.
pub(crate) struct Fleet<'a> {
    bench: &'a Bench,
    cluster: &'a Cluster,
    workers: Vec<Worker>,
    /// What workers that have ended said of steps that they dropped.
    dropped: Vec<Dropped>,
}

impl<'a> Fleet<'a> {
    pub(crate) fn start(bench: &'a Bench, cluster: &'a Cluster) -> Self {
        let mut fleet = Self { bench, cluster, workers: vec![], dropped: vec![] };
        for (number, stages) in FIRST.into_iter().enumerate() {
            fleet.begin(fleet.workers.len(), format!("first-{number}"), stages);
        }
        fleet
    }

    /// SIGKILL, and another start under the same name.
    pub(crate) fn kill(&mut self, which: usize) {
        self.replace(which, kill);
    }

    /// SIGTERM, its clean end, and another start under the same name.
    pub(crate) fn terminate(&mut self, which: usize) {
        self.replace(which, end_well);
    }

    /// One worker more.
    pub(crate) fn add(&mut self, nth: usize) {
        self.begin(self.workers.len(), format!("added-{nth}"), LATER[nth % LATER.len()]);
    }

    /// SIGTERM for the one that was added last.
    pub(crate) fn remove(&mut self) {
        assert!(self.workers.len() > FIRST.len(), "one was added");
        if let Some(worker) = self.workers.pop() {
            self.dropped.extend(dropped(&end_well(worker.process)));
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

    /// SIGTERM for all, one after the other, so that each drains while others take over. Gives the steps that were
    /// dropped by all workers there were.
    pub(crate) fn end(mut self) -> Vec<Dropped> {
        self.check();
        let ended = self.workers.drain(..).flat_map(|worker| dropped(&end_well(worker.process)));
        self.dropped.extend(ended);
        self.dropped
    }

    fn replace(&mut self, which: usize, end: fn(Process) -> Finished) {
        let at = which % self.workers.len();
        let Worker { name, stages, process } = self.workers.remove(at);
        self.dropped.extend(dropped(&end(process)));
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
