//! The workers: started, killed, stopped and started again, each under a name of its own.

use crate::support::{Bench, Cluster, Process, ended::Past, log_state::Reached};

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
pub(crate) struct Workers<'a> {
    bench: &'a Bench,
    cluster: &'a Cluster,
    workers: Vec<Worker>,
    /// Those that have ended.
    past: Vec<Past>,
}

impl<'a> Workers<'a> {
    pub(crate) fn start(bench: &'a Bench, cluster: &'a Cluster) -> Self {
        let mut workers = Self { bench, cluster, workers: vec![], past: vec![] };
        for (number, stages) in FIRST.into_iter().enumerate() {
            workers.begin(workers.workers.len(), format!("first-{number}"), stages);
        }
        workers
    }

    /// SIGKILL, a look at what is committed, and another start under the same name.
    pub(crate) fn kill(&mut self, which: usize, committed: impl FnOnce() -> Reached) {
        self.replace(which, |name, process| Past::kill(name, process, committed));
    }

    /// SIGTERM, its clean end, and another start under the same name.
    pub(crate) fn terminate(&mut self, which: usize) {
        self.replace(which, Past::end_well);
    }

    /// One worker more.
    pub(crate) fn add(&mut self, nth: usize) {
        self.begin(self.workers.len(), format!("added-{nth}"), LATER[nth % LATER.len()]);
    }

    /// SIGTERM for the one that was added last.
    pub(crate) fn remove(&mut self) {
        assert!(self.workers.len() > FIRST.len(), "one was added");
        if let Some(worker) = self.workers.pop() {
            self.past.push(Past::end_well(worker.name, worker.process));
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
        let ended = self.workers.drain(..).map(|worker| Past::end_well(worker.name, worker.process));
        self.past.extend(ended);
        self.past
    }

    fn replace(&mut self, which: usize, end: impl FnOnce(String, Process) -> Past) {
        let at = which % self.workers.len();
        let Worker { name, stages, process } = self.workers.remove(at);
        self.past.push(end(name.clone(), process));
        self.begin(at, name, stages);
    }

    fn begin(&mut self, at: usize, name: String, stages: Stages) {
        let mut arguments = vec!["--worker", &name];
        arguments.extend(stages.iter().flat_map(|stage| ["--stage", stage]));
        let process = self.bench.start(self.cluster, &arguments);
        self.workers.insert(at, Worker { name, stages, process });
    }
}
