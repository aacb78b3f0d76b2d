//! What a looker-on sees of a log with markers, gaps and steps that finished out of order.

use std::{collections::BTreeMap, time::Duration};

use avr::{
    clock::now_ms,
    command::status::Looks,
    dataflow::STAGES,
    engine::{Completed, progress_text},
    log::{Committer as _, Consumer as _, Event, GroupName, GroupProgress, Log as _, Output, Partition},
    record::WorkerStatus,
    terminal::{Picture, Report as _, WorkerState},
    topic::{DEAD_LETTERS, DRAFTED, HANDLED, PROMPTS, TopicName, WORKERS},
};
use bytes::Bytes;

use crate::memory_log::{MemoryLog, MemoryProcess, Options};

fn log() -> MemoryLog {
    let of_stages = STAGES.iter().flat_map(|stage| stage.reads.iter().map(|topic| (*topic, 2)));
    let topics: Vec<_> = of_stages.chain([(WORKERS.name, 1)]).collect();
    MemoryLog::new(&topics, Options { gaps: true, ..Options::calm(3) })
}

fn output(topic: TopicName, key: &str, value: impl Into<Bytes>) -> Output {
    Output { topic, key: Some(Bytes::from(key.to_owned())), value: Some(value.into()), headers: vec![] }
}

/// A commit each, so that markers lie between the records and behind the last.
async fn write(log: &MemoryLog, outputs: Vec<Output>) {
    let mut committer = log.process("writer").committer("writer").await.expect("calm");
    for output in outputs {
        committer.commit(vec![output], vec![]).await.expect("calm");
    }
}

/// Commits that a stage has done these records, and writes outputs with it.
async fn done(
    process: &MemoryProcess,
    stage: &'static str,
    topic: TopicName,
    offsets: &[(Partition, i64)],
    outputs: Vec<Output>,
) {
    let group = GroupName(stage);
    let mut consumer = process.consumer(group, &[topic]).await.expect("calm");
    let mut progress = BTreeMap::new();
    while progress.len() < 2 {
        if let Ok(Event::Assigned(assigned)) = consumer.next().await {
            progress.extend(assigned.into_iter().map(|(partition, progress)| {
                (partition, progress_text::decode(&progress).expect("ours").completed)
            }));
        }
    }
    for (partition, offset) in offsets {
        progress.get_mut(partition).expect("assigned").insert(*offset);
    }
    let encoded =
        |(partition, completed): (Partition, Completed)| (partition, progress_text::encode(&completed, ""));
    let partitions = progress.into_iter().map(encoded).collect();
    let progress = vec![GroupProgress { group, generation: consumer.generation(), partitions }];
    let mut committer = process.committer(stage).await.expect("calm");
    committer.commit(outputs, progress).await.expect("it is the owner");
    consumer.leave().await.expect("calm");
}

async fn look(log: &MemoryLog, enough: impl FnMut(&Picture) -> bool) -> Picture {
    let (interval, silent_after) = (Duration::from_secs(3), Duration::from_secs(15));
    let looks = Looks { log: log.process("looker"), interval, silent_after };
    looks.until(enough).await.expect("calm")
}

#[tokio::test(start_paused = true)]
async fn markers_are_not_left_and_records_are() {
    let log = log();
    assert!(look(&log, |_| true).await.nothing_left, "an empty log");
    write(&log, (0..8).map(|n| output(PROMPTS.name, &n.to_string(), "{}")).collect()).await;
    let picture = look(&log, |_| true).await;
    assert_eq!(
        (picture.stages[0].left, picture.stages[0].left_is_exact, picture.nothing_left),
        (8, true, false)
    );
    assert!(picture.stages[0].oldest_seconds.is_some() && picture.stages[1].oldest_seconds.is_none());

    let offsets: Vec<_> =
        log.records(PROMPTS.name).iter().map(|record| (record.partition, record.offset)).collect();
    let ends: i64 = log.ends(PROMPTS.name).iter().map(|(_, end)| end).sum();
    assert!(ends > 8, "markers take offsets");
    let worker = log.process("worker");
    let every_second: Vec<_> = offsets.iter().copied().step_by(2).collect();
    done(&worker, "draft", PROMPTS.name, &every_second, vec![]).await;
    assert_eq!(look(&log, |_| true).await.stages[0].left, 4, "what is done beyond the first that is left");

    done(&worker, "draft", PROMPTS.name, &offsets, vec![]).await;
    let picture = look(&log, |_| true).await;
    assert_eq!(picture.stages[0].left, 0);
    assert!(picture.nothing_left, "although markers lie behind the last record");
}

