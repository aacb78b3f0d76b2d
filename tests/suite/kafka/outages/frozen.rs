//! Workers that freeze in the middle of commits, and wake when others have done their work.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
};

use avr::log::kafka::{GroupProtocol, KafkaLog};

use super::brokers::{Scene, each_round};
use crate::{
    kafka::cluster::{self, Pipeline},
    log_suite::worker::Running,
};

/// What tells this program, started once more for one of these tests, that it is the worker: a prefix, its name, and
/// whether its place is fixed.
const WORKER: &str = "AVR_TEST_WORKER";

/// A worker in a process of its own.
struct WorkerProcess(Child);

impl WorkerProcess {
    /// Starts this program again for the same test, which plays the worker there.
    fn start(pipeline: &Pipeline, test: &str, fixed: bool) -> Self {
        let program = std::env::current_exe().expect("the test has a file");
        let (_, module) = module_path!().split_once("::").expect("a module of this program");
        let child = Command::new(program)
            .args(["--include-ignored", "--exact", &format!("{module}::{test}")])
            .env(WORKER, format!("{} worker-process {fixed}", pipeline.prefix))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("the test can be started again"))
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.expect("kill can be run").success());
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Works as it is told until its input ends.
async fn work(told: &str) {
    let [prefix, name, fixed] = told.split(' ').collect::<Vec<_>>().try_into().expect("three words");
    let mut options = cluster::shared().options(prefix, GroupProtocol::Classic);
    if fixed == "true" {
        (options.worker, options.static_membership) = (Some(name.to_owned()), true);
    }
    let log = KafkaLog::connect(options).await.expect("the cluster answers");
    let running = Running::start(log, name);
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    wait.await.expect("input can be waited for").expect("input can be read");
    running.stop().await;
}

/// A worker freezes at some moment in the middle of commits, and wakes when others have done its work. `test` is the
/// name of the test that does this.
async fn a_worker_freezes(test: &str, fixed: bool) {
    if let Ok(told) = std::env::var(WORKER) {
        return work(&told).await;
    }
    let freezes = async |scene: &mut Scene| {
        let process = WorkerProcess::start(&scene.pipeline, test, fixed);
        scene.write().await;
        scene.all_is_there().await;
        scene.write_while(async { process.signal("-STOP") }).await;
        // What it has not done is done by others once its session is over.
        scene.all_is_there().await;
        process.signal("-CONT");
        scene.write().await;
        scene.all_is_there().await;
    };
    each_round(GroupProtocol::Classic, freezes).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_frozen_worker_writes_nothing_twice() {
    a_worker_freezes("a_frozen_worker_writes_nothing_twice", false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_frozen_worker_with_a_fixed_place_writes_nothing_twice() {
    a_worker_freezes("a_frozen_worker_with_a_fixed_place_writes_nothing_twice", true).await;
}
