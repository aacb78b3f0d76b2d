//! That what should go wrong does, and in the way that a real broker does it.

use std::{collections::BTreeSet, time::Duration};

use avr::{
    log::{
        CommitError, Committer, Consumer, Event, GroupName, GroupProgress, Log, LogErrorKind, Output,
        Partition, Progress,
    },
    topic::TopicName,
};
use bytes::Bytes;

use super::{Faults, MemoryLog, Options, committer::MemoryCommitter, consumer::MemoryConsumer};

const IN: TopicName = TopicName("in");
const OUT: TopicName = TopicName("out");
const GROUP: GroupName = GroupName("group");
const PLACE: Partition = Partition { topic: IN, index: 0 };

/// Whether a fault shows as it should.
type IsExpected = fn(&CommitError) -> bool;

fn log(options: Options) -> MemoryLog {
    MemoryLog::new(&[(IN, 1), (OUT, 1)], options)
}

fn with_faults(seed: u64, faults: Faults) -> MemoryLog {
    log(Options { faults, ..Options::calm(seed) })
}

fn output(value: &'static str) -> Vec<Output> {
    let key = Some(Bytes::from_static(b"key"));
    vec![Output { topic: OUT, key, value: Some(value.into()), headers: Vec::new() }]
}

fn progress(consumer: &MemoryConsumer, offset: i64) -> Vec<GroupProgress> {
    let partitions = vec![(PLACE, Progress { offset, text: String::new() })];
    vec![GroupProgress { group: GROUP, generation: consumer.generation(), partitions }]
}

/// A process with a member that holds the one partition, and a committer.
async fn owner(log: &MemoryLog, name: &str) -> (super::MemoryProcess, MemoryConsumer, MemoryCommitter) {
    let process = log.process(name);
    let mut consumer = process.consumer(GROUP, &[IN]).await.expect("the process lives");
    let event = consumer.next().await;
    assert!(matches!(&event, Ok(Event::Assigned(assigned)) if assigned.len() == 1), "{event:?}");
    let committer = process.committer(name).await.expect("the process lives");
    (process, consumer, committer)
}

#[tokio::test(start_paused = true)]
async fn a_doubtful_commit_ends_in_each_of_four_ways() {
    let mut ways = BTreeSet::new();
    for seed in 0..40 {
        let log = with_faults(seed, Faults { doubtful: 1.0, ..Faults::NONE });
        let (_process, consumer, mut committer) = owner(&log, "process").await;
        let result = committer.commit(output("value"), progress(&consumer, 1)).await;
        assert!(matches!(result, Err(CommitError::Doubtful(_))), "{result:?}");
        let early = log.records(OUT).len();
        committer.recover().await.expect("the process lives");
        let late = log.records(OUT).len();
        assert_eq!(log.progress(GROUP, PLACE).is_some(), late == 1, "outputs and progress come together");
        assert!(early <= late);
        ways.insert((early, late));
    }
    // Written at once, written later, and not written (at once or later looks the same).
    assert_eq!(ways, BTreeSet::from([(0, 0), (0, 1), (1, 1)]));
}

#[tokio::test(start_paused = true)]
async fn an_undecided_partition_is_nobodys_until_the_transaction_times_out() {
    for seed in 0..20 {
        let log = with_faults(seed, Faults { doubtful: 1.0, ..Faults::NONE });
        let (old, consumer, mut committer) = owner(&log, "old").await;
        let doubtful = committer.commit(output("value"), progress(&consumer, 7)).await;
        assert!(matches!(doubtful, Err(CommitError::Doubtful(_))), "{doubtful:?}");
        old.kill();
        let mut heir = log.process("heir").consumer(GROUP, &[IN]).await.expect("the process lives");
        let Ok(Event::Assigned(assigned)) = heir.next().await else { panic!("the heir is assigned") };
        let written = log.progress(GROUP, PLACE).unwrap_or_default();
        assert_eq!(assigned, [(PLACE, written)], "the heir starts from what is decided");
    }
}

