//! What is particular to the embedded log: opening again, growing, deleting, one process, fencing between handles.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;

use super::*;
use crate::log::{CommitError, Committer, Consumer, Event, Generation, GroupProgress, Output, Progress};

/// Knows everything that was announced to any member.
const NOW: Generation = Generation(u64::MAX);

const KEPT: TopicName = TopicName("kept");
const PASSING: TopicName = TopicName("passing");
const GROUP: GroupName = GroupName("readers");
const LATER: GroupName = GroupName("latecomers");

fn specs(partitions: u32) -> [TopicSpec; 2] {
    [
        TopicSpec { name: KEPT, partitions, retention: Retention::Forever },
        TopicSpec { name: PASSING, partitions, retention: Retention::Consumed },
    ]
}

fn at_intervals() -> Options {
    Options { durability: Durability::Interval(Duration::from_secs(3600)), ..Options::default() }
}

fn open_with(folder: &Path, partitions: u32, options: Options) -> Result<EmbeddedLog, LogError> {
    EmbeddedLog::open(folder, &specs(partitions), options)
}

fn open(folder: &Path) -> EmbeddedLog {
    open_with(folder, 1, at_intervals()).unwrap()
}

fn output(topic: TopicName, text: &str) -> Output {
    let value = Some(Bytes::copy_from_slice(text.as_bytes()));
    Output { topic, key: None, value, headers: vec![] }
}

fn zero(topic: TopicName) -> Partition {
    Partition { topic, index: 0 }
}

fn progress(group: GroupName, partition: Partition, offset: i64) -> Vec<GroupProgress> {
    let progress = Progress { offset, text: format!("done {offset}") };
    vec![GroupProgress { group, generation: NOW, partitions: vec![(partition, progress)] }]
}

async fn write(log: &EmbeddedLog, topic: TopicName, texts: &[&str]) {
    let outputs = texts.iter().map(|text| output(topic, text)).collect();
    log.committer("writer").await.unwrap().commit(outputs, vec![]).await.unwrap();
}

fn text_of(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
}

async fn contents(log: &EmbeddedLog, topic: TopicName) -> Vec<(i32, i64, String)> {
    let mut found = Vec::new();
    log.scan(topic, &mut |record| found.push((record.partition.index, record.offset, text_of(&record))))
        .await
        .unwrap();
    found
}

async fn ends(log: &EmbeddedLog, topic: TopicName) -> Vec<i64> {
    log.ends(topic).await.unwrap().into_iter().map(|(_, end)| end).collect()
}

async fn assigned(consumer: &mut EmbeddedConsumer) -> BTreeMap<Partition, Progress> {
    match consumer.next().await.unwrap() {
        Event::Assigned(partitions) => partitions.into_iter().collect(),
        other => panic!("an assignment was due, not {other:?}"),
    }
}

async fn revoked(consumer: &mut EmbeddedConsumer) -> Vec<Partition> {
    match consumer.next().await.unwrap() {
        Event::Revoked(partitions) => partitions,
        other => panic!("a revocation was due, not {other:?}"),
    }
}

async fn records(consumer: &mut EmbeddedConsumer, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    while all.len() < count {
        match consumer.next().await.unwrap() {
            Event::Records(records) => all.extend(records),
            other => panic!("records were due, not {other:?}"),
        }
    }
    all
}

/// Nothing is due. One poll is enough to know: what is due is there without any waiting, unless the disk is read.
async fn is_quiet(consumer: &mut EmbeddedConsumer) -> bool {
    tokio::select! {
        biased;
        _ = consumer.next() => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    for options in [Options::default(), at_intervals()] {
        let folder = tempfile::tempdir().unwrap();
        let log = open_with(folder.path(), 1, options).unwrap();
        let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
        assigned(&mut consumer).await;
        let mut committer = log.committer("writer").await.unwrap();
        let outputs = vec![output(KEPT, "one"), output(KEPT, "two")];
        committer.commit(outputs, progress(GROUP, zero(KEPT), 1)).await.unwrap();
        drop((log, consumer, committer));

        let log = open_with(folder.path(), 1, options).unwrap();
        assert_eq!(contents(&log, KEPT).await, [(0, 0, "one".to_owned()), (0, 1, "two".to_owned())]);
        let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
        let expected = Progress { offset: 1, text: "done 1".to_owned() };
        assert_eq!(assigned(&mut consumer).await, BTreeMap::from([(zero(KEPT), expected)]));
        let read = records(&mut consumer, 1).await;
        assert_eq!((read.len(), text_of(&read[0]).as_str(), read[0].offset), (1, "two", 1), "read from disk");
    }
}

#[tokio::test]
async fn nobody_sees_progress_that_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut consumer).await;
    let (shared, epoch) = (&log.running.shared, log.running.shared.next_id());
    shared.state().committers.insert("writer".to_owned(), epoch);
    let commit = writer::Commit {
        identity: Identity { name: "writer".into(), epoch, process: log.process },
        outputs: vec![],
        progress: progress(GROUP, zero(KEPT), 3),
        reply: tokio::sync::oneshot::channel().0,
    };
    let plan = writer::admit(&mut shared.state(), vec![commit]);
    assert_eq!(log.progress(GROUP, vec![zero(KEPT)]).await.unwrap(), [None]);
    writer::write(shared, plan);
    let written = Progress { offset: 3, text: "done 3".to_owned() };
    assert_eq!(log.progress(GROUP, vec![zero(KEPT)]).await.unwrap(), [Some(written)]);
}

