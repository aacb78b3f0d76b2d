//! One life of a process: two stages, a sink, and where it is the only process one who submits the input.

use std::time::Duration;

use avr::{
    dead_letter::DeadLetterCause,
    engine::{
        BatchPolicy, CheckpointScope, Engine, EngineError, EngineOptions, Handle, Sink, Stage, StageSpec,
        StepError, Stop, SubmitError,
    },
    log::{GroupName, Log as _, Output, Record},
    observe::Metrics,
    topic::{DEAD_LETTERS, DRAFTED, PROMPTS, RECORDS, TopicName},
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{
    broken::Faulty,
    shards::Shards,
    world::{Lines, World, batches},
};
use crate::memory_log::MemoryProcess;

/// Hands a record on after a while. The second cannot handle poison.
struct Pass<const SECOND: bool> {
    world: World,
    parts: Parts,
}

impl<const SECOND: bool> Pass<SECOND> {
    const TO: TopicName = if SECOND { RECORDS.name } else { DRAFTED.name };

    async fn pass(&self, record: &Record) -> Result<Vec<Output>, StepError> {
        if self.parts == Parts::All {
            self.world.note_if_redone(GroupName(if SECOND { "second" } else { "first" }), record);
        }
        let wait = self.world.draw(0..40);
        tokio::time::sleep(Duration::from_millis(wait * wait)).await;
        let value = record.value.clone().unwrap_or_default();
        if SECOND && value.ends_with(b"0") {
            return Err(StepError::DeadLetter(DeadLetterCause::new("poison", "it ends in 0")));
        }
        Ok(vec![Output { topic: Self::TO, key: record.key.clone(), value: Some(value), headers: vec![] }])
    }
}

impl<const SECOND: bool> Stage for Pass<SECOND> {
    fn process<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Vec<Output>, StepError>> {
        Box::pin(self.pass(record))
    }
}

/// Which parts a process has.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Parts {
    /// Both stages, the sink with one checkpoint, and the input: the only process.
    All,
    /// Both stages, and a sink with a checkpoint for each partition; others have them too.
    Shared,
}

/// Lives until it is stopped, fails or dies.
pub(super) async fn live(world: World, process: MemoryProcess, parts: Parts, stop: watch::Receiver<Stop>) {
    let log = Faulty { process: process.clone(), fault: world.fault };
    let stages = stages(&world, parts);
    let sink: Box<dyn Sink> = match parts {
        Parts::All => Box::new(Lines::of(&world)),
        Parts::Shared => Box::new(Shards::of(&world)),
    };
    let (engine, handle) =
        Engine::new(log.clone(), stages, Some(sink), options(&world, parts), Metrics::new());
    let submitting = async {
        if parts == Parts::All {
            submit_input(&log, &handle).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        ended = engine.run(stop) => assert_may_end_so(&ended),
        () = process.killed() => {}
        () = submitting => {}
    }
    process.kill();
}

fn stages(world: &World, parts: Parts) -> Vec<StageSpec> {
    let policy = BatchPolicy { bytes: 8, linger: Duration::from_millis(world.draw(1..4000)) };
    let scope = match parts {
        Parts::All => CheckpointScope::WholeSink,
        Parts::Shared => CheckpointScope::EachPartition(policy),
    };
    vec![
        StageSpec::steps("first", PROMPTS.name, Pass::<false> { world: world.clone(), parts }, 4),
        StageSpec::steps("second", DRAFTED.name, Pass::<true> { world: world.clone(), parts }, 3),
        StageSpec::sink("export", vec![RECORDS.name, DEAD_LETTERS], 5, scope),
    ]
}

fn options(world: &World, parts: Parts) -> EngineOptions {
    let committer = match parts {
        Parts::All => "the one".to_owned(),
        Parts::Shared => format!("committer-{}", world.draw(0..1_000_000_000)),
    };
    EngineOptions {
        committer,
        max_bytes: 24,
        revoke_grace: Duration::from_secs(1),
        drain_grace: Duration::from_secs(5),
        ..EngineOptions::default()
    }
}

/// An engine ends when it is told to, even if its last results were lost with their partitions, or when its log is
/// gone; any other end is a fault of its own.
fn assert_may_end_so(ended: &Result<(), EngineError>) {
    let may_be = matches!(ended, Ok(()) | Err(EngineError::Log(_) | EngineError::NotTaken { .. }));
    assert!(may_be, "{ended:?}");
}

/// Submits what the log lacks, as the intake does: after a doubtful answer it reads what is there.
async fn submit_input(log: &Faulty, handle: &Handle) {
    if !handle.started().await {
        return;
    }
    for batch in batches() {
        loop {
            let Ok(there) = is_there(log, &batch).await else { return };
            if there {
                break;
            }
            match handle.submit(batch.clone()).await {
                Ok(()) => break,
                Err(SubmitError::Doubtful) => {}
                Err(SubmitError::Stopped) => return,
            }
        }
    }
}

/// A batch is written whole or not at all: its first record tells.
async fn is_there(log: &Faulty, batch: &[Output]) -> Result<bool, avr::log::LogError> {
    let mut there = false;
    let mut visit = |record: Record| there |= record.key == batch[0].key;
    log.scan(PROMPTS.name, &mut visit).await?;
    Ok(there)
}
