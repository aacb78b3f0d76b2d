//! Brokers that die or hang, and coordinators that move.

use std::{cell::Cell, collections::BTreeMap, ops::Range};

use avr::log::{
    CommitError,
    kafka::{GroupProtocol, KafkaLog},
};
use fastrand::Rng;
use tokio::sync::watch;

use super::writer::Writer;
use crate::{
    kafka::cluster::{self, Cluster, Pipeline},
    log_suite::{
        TOPICS,
        worker::{Running, copies_are_exact},
    },
};

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
pub(super) async fn each_round(protocol: GroupProtocol, play: impl AsyncFn(&mut Scene)) {
    let cluster = cluster::alone();
    for seed in seeds() {
        let mut scene = Scene::new(&cluster, protocol, seed).await;
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
pub(super) struct Scene {
    cluster: Cluster,
    pub(super) pipeline: Pipeline,
    log: KafkaLog,
    workers: Vec<Running>,
    writer: Writer<KafkaLog>,
    troubles: Troubles,
    rng: Rng,
}

impl Scene {
    async fn new(cluster: &Cluster, protocol: GroupProtocol, seed: u64) -> Self {
        let cluster = cluster.clone();
        let pipeline = cluster.fresh(TOPICS).await;
        let log = pipeline.process(pipeline.options(protocol)).await;
        let (mut workers, troubles) = (Vec::new(), Troubles::default());
        for name in ["worker-0", "worker-1"] {
            let (process, troubles) = (pipeline.process(pipeline.options(protocol)).await, troubles.clone());
            workers.push(Running::start_telling(process, name, move |result| troubles.note(result)));
        }
        // Before anything happens: a committer that is not yet one waits for the cluster.
        let writer = Writer::start(log.clone(), troubles.clone()).await;
        Self { cluster, pipeline, log, workers, writer, troubles, rng: Rng::with_seed(seed) }
    }

    pub(super) async fn write(&mut self) {
        self.writer.write(SOME).await;
    }

    /// Writes on and on while something `happens`, which begins at some moment in the middle of commits, and some more
    /// after it.
    pub(super) async fn write_while(&mut self, happens: impl Future<Output = ()>) {
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

    pub(super) async fn all_is_there(&self) {
        copies_are_exact(&self.log, self.writer.written()).await;
    }

    async fn end(self) {
        for worker in self.workers {
            worker.stop().await;
        }
        let written = self.writer.written();
        copies_are_exact(&self.log, written).await;
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
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn brokers_die_in_turn_classic() {
    each_round(GroupProtocol::Classic, brokers_die_in_turn).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn brokers_die_in_turn_consumer() {
    each_round(GroupProtocol::Consumer, brokers_die_in_turn).await;
}

/// Without a majority nothing can be written: commits under way run into their time-outs, and are decided only when
/// brokers are back.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
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
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
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
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
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