#[tokio::test]
async fn what_a_commit_returned_survives_the_death_of_the_process() {
    for options in [Options::default(), at_intervals()] {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let log = open_with(folder.path(), 1, options).unwrap();
        write(&log, KEPT, &["a", "b"]).await;
        // What the kernel has of an open log is all that is left of one whose process was killed.
        copy_folder(folder.path(), copy.path());
        write(&log, KEPT, &["c"]).await;
        let dead = open_with(copy.path(), 1, options).unwrap();
        assert_eq!(contents(&dead, KEPT).await, [(0, 0, "a".to_owned()), (0, 1, "b".to_owned())]);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let refused = open_with(folder.path(), 1, at_intervals()).err().map(|error| error.cause);
    assert!(matches!(refused, Some(LogErrorKind::Locked)));
    let committer = log.committer("writer").await.unwrap();
    drop(log);
    assert!(open_with(folder.path(), 1, at_intervals()).is_err(), "a committer keeps it open");
    drop(committer);
    open(folder.path());
}

#[tokio::test]
async fn a_torn_end_of_the_journal_costs_whole_commits_only() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    for pair in [["a", "b"], ["c", "d"], ["e", "f"]] {
        write(&log, KEPT, &pair).await;
    }
    drop(log);
    let journal = journals(&folder.path().join("data")).pop().expect("there is a journal");
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    let written = used_bytes(&fs::read(&journal).unwrap());
    file.set_len(written - 3).unwrap();

    let log = open(folder.path());
    let texts: Vec<_> = contents(&log, KEPT).await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["a", "b", "c", "d"]);
    write(&log, KEPT, &["g"]).await;
    assert_eq!(ends(&log, KEPT).await, [5]);
}

/// The journal may be allocated ahead: what is used ends at the last byte that is not zero.
fn used_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

fn journals(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl")).collect()
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(write(&open_with(folder.path(), 2, at_intervals()).unwrap(), KEPT, &["a", "b", "c"]));
    let log = open_with(folder.path(), 3, at_intervals()).unwrap();
    assert_eq!(runtime.block_on(ends(&log, KEPT)), [2, 1, 0]);
    drop(log);
    let error = open_with(folder.path(), 2, at_intervals()).err().unwrap();
    assert!(error.to_string().contains("topic kept has 3 partitions, not 2"), "{error}");
}

#[tokio::test]
async fn equal_keys_share_a_partition_and_no_key_takes_turns() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with(folder.path(), 4, at_intervals()).unwrap();
    write(&log, PASSING, &["a", "b", "c", "d"]).await;
    assert_eq!(ends(&log, PASSING).await, [1, 1, 1, 1]);
    let keyed = Output { key: Some(Bytes::from_static(b"key")), ..output(KEPT, "x") };
    log.committer("writer").await.unwrap().commit(vec![keyed; 5], vec![]).await.unwrap();
    assert_eq!(ends(&log, KEPT).await.into_iter().max(), Some(5));
}