/// A thread in the loop is in one topic after the other. Wherever it is while each is looked at, the picture never says
/// that nothing is left before it has come out.
#[tokio::test(start_paused = true)]
async fn a_thread_that_goes_round_is_never_overlooked() {
    let log = log();
    write(&log, vec![output(DRAFTED.name, "t", "{}")]).await;
    let mover = log.process("mover");
    let going_round = async {
        let mut at = DRAFTED.name;
        let way = [("critique", "critiqued"), ("improve", "improved"), ("score", "drafted")];
        for (stage, to) in way.iter().cycle().take(30) {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let records = log.records(at);
            let offsets: Vec<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
            let next =
                STAGES.iter().flat_map(|stage| stage.reads).find(|topic| topic.0 == *to).expect("a topic");
            done(&mover, stage, at, &offsets, vec![output(*next, "t", "{}")]).await;
            at = *next;
        }
        let offsets: Vec<_> =
            log.records(at).iter().map(|record| (record.partition, record.offset)).collect();
        tokio::time::sleep(Duration::from_millis(700)).await;
        done(&mover, "critique", at, &offsets, vec![]).await;
    };
    let mut finished = false;
    tokio::select! {
        biased;
        () = async { going_round.await; finished = true; std::future::pending::<()>().await } => {}
        picture = look(&log, |picture| picture.nothing_left) => assert!(picture.nothing_left),
    }
    assert!(finished, "it said so while the thread was on its way");
}

#[tokio::test(start_paused = true)]
async fn workers_that_fell_silent_and_letters_that_were_handled_are_told_apart() {
    let log = log();
    let status = |worker: &str, ago_ms: i64, stopping| {
        let at_ms = now_ms() - ago_ms;
        let status =
            WorkerStatus { worker: worker.into(), at_ms, stages: vec![], stopping, version: "1".into() };
        output(WORKERS.name, worker, serde_json::to_vec(&status).expect("JSON"))
    };
    let told = [("a", 60_000, false), ("a", 0, false), ("b", 60_000, false), ("c", 0, true)];
    write(&log, told.map(|(worker, ago_ms, stopping)| status(worker, ago_ms, stopping)).into()).await;
    write(&log, (0..3).map(|n| output(DEAD_LETTERS, &n.to_string(), "x")).collect()).await;
    let letter = &log.records(DEAD_LETTERS)[0];
    let id = format!("{}-{}", letter.partition.index, letter.offset);
    write(&log, vec![output(HANDLED.name, &id, "{}")]).await;

    let picture = look(&log, |_| true).await;
    let states: Vec<_> = picture.workers.iter().map(|worker| (worker.name.as_str(), worker.state)).collect();
    use WorkerState::{Alive, Silent, Stopping};
    assert_eq!(states, [("a", Alive), ("b", Silent), ("c", Stopping)]);
    assert_eq!((picture.dead_letters, picture.dead_letters_are_exact), (2, true));
    assert_eq!(picture.stages[5].left, 4, "the exporter has yet to see them, and what was done with one");
    let json: serde_json::Value = serde_json::from_str(&picture.json()).expect("JSON");
    assert_eq!(json["workers"][1]["state"], "silent");
}

#[tokio::test(start_paused = true)]
async fn a_topic_made_anew_may_have_fewer_letters_than_were_handled() {
    const MANY: usize = 20_001;
    let log = log();
    write(&log, (0..MANY).map(|n| output(DEAD_LETTERS, &n.to_string(), "x")).collect()).await;
    write(&log, (0..5 * MANY).map(|n| output(HANDLED.name, &format!("7-{n}"), "{}")).collect()).await;
    let picture = look(&log, |_| true).await;
    assert_eq!((picture.dead_letters, picture.dead_letters_are_exact), (0, false));
}
