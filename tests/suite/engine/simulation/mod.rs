//! The engine under a seed: random crashes between any two steps, a log at its worst, and still every record comes
//! out exactly once, and no step that was committed is made again.
//!
//! Time is paused, everything runs on one thread, and each seed is one run that can be repeated: `AVR_SEED=7` runs
//! one alone and shows what the engine says, `AVR_SEEDS=20000` runs more of them.

mod broken;
mod life;
mod shards;
mod world;

use std::{panic::AssertUnwindSafe, time::Duration};

use avr::{
    engine::Stop,
    log::{Committer as _, GroupName, Log as _},
};
use tokio::{sync::watch, task::JoinSet};

use self::{
    broken::Fault,
    life::{Parts, live},
    world::{World, batches},
};
use crate::memory_log::{Faults, Options};

/// Seeds of each scenario.
const SEEDS: u64 = 1000;
/// A run that takes longer, in virtual time, is stuck.
const STUCK: Duration = Duration::from_secs(3600);
/// A life that has nothing left to do never comes to the step at which it would be killed.
const IDLE: Duration = Duration::from_secs(180);

/// One process after the other, each killed after a drawn number of its log's steps; the last one is calm.
async fn crashes(seed: u64, fault: Fault) {
    let faults = Faults { lost: 0.0, ..Faults::STORM };
    let world = World::new(seed, Options { faults, ..Options::stormy(seed) }, fault);
    for _ in 0..world.draw(1..6) {
        let process = world.log.process("avr");
        process.kill_after(world.draw(1..150));
        let (_stop, stopped) = watch::channel(Stop::Run);
        let life = live(world.clone(), process.clone(), Parts::All, stopped);
        drop(tokio::time::timeout(IDLE, life).await);
        process.kill();
    }
    finish(seed, &world, Parts::All).await;
    world.assert_exactly_once(seed);
    world.assert_file_is_exact(seed);
    world.assert_nothing_redone(seed);
}

/// Two and more processes share the partitions; they die, fall silent, come back and are fenced.
async fn sharing(seed: u64, fault: Fault) {
    let world = World::new(seed, Options { faults: Faults::NONE, ..Options::stormy(seed) }, fault);
    write_input(&world).await;
    world.log.set_faults(Faults::STORM);
    let mut lives = JoinSet::new();
    let mut stops = Vec::new();
    for name in ["a", "b", "c"].iter().cycle().take(world.draw(3..8) as usize) {
        let process = world.log.process(name);
        if world.draw(0..4) > 0 {
            process.kill_after(world.draw(1..200));
        }
        let (stop, stopped) = watch::channel(Stop::Run);
        lives.spawn(live(world.clone(), process.clone(), Parts::Shared, stopped));
        stops.push(stop);
        tokio::time::sleep(Duration::from_millis(world.draw(0..3000))).await;
        match world.draw(0..5) {
            0 => process.silence(GroupName("first")),
            1 => process.silence(GroupName("second")),
            2 => process.silence(GroupName("export")),
            3 => drop(stops.swap_remove(0).send(Stop::Drain)),
            _ => {}
        }
    }
    finish(seed, &world, Parts::Shared).await;
    stops.iter().for_each(|stop| _ = stop.send_replace(Stop::Drain));
    while let Some(life) = lives.join_next().await {
        life.expect("no life ends by a fault of its own");
    }
    world.assert_exactly_once(seed);
    world.assert_shards_are_exact(seed);
}

async fn write_input(world: &World) {
    let mut committer = world.log.process("writer").committer("writer").await.expect("calm");
    for batch in batches() {
        committer.commit(batch, vec![]).await.expect("calm");
    }
}

/// Lets one more process run to the end over a log that is calm by now, and stops it as a user would.
async fn finish(seed: u64, world: &World, parts: Parts) {
    world.log.set_faults(Faults { yields: 0.2, ..Faults::NONE });
    let (stop, stopped) = watch::channel(Stop::Run);
    let life = tokio::spawn(live(world.clone(), world.log.process("avr"), parts, stopped));
    let completed = async {
        while !world.is_complete() && !life.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    if tokio::time::timeout(STUCK / 4, completed).await.is_err() {
        world.assert_exactly_once(seed);
        panic!(
            "seed {seed}: everything is in the log but not in the files: {:?} {:?}",
            world.file, world.folder
        );
    }
    stop.send_replace(Stop::Drain);
    life.await.expect("the last life ends by no fault of its own");
}

/// Runs a scenario; a seed picked by hand also shows what the engine says.
fn run(seed: u64, fault: Fault, scenario: impl AsyncFnOnce(u64, Fault)) {
    if std::env::var("AVR_SEED").is_ok() {
        drop(tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let ran = tokio::time::timeout(STUCK, scenario(seed, fault)).await;
        assert!(ran.is_ok(), "seed {seed}: stuck");
    });
}

/// Runs a scenario under every seed, on every core.
fn run_all(scenario: impl AsyncFnOnce(u64, Fault) + Copy + Send + Sync) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("AVR_SEED") {
        return run(seed, Fault::None, scenario);
    }
    let seeds = number("AVR_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                (first..seeds).step_by(threads as usize).for_each(|seed| run(seed, Fault::None, scenario));
            });
        }
    });
}

#[test]
fn nothing_is_lost_doubled_or_redone_whenever_the_process_dies() {
    run_all(crashes);
}

#[test]
fn nothing_is_lost_or_doubled_however_partitions_move() {
    run_all(sharing);
}

/// Seeds under which a fault must be noticed at least once, one that takes a rare course of events excepted.
const TRIES: usize = 40;
const RARE: u64 = 1000;

/// Whether a scenario notices a fault of the log under this seed.
fn notices(fault: Fault, scenario: impl AsyncFnOnce(u64, Fault) + Copy, seed: u64) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, fault, scenario))).is_err()
}

/// Under how many of the first seeds a scenario notices a fault of the log.
fn noticed(fault: Fault, scenario: impl AsyncFnOnce(u64, Fault) + Copy) -> usize {
    (0..TRIES as u64).filter(|seed| notices(fault, scenario, *seed)).count()
}

#[test]
fn a_log_that_breaks_a_promise_is_noticed() {
    assert_eq!(noticed(Fault::None, crashes), 0);
    assert_eq!(noticed(Fault::LosesAnOutput, crashes), TRIES, "missing whenever it is the last");
    let at_times = [Fault::LosesProgress, Fault::Tears, Fault::ForgetsWhatIsBeyond];
    for fault in at_times {
        assert!(noticed(fault, crashes) > 0, "{fault:?}");
    }
    let is_noticed = |seed| notices(Fault::DoesNotFence, sharing, seed);
    assert!((0..RARE).any(is_noticed), "commits of former owners");
}