#[tokio::test]
async fn consumed_records_go_and_their_offsets_are_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    write(&log, PASSING, &["a", "b", "c"]).await;
    let mut consumer = log.consumer(GROUP, &[PASSING]).await.unwrap();
    assigned(&mut consumer).await;
    let mut committer = log.committer("writer").await.unwrap();
    committer.commit(vec![], progress(GROUP, zero(PASSING), 2)).await.unwrap();
    assert_eq!(contents(&log, PASSING).await, [(0, 2, "c".to_owned())]);
    committer.commit(vec![], progress(GROUP, zero(PASSING), 3)).await.unwrap();
    drop((consumer, committer, log));

    let log = open(folder.path());
    assert_eq!((contents(&log, PASSING).await, ends(&log, PASSING).await), (vec![], vec![3]));
    write(&log, PASSING, &["d"]).await;
    let mut late = log.consumer(LATER, &[PASSING]).await.unwrap();
    assigned(&mut late).await;
    let read = records(&mut late, 1).await;
    assert_eq!((text_of(&read[0]).as_str(), read[0].offset), ("d", 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_space_of_consumed_records_is_freed() {
    const RECORD_BYTES: usize = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { memtable_bytes: 1 << 20, tail_bytes: 1 << 20, ..Options::default() };
    let log = open_with(folder.path(), 1, options).unwrap();
    let mut consumer = log.consumer(GROUP, &[PASSING]).await.unwrap();
    assigned(&mut consumer).await;
    let mut committer = log.committer("writer").await.unwrap();
    let payload = "x".repeat(RECORD_BYTES);
    for offset in 1..=256 {
        committer
            .commit(vec![output(PASSING, &payload)], progress(GROUP, zero(PASSING), offset))
            .await
            .unwrap();
    }
    let store = &log.running.shared.store;
    tokio::task::block_in_place(|| store.settle_for_tests());
    assert!(store.records_on_disk() < 32, "{} records are left", store.records_on_disk());
    drop((consumer, committer, log));
    assert_eq!(ends(&open(folder.path()), PASSING).await, [256]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn records_consumed_at_once_never_reach_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut consumer = log.consumer(GROUP, &[PASSING]).await.unwrap();
    assigned(&mut consumer).await;
    let mut committer = log.committer("writer").await.unwrap();
    for offset in 1..=20 {
        committer
            .commit(vec![output(PASSING, &"x".repeat(9999))], progress(GROUP, zero(PASSING), offset))
            .await
            .unwrap();
    }
    let store = &log.running.shared.store;
    tokio::task::block_in_place(|| store.flush_for_tests());
    assert!(store.table_bytes() < 50_000, "{} bytes are in tables", store.table_bytes());
}

#[tokio::test]
async fn a_broken_log_tells_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut consumer).await;
    let mut committer = log.committer("writer").await.unwrap();
    log.running.shared.state().break_down(&io::Error::other("no space left").into());
    let error = committer.commit(vec![output(KEPT, "a")], vec![]).await.err().unwrap();
    assert!(
        matches!(&error, CommitError::Fatal(fatal) if fatal.to_string().contains("no space left")),
        "{error}"
    );
    assert!(consumer.next().await.is_err() && committer.recover().await.is_err());
}

#[tokio::test]
async fn a_later_committer_of_the_name_fences_the_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut first = log.committer("same").await.unwrap();
    let mut other = log.committer("other").await.unwrap();
    let mut second = log.another_process().committer("same").await.unwrap();
    let fenced = first.commit(vec![output(KEPT, "a")], vec![]).await;
    assert!(matches!(fenced, Err(CommitError::Fatal(LogError { cause: LogErrorKind::Fenced, .. }))));
    assert!(matches!(first.recover().await, Err(LogError { cause: LogErrorKind::Fenced, .. })));
    second.recover().await.unwrap();
    second.commit(vec![output(KEPT, "b")], vec![]).await.unwrap();
    other.commit(vec![output(KEPT, "c")], vec![]).await.unwrap();
    assert_eq!(contents(&log, KEPT).await.len(), 2);
}

#[tokio::test]
async fn progress_counts_only_of_partitions_that_the_process_has() {
    let folder = tempfile::tempdir().unwrap();
    let here = open_with(folder.path(), 2, at_intervals()).unwrap();
    let there = here.another_process();
    let (mut committer, mut stranger) =
        (here.committer("here").await.unwrap(), there.committer("there").await.unwrap());
    let mut old = here.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut old).await;
    let mut new = there.consumer(GROUP, &[KEPT]).await.unwrap();
    let moving = revoked(&mut old).await;
    assert_eq!(moving.len(), 1);
    assert!(is_quiet(&mut new).await, "what is not released is not assigned");
    let of = |offset| progress(GROUP, moving[0], offset);
    assert!(
        matches!(stranger.commit(vec![], of(7)).await, Err(CommitError::Refused(groups)) if groups == [GROUP])
    );
    committer.commit(vec![], of(1)).await.unwrap();
    old.release(&moving).await.unwrap();
    assert!(matches!(committer.commit(vec![output(KEPT, "x")], of(2)).await, Err(CommitError::Refused(_))));
    assert_eq!(ends(&here, KEPT).await, [0, 0], "a refused commit writes nothing");
    assert_eq!(assigned(&mut new).await[&moving[0]].offset, 1);
    stranger.commit(vec![], of(3)).await.unwrap();
    drop(new);
    assert_eq!(assigned(&mut old).await[&moving[0]].offset, 3);
    let read = committer.progress(GROUP, vec![moving[0], zero(PASSING)]).await.unwrap();
    assert_eq!(read, [Some(Progress { offset: 3, text: "done 3".to_owned() }), None]);
}

