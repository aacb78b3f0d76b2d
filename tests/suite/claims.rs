//! Workers that say of which sort their models are: whatever becomes of their commits, all that go on are of one sort,
//! and it is said once.

use std::collections::BTreeSet;

use avr::{
    pipeline::claims::{ClaimError, claim_models},
    topic::INDEX,
};
use futures_util::future::join_all;

use crate::memory_log::{Faults, MemoryLog, Options};

const SEEDS: u64 = 200;
const WORKERS: usize = 5;

#[tokio::test(start_paused = true)]
async fn of_workers_of_both_sorts_that_start_at_once_one_sort_goes_on() {
    let mut winners = BTreeSet::new();
    for seed in 0..SEEDS {
        let faults = Faults { doubtful: 0.3, retriable: 0.2, yields: 0.5, sleeps: 0.5, ..Faults::NONE };
        let log = MemoryLog::new(&[(INDEX.name, 1)], Options { faults, ..Options::stormy(seed) });
        let claims = (0..WORKERS).map(|nth| {
            let (process, simulated) = (log.process("worker"), nth % 2 == 0);
            async move { (simulated, claim_models(&process, simulated).await) }
        });
        let ended = join_all(claims).await;
        let went_on: BTreeSet<bool> = ended.iter().filter(|it| it.1.is_ok()).map(|it| it.0).collect();
        assert_eq!(went_on.len(), 1, "seed {seed}: {ended:?}");
        let is_told = |it: &(bool, Result<(), ClaimError>)| {
            went_on.contains(&it.0) == it.1.is_ok()
                && (it.1.is_ok() || matches!(it.1, Err(ClaimError::OtherModels(_))))
        };
        assert!(ended.iter().all(is_told), "seed {seed}: {ended:?}");
        assert_eq!(log.records(INDEX.name).len(), 1, "seed {seed}");
        winners.extend(went_on);
    }
    assert_eq!(winners.len(), 2, "either sort was first now and then");
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_is_told_what_was_begun() {
    let log = MemoryLog::new(&[(INDEX.name, 1)], Options::calm(1));
    claim_models(&log.process("first"), true).await.expect("nobody spoke before");
    claim_models(&log.process("again"), true).await.expect("of the same sort");
    let refused = claim_models(&log.process("other"), false).await.expect_err("of the other");
    let told = refused.to_string();
    for part in ["begun with simulated models", "this worker asks real ones", "kafka.prefix"] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    assert_eq!(log.records(INDEX.name).len(), 1);
}
