//! What ends an engine and what does not, before it stands and afterwards. Time is paused.

use std::{sync::Arc, time::Duration};

use avr::{
    engine::{Appended, CheckpointScope, Engine, EngineError, Sink, SinkError, StageSpec, Stop},
    log::{Committer as _, Log as _, Output, Partition, Record},
    observe::Metrics,
    topic::{PROMPTS, RECORDS},
};
use tokio::{sync::watch, time::Instant};

use super::single_worker::{GROUP, Life, a_while, log_of, numbers, options, text};
use crate::memory_log::Options;

/// A log that gives nobody a committer has been asked for nothing yet, so there is nothing to wait for.
#[tokio::test(start_paused = true)]
async fn a_stop_is_heard_while_the_log_gives_no_committer() {
    let log = log_of(4, 1, Options::calm(1)).await;
    log.set_away(true);
    let life = Life::start_with(options(), log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    let (handle, started) = (life.handle.clone(), Arc::clone(&life.started));
    let (ended, took) = life.stop().await;
    assert!(ended.is_ok() && took < Duration::from_secs(1), "{ended:?} after {took:?}");
    assert!(!handle.started().await, "it never stood");
    log.set_away(false);
    a_while().await;
    assert!(started.lock().expect("no panic").is_empty());

    let life = Life::start_with(options(), log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), [0, 1, 2, 3]);
    assert!(life.stop().await.0.is_ok());
}

/// One that waits for the log goes on by itself once the log is back.
#[tokio::test(start_paused = true)]
async fn an_engine_waits_for_a_log_that_is_away() {
    let log = log_of(4, 1, Options::calm(1)).await;
    log.set_away(true);
    let life = Life::start_with(options(), log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    log.set_away(false);
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), [0, 1, 2, 3]);
    assert!(life.stop().await.0.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_engine_outlives_its_handles_and_ends_with_its_stop() {
    let log = log_of(4, 1, Options::calm(1)).await;
    let life = Life::start_with(options(), log.process("avr"), 4, |n| async move { Ok(text(n)) });
    a_while().await;
    let Life { handle, stop, task, .. } = life;
    drop(handle);
    a_while().await;
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    let late = Output { topic: PROMPTS.name, key: None, value: Some(text(4)), headers: vec![] };
    committer.commit(vec![late], vec![]).await.expect("calm");
    a_while().await;
    assert_eq!(numbers(&log, RECORDS.name), [0, 1, 2, 3, 4], "without a handle it goes on");
    assert!(!task.is_finished());
    // Nobody can say anything more: the same as the word to stop.
    drop(stop);
    let from = Instant::now();
    task.await.expect("no panic").expect("nothing was left");
    assert!(from.elapsed() < Duration::from_secs(1));
}

/// A sink whose files are not where its checkpoint says.
struct Lost;

impl Sink for Lost {
    fn blocks(&self) -> bool {
        false
    }

    fn restore(&mut self, _: Partition, _: &str) -> Result<(), SinkError> {
        Err("the files are gone".into())
    }

    fn append(&mut self, _: &[Arc<Record>]) -> Result<Appended, SinkError> {
        Ok(Appended::default())
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn roll_back(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_restored_end_the_engine_and_are_no_failed_commit() {
    let log = log_of(4, 1, Options::calm(1)).await;
    let sink = StageSpec::sink(GROUP.0, vec![PROMPTS.name], 4, CheckpointScope::WholeSink);
    let metrics = Metrics::new();
    let (engine, _handle) =
        Engine::new(log.process("avr"), vec![sink], Some(Box::new(Lost)), options(), metrics.clone());
    let (_stop, stopped) = watch::channel(Stop::Run);
    let ended = engine.run(stopped).await;
    assert!(
        matches!(&ended, Err(EngineError::Sink(error)) if error.to_string().contains("gone")),
        "{ended:?}"
    );
    let text = metrics.encode();
    assert!(!text.contains("avr_commits_total{result=\"failed\"}"), "{text}");
}
