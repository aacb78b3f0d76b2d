//! The log in memory at its worst, and over it the smallest worker there is: with seeded faults, members that come
//! and go and processes that die between any two steps, every record is copied exactly once.

use std::time::Duration;

use avr::log::Record;

use crate::{
    log_suite::{
        MORE, TOPICS,
        worker::{Running, copies_are_exact, originals},
        write,
    },
    memory_log::{Faults, MemoryLog, Options},
};

/// How often workers start, and how many records there are to copy for each of these lives.
const LIVES: usize = 6;
const COUNT: usize = 20;

/// Long enough, in virtual time, for workers to come to rest.
const LIFE: Duration = Duration::from_secs(300);

/// Lets workers come, die and go over a log with this seed; returns the copies.
async fn copy_through_a_storm(seed: u64) -> Vec<Record> {
    let log = MemoryLog::new(TOPICS, Options::stormy(seed));
    let mut rng = fastrand::Rng::with_seed(seed);
    for originals in originals(LIVES * COUNT).chunks(COUNT) {
        log.set_faults(Faults::NONE);
        write(&log.process("writer"), originals.to_vec()).await;
        log.set_faults(Faults::STORM);
        live(&log, &mut rng).await;
    }
    log.set_faults(Faults::NONE);
    let last = Running::start(log.process("last"), "last");
    copies_are_exact(&log.process("judge"), LIVES * COUNT).await;
    last.stop().await;
    log.records(MORE)
}

/// Two workers, one of which is doomed, and at times the other dies with it.
async fn live(log: &MemoryLog, rng: &mut fastrand::Rng) {
    let doomed = log.process("doomed");
    doomed.kill_after(rng.u64(1..60));
    let running =
        [Running::start(doomed.clone(), "doomed"), Running::start(log.process("passing"), "passing")];
    // A doomed worker that finds nothing to do outlives its work.
    let _ = tokio::time::timeout(LIFE, doomed.killed()).await;
    if rng.bool() {
        log.kill_all();
    }
    for worker in running {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_record_is_copied_once_whatever_happens() {
    for seed in 0..300 {
        copy_through_a_storm(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_runs() {
    for seed in 0..5 {
        assert_eq!(copy_through_a_storm(seed).await, copy_through_a_storm(seed).await, "seed {seed}");
    }
}
