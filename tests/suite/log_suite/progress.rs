//! Progress: kept whole, handed back at the next assignment, and where reading starts.

use avr::log::{CommitError, Committer, Consumer, Log, MAX_PROGRESS_TEXT, Partition, Progress};

use super::{
    GROUP, LogUnderTest, OTHER_GROUP, SINGLE, WORK, commit, output, reader::Reader, scan, texts, up_to, write,
};

const ONLY: Partition = Partition { topic: SINGLE, index: 0 };

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|at| at.to_string()).collect()
}

/// Texts of the longest kind, of one, one and two UTF-16 units a character, and the shortest.
fn texts_within_the_limit() -> [String; 5] {
    [
        String::new(),
        "a \"quoted\"\n\ttext, \u{0}\u{7f} and more".to_owned(),
        "x".repeat(MAX_PROGRESS_TEXT),
        "é".repeat(MAX_PROGRESS_TEXT),
        "𝄞".repeat(MAX_PROGRESS_TEXT / 2),
    ]
}

pub(crate) async fn texts_come_back_up_to_the_limit<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    for (offset, text) in (0..).zip(texts_within_the_limit()) {
        let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
        reader.until_held(1).await;
        let progress = Progress { offset, text };
        commit(&mut committer, vec![], reader.progress(vec![(ONLY, progress.clone())])).await;
        reader.consumer.leave().await.expect("a member can leave");

        let read = committer.progress(GROUP, vec![ONLY]).await.expect("progress can be read");
        assert_eq!(read, [Some(progress.clone())]);
        let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
        reader.until_held(1).await;
        assert_eq!(reader.held[&ONLY], progress);
        reader.consumer.leave().await.expect("a member can leave");
    }
}

pub(crate) async fn a_text_beyond_the_limit_writes_nothing<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_held(1).await;
    for text in ["x".repeat(MAX_PROGRESS_TEXT + 1), "𝄞".repeat(MAX_PROGRESS_TEXT / 2) + "x"] {
        let mut committer = log.committer("suite").await.expect("a committer is to be had");
        let progress = reader.progress(vec![(ONLY, Progress { offset: 0, text })]);
        let result = committer.commit(vec![output(WORK, "k", "unseen")], progress).await;
        assert!(matches!(result, Err(CommitError::Fatal(_))), "{result:?}");
    }
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let read = committer.progress(GROUP, vec![ONLY]).await.expect("progress can be read");
    assert_eq!(read, [None]);
    assert_eq!(scan(&log, WORK).await, []);
}

pub(crate) async fn reading_goes_on_after_progress<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    for value in numbered(12) {
        // A commit each: whatever a log puts between transactions lies between these records.
        write(&log, vec![output(SINGLE, "k", value)]).await;
    }
    let written = scan(&log, SINGLE).await;
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    for done in [1, 2, 5, 11] {
        let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
        reader.until_held(1).await;
        reader.until_read(1).await;
        let progress = up_to(written[done - 1].offset + 1);
        commit(&mut committer, vec![], reader.progress(vec![(ONLY, progress)])).await;
        reader.consumer.leave().await.expect("a member can leave");

        let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
        reader.until_read(12 - done).await;
        assert_eq!(reader.texts(), numbered(12)[done..]);
        reader.consumer.leave().await.expect("a member can leave");
    }
}

pub(crate) async fn nothing_committed_reads_as_none<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[WORK]).await;
    reader.until_held(4).await;
    assert!(reader.held.values().all(|progress| *progress == Progress::default()));

    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    let asked: Vec<Partition> = [2, 0, 3, 1].map(|index| Partition { topic: WORK, index }).into();
    let one = Progress { offset: 0, text: "done".to_owned() };
    commit(&mut committer, vec![], reader.progress(vec![(asked[1], one.clone())])).await;
    let read = committer.progress(GROUP, asked.clone()).await.expect("progress can be read");
    assert_eq!(read, [None, Some(one), None, None], "in the order asked for");
    let seen = under_test.process().await.progress(GROUP, asked.clone()).await.expect("anybody can look on");
    assert_eq!(seen, read);
}

pub(crate) async fn groups_do_not_touch_each_other<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    write(&log, numbered(6).into_iter().map(|value| output(SINGLE, "k", value)).collect()).await;
    let mut first = Reader::join(&log, GROUP, &[SINGLE]).await;
    let mut second = Reader::join(&log, OTHER_GROUP, &[SINGLE]).await;
    first.until_read(6).await;
    let end = first.records[5].offset + 1;
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    commit(&mut committer, vec![], first.progress(vec![(ONLY, up_to(end))])).await;

    second.until_read(6).await;
    assert_eq!(second.texts(), numbered(6));
    let read = committer.progress(OTHER_GROUP, vec![ONLY]).await.expect("progress can be read");
    assert_eq!(read, [None]);
}

pub(crate) async fn a_crash_keeps_what_is_committed<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    write(&log, numbered(8).into_iter().map(|value| output(SINGLE, "k", value)).collect()).await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_read(8).await;
    let progress = Progress { offset: reader.records[4].offset + 1, text: "five are done".to_owned() };
    let mut committer = log.committer("suite").await.expect("a committer is to be had");
    commit(
        &mut committer,
        vec![output(WORK, "k", "made of five")],
        reader.progress(vec![(ONLY, progress.clone())]),
    )
    .await;
    drop((reader, committer, log));

    let under_test = under_test.reopened().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_read(3).await;
    assert_eq!(reader.held[&ONLY], progress);
    assert_eq!(reader.texts(), numbered(8)[5..]);
    assert_eq!(texts(&scan(&log, WORK).await), ["made of five"]);
}