#[tokio::test]
async fn a_paused_partition_waits_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut consumer = log.consumer(GROUP, &[KEPT, PASSING]).await.unwrap();
    assert_eq!(assigned(&mut consumer).await.len(), 2);
    consumer.pause(&[zero(KEPT)]).unwrap();
    write(&log, KEPT, &["a", "b"]).await;
    assert!(is_quiet(&mut consumer).await);
    write(&log, PASSING, &["c"]).await;
    assert_eq!(text_of(&records(&mut consumer, 1).await[0]), "c");
    consumer.resume(&[zero(KEPT)]).unwrap();
    let texts: Vec<_> = records(&mut consumer, 2).await.iter().map(text_of).collect();
    assert_eq!(texts, ["a", "b"]);
}

#[tokio::test]
async fn a_reader_that_fell_behind_reads_everything_once_in_order() {
    const COUNT: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_bytes: 2000, batch_records: 7, batch_bytes: 300, ..at_intervals() };
    let log = open_with(folder.path(), 3, options).unwrap();
    let texts: Vec<_> = (0..COUNT).map(|number| format!("record {number}")).collect();
    write(&log, KEPT, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut consumer).await;
    let mut next = BTreeMap::new();
    for record in records(&mut consumer, COUNT).await {
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *expected);
        *expected += 1;
    }
    assert_eq!(next.values().sum::<i64>(), 500);
    assert!(is_quiet(&mut consumer).await);
}

#[tokio::test]
async fn a_wait_that_is_cancelled_loses_nothing() {
    const COUNT: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let options = Options { tail_bytes: 100, batch_records: 3, ..at_intervals() };
    let log = open_with(folder.path(), 2, options).unwrap();
    write(&log, KEPT, &["x"; COUNT]).await;
    let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut consumer).await;
    let mut offsets = BTreeMap::<_, Vec<_>>::new();
    while offsets.values().map(Vec::len).sum::<usize>() < COUNT {
        tokio::select! {
            biased;
            event = consumer.next() => {
                let Event::Records(records) = event.unwrap() else { panic!("records were due") };
                records.iter().for_each(|record| offsets.entry(record.partition).or_default().push(record.offset));
            }
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(offsets.into_values().all(|offsets| offsets == (0..30).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_meet_are_each_whole() {
    const EACH: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut writers = tokio::task::JoinSet::new();
    for name in ["a", "b", "c"] {
        let mut committer = log.committer(name).await.unwrap();
        writers.spawn(async move {
            for _ in 0..EACH {
                committer.commit(vec![output(KEPT, name), output(KEPT, name)], vec![]).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let texts: Vec<_> = contents(&log, KEPT).await.into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts.len(), 3 * 2 * EACH);
    assert!(texts.chunks(2).all(|pair| pair[0] == pair[1]), "a commit's records stay together");
}

#[tokio::test]
async fn a_batch_is_bounded_and_fair() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { batch_records: 8, ..at_intervals() };
    let log = open_with(folder.path(), 2, options).unwrap();
    let mut consumer = log.consumer(GROUP, &[KEPT]).await.unwrap();
    assigned(&mut consumer).await;
    write(&log, KEPT, &["x"; 40]).await;
    let Event::Records(batch) = consumer.next().await.unwrap() else { panic!("records were due") };
    let of = |index| batch.iter().filter(|record| record.partition.index == index).count();
    assert_eq!([of(0), of(1)], [4, 4]);
}

#[tokio::test]
async fn what_the_log_cannot_take_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with(folder.path(), 1, Options { max_record_bytes: 10, ..at_intervals() }).unwrap();
    let mut committer = log.committer("writer").await.unwrap();
    for (output, told) in [
        (output(KEPT, "eleven byte"), "raise max_record_bytes"),
        (output(TopicName("other"), ""), "no topic other"),
    ] {
        let error = committer.commit(vec![output], vec![]).await.err().unwrap().to_string();
        assert!(error.contains(told), "{error}");
    }
    assert!(log.consumer(GROUP, &[TopicName("other")]).await.is_err());
    let none = [TopicSpec { name: KEPT, partitions: 0, retention: Retention::Forever }];
    let error = EmbeddedLog::open(folder.path(), &none, at_intervals()).err().unwrap().to_string();
    assert!(error.contains("1 or more"), "{error}");
}
