//! Brokers that die, coordinators that move, workers that freeze.

use std::{
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use avr::broker::kafka::{GroupProtocol, KafkaLog};
use fastrand::Rng;
use tokio::sync::{Mutex, watch};

use crate::{
    kafka_support::{Cluster, Pipeline, cluster},
    log_suite::{
        TOPICS,
        worker::{Running, copies_are_exact, originals},
    },
    writer::Writer,
};

/// One test at a time: each does to the cluster what the others could not bear.
static ALONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// Values that are written before and after something happens.
const SOME: usize = 40;

async fn script(cluster: &Cluster, arguments: &[&str]) {
    let (cluster, arguments) =
        (cluster.clone(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let run = move || cluster.script(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("scripts/kafka does as it is told");
}

/// Two workers copy while values are written one by one, and something happens to brokers.
struct Scene {
    cluster: Cluster,
    pipeline: Pipeline,
    log: KafkaLog,
    workers: Vec<Running>,
    values: Vec<avr::broker::Output>,
    written: usize,
    /// Commits that the log did not make, of the workers and of the writer.
    troubles: watch::Sender<usize>,
}

impl Scene {
    async fn new(protocol: GroupProtocol, rounds: usize) -> Option<Self> {
        let cluster = cluster()?;
        let pipeline = cluster.fresh(TOPICS).await;
        let log = pipeline.process(pipeline.options(protocol)).await;
        let mut workers = Vec::new();
        let troubles = watch::Sender::new(0);
        for name in ["worker-0", "worker-1"] {
            let process = pipeline.process(pipeline.options(protocol)).await;
            workers.push(Running::start_counting(process, name, troubles.clone()));
        }
        let values = originals(SOME * rounds);
        Some(Self { cluster, pipeline, log, workers, values, written: 0, troubles })
    }

    /// The next values.
    fn next(&mut self) -> Vec<avr::broker::Output> {
        let from = self.written;
        self.written += SOME;
        self.values[from..self.written].to_vec()
    }

    async fn write(&mut self) {
        let values = self.next();
        Writer::start(self.log.clone(), self.troubles.clone()).await.write(&values).await;
    }

    /// Writes while `happens`.
    async fn write_while(&mut self, happens: impl Future<Output = ()>) {
        let (values, log, troubles) = (self.next(), self.log.clone(), self.troubles.clone());
        let writes = async move { Writer::start(log, troubles).await.write(&values).await };
        tokio::join!(writes, happens);
    }

    async fn all_is_there(&self) {
        copies_are_exact(&self.log, self.written).await;
    }

    async fn end(self) {
        for worker in self.workers {
            worker.stop().await;
        }
        copies_are_exact(&self.log, self.written).await;
    }
}

/// Kills one broker after the other, each at some moment in the middle of commits.
async fn brokers_die_in_turn(protocol: GroupProtocol, seed: u64) {
    let _alone = ALONE.lock().await;
    let mut rng = Rng::with_seed(seed);
    let Some(mut scene) = Scene::new(protocol, 4).await else { return };
    scene.write().await;
    scene.all_is_there().await;
    let mut brokers = ["1", "2", "3"];
    rng.shuffle(&mut brokers);
    for broker in brokers {
        let cluster = scene.cluster.clone();
        scene
            .write_while(async {
                script(&cluster, &["kill", broker]).await;
                script(&cluster, &["up", broker]).await;
            })
            .await;
        scene.all_is_there().await;
    }
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_die_in_turn_classic() {
    brokers_die_in_turn(GroupProtocol::Classic, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_die_in_turn_consumer() {
    brokers_die_in_turn(GroupProtocol::Consumer, 2).await;
}

/// Without a majority nothing can be written: commits under way run into their time-outs, and are decided only when
/// brokers are back.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_time_out_are_neither_lost_nor_doubled() {
    let _alone = ALONE.lock().await;
    let Some(mut scene) = Scene::new(GroupProtocol::Classic, 3).await else { return };
    scene.write().await;
    scene.all_is_there().await;
    for (first, second) in [("1", "2"), ("3", "1")] {
        let cluster = scene.cluster.clone();
        let mut in_trouble = scene.troubles.subscribe();
        let before = *in_trouble.borrow_and_update();
        scene
            .write_while(async {
                script(&cluster, &["kill", first]).await;
                script(&cluster, &["kill", second]).await;
                in_trouble.wait_for(|count| *count > before).await.expect("the workers go on");
                script(&cluster, &["up", first]).await;
                script(&cluster, &["up", second]).await;
            })
            .await;
        scene.all_is_there().await;
    }
    scene.end().await;
}

/// A broker that hangs answers nobody, and closes no connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_costs_time_and_nothing_else() {
    let _alone = ALONE.lock().await;
    let Some(mut scene) = Scene::new(GroupProtocol::Classic, 4).await else { return };
    scene.write().await;
    scene.all_is_there().await;
    for broker in ["1", "2", "3"] {
        let cluster = scene.cluster.clone();
        script(&cluster, &["freeze", broker]).await;
        scene.write().await;
        script(&cluster, &["thaw", broker]).await;
        scene.all_is_there().await;
    }
    scene.end().await;
}

/// The coordinators of a worker's transactions and of its group die while it commits.
#[tokio::test(flavor = "multi_thread")]
async fn coordinators_move_in_the_middle_of_commits() {
    let _alone = ALONE.lock().await;
    let Some(mut scene) = Scene::new(GroupProtocol::Classic, 3).await else { return };
    scene.write().await;
    scene.all_is_there().await;
    let prefix = scene.pipeline.prefix.clone();
    for (topic, name) in [("__transaction_state", "worker-0"), ("__consumer_offsets", "suite-group")] {
        let cluster = scene.cluster.clone();
        let (look, name) = (cluster.clone(), format!("{prefix}{name}"));
        let find = move || look.coordinator(topic, &name);
        let broker = tokio::task::spawn_blocking(find).await.expect("the cluster answers").to_string();
        scene.write_while(async { script(&cluster, &["kill", &broker]).await }).await;
        scene.all_is_there().await;
        script(&cluster, &["up", &broker]).await;
    }
    scene.end().await;
}

/// A worker in a process of its own.
struct WorkerProcess(Child);

impl WorkerProcess {
    fn start(pipeline: &Pipeline, name: &str, fixed: bool) -> Self {
        let program = std::env::current_exe().expect("the test has a file");
        let child = Command::new(program)
            .args(["--ignored", "--exact", "outages::worker_process"])
            .env("AVR_TEST_WORKER", format!("{} {name} {fixed}", pipeline.prefix))
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

/// The process that others start, freeze and kill: works until its input ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by other tests"]
async fn worker_process() {
    let told = std::env::var("AVR_TEST_WORKER").expect("other tests say what to do");
    let [prefix, name, fixed] = told.split(' ').collect::<Vec<_>>().try_into().expect("three words");
    let mut options = cluster().expect("others looked").options(prefix, GroupProtocol::Classic);
    if fixed == "true" {
        (options.worker, options.static_membership) = (Some(name.to_owned()), true);
    }
    let log = KafkaLog::connect(options).await.expect("the cluster answers");
    let running = Running::start(log, name);
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    wait.await.expect("input can be waited for").expect("input can be read");
    running.stop().await;
}

/// Workers freeze, each at some moment in the middle of commits, and wake when others have done their work.
async fn frozen_workers(fixed: bool) {
    let _alone = ALONE.lock().await;
    let Some(mut scene) = Scene::new(GroupProtocol::Classic, 7).await else { return };
    let process = WorkerProcess::start(&scene.pipeline, "worker-process", fixed);
    scene.write().await;
    scene.all_is_there().await;
    for _ in 0..3 {
        scene.write_while(async { process.signal("-STOP") }).await;
        // What it has not done is done by others once its session is over.
        scene.all_is_there().await;
        process.signal("-CONT");
        scene.write().await;
        scene.all_is_there().await;
    }
    drop(process);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_writes_nothing_twice() {
    frozen_workers(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_with_a_fixed_place_writes_nothing_twice() {
    frozen_workers(true).await;
}
