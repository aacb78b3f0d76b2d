//! Commits: all or nothing, one committer of a name.

use std::collections::BTreeMap;

use avr::log::{CommitError, Committer, Log, LogError, LogErrorKind, Output, Partition};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    GROUP, LogUnderTest, MORE, OTHER_GROUP, PATIENCE, SINGLE, WORK, commit, output, reader::Reader, scan,
    text, texts, up_to, write,
};

pub(crate) async fn outputs_and_progress_come_together<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    write(&log, vec![output(SINGLE, "k", "in"), output(MORE, "k", "in")]).await;
    let mut single = Reader::join(&log, GROUP, &[SINGLE]).await;
    let mut more = Reader::join(&log, OTHER_GROUP, &[MORE]).await;
    single.until_read(1).await;
    more.until_held(3).await;
    more.until_read(1).await;

    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let (here, there) = (single.records[0].partition, more.records[0].partition);
    let (here_to, there_to) = (up_to(single.records[0].offset + 1), up_to(more.records[0].offset + 1));
    let mut progress = single.progress(vec![(here, here_to.clone())]);
    progress.extend(more.progress(vec![(there, there_to.clone())]));
    let outputs = vec![output(WORK, "a", "first"), output(SINGLE, "k", "second"), output(WORK, "a", "third")];
    commit(&mut committer, outputs, progress).await;

    assert_eq!(texts(&scan(&log, WORK).await), ["first", "third"]);
    assert_eq!(texts(&scan(&log, SINGLE).await), ["in", "second"]);
    let read = committer.progress(GROUP, vec![here]).await.expect("progress can be read");
    assert_eq!(read, [Some(here_to)]);
    let read = committer.progress(OTHER_GROUP, vec![there]).await.expect("progress can be read");
    assert_eq!(read, [Some(there_to)]);
}

/// One who looks on while commits are made, each of one output more: at no time does progress stand there whose outputs
/// do not.
pub(crate) async fn whoever_sees_progress_sees_its_outputs<T: LogUnderTest>() {
    const COUNT: i64 = 30;
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_held(1).await;
    let only = Partition { topic: SINGLE, index: 0 };
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let committing = async {
        for done in 1..=COUNT {
            let progress = reader.progress(vec![(only, up_to(done))]);
            commit(&mut committer, vec![output(WORK, "k", done.to_string())], progress).await;
        }
    };
    let observer = under_test.process().await;
    let observing = async {
        let mut seen = 0;
        while seen < COUNT {
            let progress = observer.progress(GROUP, vec![only]).await.expect("anybody can look on");
            seen = progress[0].as_ref().map_or(0, |progress| progress.offset);
            let outputs = scan(&observer, WORK).await.len() as i64;
            assert!(outputs >= seen, "progress of {seen} commits beside the outputs of {outputs}");
            tokio::task::yield_now().await;
        }
    };
    let both = async { tokio::join!(committing, observing) };
    tokio::time::timeout(PATIENCE, both).await.expect("commits are seen in time");
}

/// A record of exactly so many bytes, key and header included.
fn of_size(size: usize) -> Output {
    let mut output = output(SINGLE, "key", "");
    let header = avr::log::Header { name: "name".to_owned(), value: Some(Bytes::from_static(b"value")) };
    output.headers.push(header);
    output.value = Some(Bytes::from(vec![b'x'; size - output.size()]));
    output
}

pub(crate) async fn the_largest_record_passes_and_a_larger_one_writes_nothing<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let limit = log.max_record_bytes();
    write(&log, vec![of_size(limit)]).await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_read(1).await;
    assert_eq!(reader.records[0].size(), limit);

    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let place = reader.records[0].partition;
    let progress = reader.progress(vec![(place, up_to(reader.records[0].offset + 1))]);
    let outputs = vec![output(WORK, "k", "unseen"), of_size(limit + 1)];
    let result = committer.commit(outputs, progress).await;
    assert!(matches!(result, Err(CommitError::Fatal(_))), "{result:?}");
    assert_eq!(scan(&log, WORK).await, []);
    assert_eq!(scan(&log, SINGLE).await.len(), 1);
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    assert_eq!(committer.progress(GROUP, vec![place]).await.expect("progress can be read"), [None]);
}

pub(crate) async fn a_namesake_fences<T: LogUnderTest>() {
    let under_test = T::start().await;
    let (first, second) = (under_test.process().await, under_test.process().await);
    let mut old = first.committer("suite").await.expect("a committer is to be had");
    let mut other = first.committer("suite-other").await.expect("a committer is to be had");
    commit(&mut old, vec![output(SINGLE, "k", "old")], vec![]).await;

    let mut new = second.committer("suite").await.expect("a committer is to be had");
    let result = old.commit(vec![output(SINGLE, "k", "unseen")], vec![]).await;
    assert!(
        matches!(result, Err(CommitError::Fatal(LogError { cause: LogErrorKind::Fenced, .. }))),
        "{result:?}"
    );
    commit(&mut new, vec![output(SINGLE, "k", "new")], vec![]).await;
    commit(&mut other, vec![output(SINGLE, "k", "other")], vec![]).await;
    assert_eq!(texts(&scan(&first, SINGLE).await), ["old", "new", "other"]);
}

/// Commits `count` times, a record to each of two topics, one commit after the other.
async fn write_pairs<L: Log>(log: L, name: String, count: usize) {
    let mut committer = log.committer(&name).await.expect("a committer is to be had");
    for at in 0..count {
        let outputs = vec![output(WORK, &name, at.to_string()), output(MORE, &name, at.to_string())];
        commit(&mut committer, outputs, vec![]).await;
    }
}

pub(crate) async fn committers_side_by_side_lose_nothing<T: LogUnderTest>() {
    let under_test = T::start().await;
    let mut writers = JoinSet::new();
    for at in 0..4 {
        writers.spawn(write_pairs(under_test.process().await, format!("suite-{at}"), 25));
    }
    writers.join_all().await;

    let written: Vec<String> = (0..25).map(|at: usize| at.to_string()).collect();
    for topic in [WORK, MORE] {
        let mut by_key: BTreeMap<Option<Bytes>, Vec<String>> = BTreeMap::new();
        for record in scan(&under_test.process().await, topic).await {
            by_key.entry(record.key.clone()).or_default().push(text(&record));
        }
        assert_eq!(by_key.into_values().collect::<Vec<_>>(), vec![written.clone(); 4]);
    }
}

pub(crate) async fn recover_leaves_a_settled_log_as_it_is<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_held(1).await;
    let only = Partition { topic: SINGLE, index: 0 };
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let progress = reader.progress(vec![(only, up_to(0))]);
    commit(&mut committer, vec![output(WORK, "k", "one")], progress.clone()).await;

    committer.recover().await.expect("a committer can recover");
    let read = committer.progress(GROUP, vec![only]).await.expect("progress can be read");
    assert_eq!(read, [Some(up_to(0))]);
    commit(&mut committer, vec![output(WORK, "k", "two")], progress).await;
    assert_eq!(texts(&scan(&log, WORK).await), ["one", "two"]);
}
