//! Brokers that die, coordinators that move, workers that freeze.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::Read as _,
    ops::Range,
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use avr::log::{
    CommitError,
    kafka::{GroupProtocol, KafkaLog},
};
use fastrand::Rng;
use tokio::sync::{Mutex, watch};

use crate::{
    kafka_support::{Cluster, Pipeline, cluster},
    log_suite::{
        TOPICS,
        worker::{Running, copies_are_exact},
    },
    writer::Writer,
};

/// One test at a time: each does to the cluster what the others could not bear.
pub(crate) static ALONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// Values that are written before and after something happens.
const SOME: usize = 40;

/// How often each test does to the cluster what it does: `AVR_OUTAGE_ROUNDS`, once if it is not given. What is drawn
/// differs from round to round; `AVR_OUTAGE_SEED` is the seed of the first.
fn seeds() -> Range<u64> {
    let number = |name, default| {
        let told = std::env::var(name).ok();
        told.map_or(default, |text| text.parse().expect("AVR_OUTAGE_ROUNDS and AVR_OUTAGE_SEED are numbers"))
    };
    let first: u64 = number("AVR_OUTAGE_SEED", 1);
    first..first + number("AVR_OUTAGE_ROUNDS", 1)
}

/// Plays a test's scene in every round.
async fn each_round(protocol: GroupProtocol, play: impl AsyncFn(&mut Scene)) {
    let _alone = ALONE.lock().await;
    for seed in seeds() {
        let Some(mut scene) = Scene::new(protocol, seed).await else { return };
        scene.write().await;
        scene.all_is_there().await;
        play(&mut scene).await;
        scene.end().await;
    }
}

