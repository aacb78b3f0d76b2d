//! What a process has in hand is bounded, whatever its steps do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use avr::{
    engine::EngineOptions,
    log::{Committer as _, Log as _, Output},
    topic::{PROMPTS, RECORDS},
};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::single_worker::{GROUP, Life, a_while, log_of, numbers, options, text};
use crate::memory_log::{MemoryLog, Options};

const COUNT: u64 = 400;
/// Bytes of one record: its value, and a key of three characters.
const RECORD: usize = 100;
const BATCH: usize = 4;
const MOST: usize = 2000;

fn output(number: u64) -> Output {
    let value = format!("{number:03} ").into_bytes();
    let value = [value, vec![b'x'; RECORD - 7]].concat();
    let key = Some(Bytes::from(format!("{number:03}")));
    Output { topic: PROMPTS.name, key, value: Some(value.into()), headers: vec![] }
}

/// A log with so many records of one size, of which a consumer is given few at a time.
async fn log_of_equals() -> MemoryLog {
    let log = log_of(0, 4, Options { batch_max: BATCH, ..Options::calm(7) }).await;
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    committer.commit((0..COUNT).map(output).collect(), vec![]).await.expect("calm");
    log
}

/// Steps wait, and more of them may run than there are bytes for: the bytes are what stops fetching. What is on its way
/// between consumer and engine counts, too, so one batch at most comes beyond the limit, at no time more.
#[tokio::test(start_paused = true)]
async fn no_more_than_the_limit_and_one_batch_is_in_hand() {
    let log = log_of_equals().await;
    let (go_on, most) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gate, peak, seen) = (Arc::clone(&go_on), Arc::clone(&most), log.clone());
    let step = move |number| {
        let (gate, peak, log) = (Arc::clone(&gate), Arc::clone(&peak), seen.clone());
        async move {
            let in_hand = |log: &MemoryLog| log.handed_out(GROUP) - numbers(log, RECORDS.name).len() * RECORD;
            peak.fetch_max(in_hand(&log), Ordering::Relaxed);
            gate.acquire().await.expect("open").forget();
            peak.fetch_max(in_hand(&log), Ordering::Relaxed);
            Ok(text(number))
        }
    };
    let options = EngineOptions { max_bytes: MOST, ..options() };
    let life = Life::start_with(options, log.process("avr"), COUNT as usize, step);
    a_while().await;
    let in_hand = log.handed_out(GROUP);
    assert!((MOST..=MOST + BATCH * RECORD).contains(&in_hand), "{in_hand} bytes while nothing moves");
    assert_eq!(life.metric("avr_bytes_in_flight"), Some(in_hand.to_string()));

    go_on.add_permits(COUNT as usize);
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), (0..COUNT).collect::<Vec<_>>(), "and everything comes through");
    assert_eq!(life.metric("avr_bytes_in_flight").as_deref(), Some("0"));
    let most = most.load(Ordering::Relaxed);
    assert!(most <= MOST + BATCH * RECORD, "{most} bytes at some time");
    assert!(life.stop().await.0.is_ok());
}