#[tokio::test(start_paused = true)]
async fn commits_fail_as_they_are_told_to_and_write_nothing() {
    let cases: [(Faults, IsExpected); 2] = [
        (Faults { retriable: 1.0, ..Faults::NONE }, |error| matches!(error, CommitError::Retriable(_))),
        (Faults { refused: 1.0, ..Faults::NONE }, |error| matches!(error, CommitError::Refused(_))),
    ];
    for (faults, expected) in cases {
        let log = with_faults(1, faults);
        let (_process, consumer, mut committer) = owner(&log, "process").await;
        let error = committer
            .commit(output("value"), progress(&consumer, 1))
            .await
            .expect_err("the fault is certain");
        assert!(expected(&error), "{error}");
        assert_eq!((log.records(OUT), log.progress(GROUP, PLACE)), (vec![], None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_commit_may_be_written_all_the_same() {
    let mut written = BTreeSet::new();
    for seed in 0..20 {
        let log = with_faults(seed, Faults { fenced: 1.0, ..Faults::NONE });
        let (_process, consumer, mut committer) = owner(&log, "process").await;
        let result = committer.commit(output("value"), progress(&consumer, 1)).await;
        let fenced = |error: &CommitError| matches!(error, CommitError::Fatal(error) if matches!(error.cause, LogErrorKind::Fenced));
        assert!(result.as_ref().is_err_and(fenced), "{result:?}");
        assert_eq!(log.progress(GROUP, PLACE).is_some(), log.records(OUT).len() == 1);
        written.insert(log.records(OUT).len());
    }
    assert_eq!(written, BTreeSet::from([0, 1]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_loses_everything_to_who_is_heard_of() {
    let log = log(Options::calm(1));
    let (old, mut consumer, mut committer) = owner(&log, "old").await;
    let mut other = log.process("other").consumer(GROUP, &[IN]).await.expect("the process lives");
    old.silence(GROUP);
    assert!(matches!(other.next().await, Ok(Event::Assigned(_))));
    let stale = committer.commit(output("value"), progress(&consumer, 1)).await;
    assert!(matches!(stale, Err(CommitError::Refused(_))), "{stale:?}");
    assert!(matches!(consumer.next().await, Ok(Event::Lost(lost)) if lost == [PLACE]));
    other.leave().await.expect("the process lives");
    assert!(matches!(consumer.next().await, Ok(Event::Assigned(_))), "it takes part again");
    committer.commit(output("value"), progress(&consumer, 1)).await.expect("it is the owner again");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_of_a_loss_cannot_commit_although_it_has_the_partition_again() {
    let log = log(Options::calm(1));
    let (process, mut consumer, mut committer) = owner(&log, "process").await;
    process.silence(GROUP);
    assert!(matches!(consumer.next().await, Ok(Event::Lost(_))));
    let stale = committer.commit(output("value"), progress(&consumer, 1)).await;
    assert!(matches!(stale, Err(CommitError::Refused(_))), "{stale:?}");
    assert!(matches!(consumer.next().await, Ok(Event::Assigned(_))));
    committer.commit(output("value"), progress(&consumer, 1)).await.expect("it knows of its new grant");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_released_in_time_is_lost() {
    let options = Options { session: Duration::from_secs(10), ..Options::calm(1) };
    let log = MemoryLog::new(&[(IN, 2), (OUT, 1)], options);
    let mut slow = log.process("slow").consumer(GROUP, &[IN]).await.expect("the process lives");
    assert!(matches!(slow.next().await, Ok(Event::Assigned(assigned)) if assigned.len() == 2));
    let mut other = log.process("other").consumer(GROUP, &[IN]).await.expect("the process lives");
    let Ok(Event::Revoked(revoked)) = slow.next().await else { panic!("one partition is to move") };
    let Ok(Event::Assigned(assigned)) = other.next().await else { panic!("it moves in the end") };
    assert_eq!(assigned, [(revoked[0], Progress::default())]);
    assert!(matches!(slow.next().await, Ok(Event::Lost(lost)) if lost == revoked));
    slow.release(&revoked).await.expect("too late, and harmless");
}

#[tokio::test(start_paused = true)]
async fn a_process_dies_before_or_after_what_it_does() {
    let mut written = Vec::new();
    // Becoming a committer is one step; a commit has one before it and one after it.
    for steps in 0..4 {
        let log = log(Options::calm(1));
        let process = log.process("doomed");
        process.kill_after(steps);
        if let Ok(mut committer) = process.committer("name").await {
            let result = committer.commit(output("value"), vec![]).await;
            assert_eq!(result.is_ok(), steps == 3, "{result:?}");
        }
        written.push(log.records(OUT).len());
    }
    assert_eq!(written, [0, 0, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn markers_aborts_and_compaction_leave_gaps() {
    let log = log(Options { gaps: true, ..Options::calm(3) });
    let mut committer = log.process("process").committer("name").await.expect("the process lives");
    for _ in 0..5 {
        committer.commit(output("value"), vec![]).await.expect("nothing speaks against it");
    }
    let offsets: Vec<i64> = log.records(OUT).iter().map(|record| record.offset).collect();
    assert!(offsets.windows(2).all(|pair| pair[1] >= pair[0] + 2), "{offsets:?}");
    let end = log.ends(OUT)[0].1;
    assert!(end >= offsets[4] + 2, "the last marker takes an offset, too");
    log.compact(OUT);
    assert_eq!(log.records(OUT).len(), 1, "of each key the latest stays");
    assert_eq!(log.ends(OUT)[0].1, end);
}