async fn script(cluster: &Cluster, arguments: &[&str]) {
    let (cluster, arguments) =
        (cluster.clone(), arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
    let run = move || cluster.script(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("scripts/kafka does as it is told");
}

/// Commits that the log did not make, of the workers and of the writer, by what it said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(watch::Sender<Counts>);

type Counts = BTreeMap<&'static str, usize>;

impl Troubles {
    pub(crate) fn note(&self, result: &Result<(), CommitError>) {
        let kind = match result {
            Ok(()) => return,
            Err(CommitError::Refused(_)) => "refused",
            Err(CommitError::Retriable(_)) => "not made",
            Err(CommitError::Doubtful(_)) => "in doubt",
            Err(CommitError::Fatal(_)) => "fatal",
        };
        self.0.send_modify(|counts| *counts.entry(kind).or_default() += 1);
    }

    /// Whether there are some that come of brokers which do not answer; members that move are refused, too.
    fn of_the_log(counts: &Counts) -> bool {
        counts.contains_key("not made") || counts.contains_key("in doubt")
    }
}

/// Two workers copy while values are written one by one, and something happens to brokers.
struct Scene {
    cluster: Cluster,
    pipeline: Pipeline,
    log: KafkaLog,
    workers: Vec<Running>,
    writer: Writer<KafkaLog>,
    troubles: Troubles,
    seed: u64,
    rng: Rng,
}

impl Scene {
    async fn new(protocol: GroupProtocol, seed: u64) -> Option<Self> {
        let cluster = cluster()?;
        // A test that failed may have left brokers dead or frozen.
        script(&cluster, &["start"]).await;
        let pipeline = cluster.fresh(TOPICS).await;
        let log = pipeline.process(pipeline.options(protocol)).await;
        let (mut workers, troubles) = (Vec::new(), Troubles::default());
        for name in ["worker-0", "worker-1"] {
            let (process, troubles) = (pipeline.process(pipeline.options(protocol)).await, troubles.clone());
            workers.push(Running::start_telling(process, name, move |result| troubles.note(result)));
        }
        // Before anything happens: a committer that is not yet one waits for the cluster.
        let writer = Writer::start(log.clone(), troubles.clone()).await;
        Some(Self { cluster, pipeline, log, workers, writer, troubles, seed, rng: Rng::with_seed(seed) })
    }

    async fn write(&mut self) {
        self.writer.write(SOME).await;
    }

    /// Writes on and on while something `happens`, which begins at some moment in the middle of commits, and some more
    /// after it.
    async fn write_while(&mut self, happens: impl Future<Output = ()>) {
        let begins = self.writer.written() + self.rng.usize(1..SOME);
        let (mut count, over) = (self.writer.count(), Cell::new(false));
        let happening = async {
            count.wait_for(|count| *count >= begins).await.expect("the writer goes on");
            happens.await;
            over.set(true);
        };
        let writing = async {
            while !over.get() {
                self.writer.write(1).await;
            }
            self.writer.write(SOME).await;
        };
        tokio::join!(writing, happening);
    }

    async fn all_is_there(&self) {
        copies_are_exact(&self.log, self.writer.written()).await;
    }

    async fn end(self) {
        for worker in self.workers {
            worker.stop().await;
        }
        let written = self.writer.written();
        copies_are_exact(&self.log, written).await;
        println!("seed {}: {written} values; commits not made: {:?}", self.seed, *self.troubles.0.borrow());
    }
}

/// Kills one broker after the other, each at some moment in the middle of commits.
async fn brokers_die_in_turn(scene: &mut Scene) {
    let cluster = scene.cluster.clone();
    let mut brokers = ["1", "2", "3"];
    scene.rng.shuffle(&mut brokers);
    for broker in brokers {
        let dies_and_comes_back = async {
            script(&cluster, &["kill", broker]).await;
            script(&cluster, &["up", broker]).await;
        };
        scene.write_while(dies_and_comes_back).await;
        scene.all_is_there().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_die_in_turn_classic() {
    each_round(GroupProtocol::Classic, brokers_die_in_turn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_die_in_turn_consumer() {
    each_round(GroupProtocol::Consumer, brokers_die_in_turn).await;
}

/// Without a majority nothing can be written: commits under way run into their time-outs, and are decided only when
/// brokers are back.
#[tokio::test(flavor = "multi_thread")]
async fn commits_that_time_out_are_neither_lost_nor_doubled() {
    each_round(GroupProtocol::Classic, async |scene| {
        let (cluster, mut brokers) = (scene.cluster.clone(), ["1", "2", "3"]);
        scene.rng.shuffle(&mut brokers);
        let mut in_trouble = scene.troubles.0.subscribe();
        let majority_is_gone_for_a_while = async {
            script(&cluster, &["kill", brokers[0]]).await;
            script(&cluster, &["kill", brokers[1]]).await;
            in_trouble.wait_for(Troubles::of_the_log).await.expect("the workers and the writer go on");
            script(&cluster, &["up", brokers[0]]).await;
            script(&cluster, &["up", brokers[1]]).await;
        };
        scene.write_while(majority_is_gone_for_a_while).await;
        scene.all_is_there().await;
    })
    .await;
}

/// A broker that hangs answers nobody, and closes no connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_costs_time_and_nothing_else() {
    each_round(GroupProtocol::Classic, async |scene| {
        let cluster = scene.cluster.clone();
        let broker = scene.rng.u8(1..=3).to_string();
        scene.write_while(async { script(&cluster, &["freeze", &broker]).await }).await;
        script(&cluster, &["thaw", &broker]).await;
        scene.all_is_there().await;
    })
    .await;
}

/// The coordinators of a worker's transactions and of its group die while it commits.
#[tokio::test(flavor = "multi_thread")]
async fn coordinators_move_in_the_middle_of_commits() {
    each_round(GroupProtocol::Classic, async |scene| {
        let (cluster, prefix) = (scene.cluster.clone(), scene.pipeline.prefix.clone());
        for (topic, name) in [("__transaction_state", "worker-0"), ("__consumer_offsets", "suite-group")] {
            let (look, name) = (cluster.clone(), format!("{prefix}{name}"));
            let find = move || look.coordinator(topic, &name);
            let broker = tokio::task::spawn_blocking(find).await.expect("the cluster answers").to_string();
            scene.write_while(async { script(&cluster, &["kill", &broker]).await }).await;
            scene.all_is_there().await;
            script(&cluster, &["up", &broker]).await;
        }
    })
    .await;
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

/// A worker freezes at some moment in the middle of commits, and wakes when others have done its work.
async fn frozen_workers(scene: &mut Scene, fixed: bool) {
    let process = WorkerProcess::start(&scene.pipeline, "worker-process", fixed);
    scene.write().await;
    scene.all_is_there().await;
    scene.write_while(async { process.signal("-STOP") }).await;
    // What it has not done is done by others once its session is over.
    scene.all_is_there().await;
    process.signal("-CONT");
    scene.write().await;
    scene.all_is_there().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_writes_nothing_twice() {
    each_round(GroupProtocol::Classic, async |scene| frozen_workers(scene, false).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_with_a_fixed_place_writes_nothing_twice() {
    each_round(GroupProtocol::Classic, async |scene| frozen_workers(scene, true).await).await;
}
