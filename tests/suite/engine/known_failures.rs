//! What broke in others that keep completed offsets beside a prefix, and is not the subject of another test; the list
//! is in `mod.rs`. Time is paused.

use std::{future::pending, time::Duration};

use avr::{
    engine::{EngineError, EngineOptions, ForeignProgress},
    log::{Committer as _, Consumer as _, Event, GroupProgress, Log as _, Progress},
    topic::{PROMPTS, RECORDS},
};

use super::single_worker::{GROUP, Life, a_while, log_of, numbers, options, partition, text};
use crate::memory_log::{MemoryLog, Options};

/// A log with ten records, up to the fifth of which a program has committed its progress with this text.
async fn log_with_text(text: &str) -> MemoryLog {
    let log = log_of(10, 1, Options::calm(1)).await;
    let process = log.process("before");
    let mut consumer = process.consumer(GROUP, &[PROMPTS.name]).await.expect("calm");
    while !matches!(consumer.next().await, Ok(Event::Assigned(_))) {}
    let partitions = vec![(partition(0), Progress { offset: 5, text: text.to_owned() })];
    let progress = vec![GroupProgress { group: GROUP, generation: consumer.generation(), partitions }];
    let mut committer = process.committer("before").await.expect("calm");
    committer.commit(vec![], progress).await.expect("it is the owner");
    consumer.leave().await.expect("calm");
    log
}

/// Texts of another program, of a later version of this one, and damaged.
const NOT_OURS: [(&str, &str); 3] = [
    ("b64:AAAB/+8", "another program"),
    ("avr2:r:00000000:", "a newer version"),
    ("avr1:rAQE:00000000:", "is damaged"),
];

#[tokio::test(start_paused = true)]
async fn progress_that_is_not_ours_ends_the_engine_and_nothing_is_done() {
    for (not_ours, said) in NOT_OURS {
        let log = log_with_text(not_ours).await;
        let life = Life::start_with(options(), log.process("avr"), 4, |n| async move { Ok(text(n)) });
        let ended = life.end().await.expect_err("it is refused");
        assert!(
            matches!(ended, EngineError::Progress { group: GROUP, partition: at, .. } if at == partition(0))
        );
        assert!(ended.to_string().contains(said), "{ended}");
        assert!(log.records(RECORDS.name).is_empty());
        assert_eq!(
            log.progress(GROUP, partition(0)).map(|progress| progress.text),
            Some(not_ours.to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn progress_that_is_not_ours_can_be_ignored_but_for_its_offset() {
    for (not_ours, _) in NOT_OURS {
        let log = log_with_text(not_ours).await;
        let ignores = EngineOptions { foreign_progress: ForeignProgress::Ignore, ..options() };
        let life = Life::start_with(ignores, log.process("avr"), 4, |n| async move { Ok(text(n)) });
        a_while().await;
        assert_eq!(numbers(&log, RECORDS.name), [5, 6, 7, 8, 9]);
        assert!(life.stop().await.0.is_ok());
    }
}

/// Steps that never end do not keep a partition that is to move longer than the grace, and the member that waits for
/// them is not taken for dead: it keeps its other partition, and what was done beside the stuck steps is not done again.
#[tokio::test(start_paused = true)]
async fn a_revoked_partition_moves_although_steps_are_stuck() {
    let grace = Duration::from_secs(20);
    let log = log_of(20, 2, Options { session: Duration::from_secs(3600), ..Options::calm(1) }).await;
    let named =
        |committer: &str| EngineOptions { committer: committer.to_owned(), revoke_grace: grace, ..options() };
    let stuck = |n: u64| async move { if n.is_multiple_of(4) { pending().await } else { Ok(text(n)) } };
    let first = Life::start_with(named("first"), log.process("first"), 20, stuck);
    a_while().await;
    let done: Vec<u64> = (0..20).filter(|n| n % 4 != 0).collect();
    assert_eq!(numbers(&log, RECORDS.name), done);

    let second = Life::start_with(named("second"), log.process("second"), 20, |n| async move { Ok(text(n)) });
    tokio::time::sleep(grace + Duration::from_secs(5)).await;
    assert_eq!((first.shares(), second.shares()), (1, 1));
    let redone = second.started.lock().expect("no panic").clone();
    assert!(!redone.is_empty() && redone.keys().all(|n| n % 4 == 0), "{redone:?}");
    assert!(first.stop().await.0.is_ok());
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), (0..20).collect::<Vec<_>>());
    assert!(second.stop().await.0.is_ok());
}
