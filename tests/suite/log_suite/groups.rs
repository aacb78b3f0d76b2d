//! Groups: partitions are shared out, move when members come and go, and are committed by who holds them.

use std::collections::BTreeSet;

use avr::log::{CommitError, Committer, Consumer, Log, Partition, Progress};
use futures_util::future::select_all;

use super::{
    GROUP, LogUnderTest, MORE, PATIENCE, WORK, commit, output,
    reader::Reader,
    scan, texts, up_to,
    worker::{Running, copies_are_exact, originals},
    write,
};

/// Reads on at several members at once, each giving up what it is asked for, until they hold so many
/// partitions each, the fewest first.
async fn settle<C: Consumer>(readers: &mut [Reader<C>], shares: &[usize]) {
    let settling = async {
        while !shares_are(readers, shares) {
            for reader in &mut *readers {
                if !reader.revoked.is_empty() {
                    reader.release().await;
                }
            }
            next_of_any(readers).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, settling).await;
    assert!(in_time.is_ok(), "waited in vain for shares of {shares:?}");
}

/// Takes the next event that any of them hears of.
async fn next_of_any<C: Consumer>(readers: &mut [Reader<C>]) {
    let nexts = readers.iter_mut().map(|reader| Box::pin(reader.consumer.next()));
    let (event, at, _) = select_all(nexts).await;
    readers[at].take(event.expect("the log goes on"));
}

fn shares_are<C>(readers: &[Reader<C>], shares: &[usize]) -> bool {
    let mut held: Vec<usize> = readers.iter().map(|reader| reader.held.len()).collect();
    held.sort_unstable();
    held == shares
}

fn held<C>(readers: &[Reader<C>]) -> BTreeSet<Partition> {
    readers.iter().flat_map(|reader| reader.held.keys().copied()).collect()
}

pub(crate) async fn members_share_all_partitions<T: LogUnderTest>() {
    let under_test = T::start().await;
    let mut readers = Vec::new();
    for shares in [vec![4], vec![2, 2], vec![1, 1, 2], vec![1, 1, 1, 1], vec![0, 1, 1, 1, 1]] {
        readers.push(Reader::join(&under_test.process().await, GROUP, &[WORK]).await);
        settle(&mut readers, &shares).await;
        assert_eq!(held(&readers).len(), 4, "every partition has one owner");
    }
    for shares in [vec![1, 1, 1, 1], vec![1, 1, 2], vec![2, 2], vec![4]] {
        let leaver = readers.remove(0);
        leaver.consumer.leave().await.expect("a member can leave");
        settle(&mut readers, &shares).await;
        assert_eq!(held(&readers).len(), 4, "every partition has one owner");
    }
}

pub(crate) async fn revoked_partitions_stay_until_they_are_released<T: LogUnderTest>() {
    let under_test = T::start().await;
    let (here, there) = (under_test.process().await, under_test.process().await);
    write(&here, originals(40)).await;
    let mut old = Reader::join(&here, GROUP, &[WORK]).await;
    old.until_held(4).await;
    old.until_read(40).await;
    let mut readers = [old, Reader::join(&there, GROUP, &[WORK]).await];
    let two_revoked = async {
        while readers[0].revoked.len() < 2 {
            next_of_any(&mut readers).await;
        }
    };
    tokio::time::timeout(PATIENCE, two_revoked).await.expect("two partitions are to move");
    let [mut old, new] = readers;
    assert!(new.held.is_empty(), "a partition was given away before it was released");

    let mut committer = here.committer("suite-old").await.expect("a committer is to be had");
    let last_words = Progress { offset: 3, text: "last words".to_owned() };
    let progress = old.revoked.iter().map(|partition| (*partition, last_words.clone())).collect();
    commit(&mut committer, vec![], old.progress(progress)).await;
    let released: BTreeSet<Partition> = old.release().await.into_iter().collect();
    let mut readers = [old, new];
    settle(&mut readers, &[2, 2]).await;
    assert_eq!(readers[1].held.keys().copied().collect::<BTreeSet<_>>(), released);
    assert!(readers[1].held.values().all(|progress| *progress == last_words));
}

pub(crate) async fn a_stale_commit_is_refused_whole<T: LogUnderTest>() {
    let under_test = T::start().await;
    let (here, there) = (under_test.process().await, under_test.process().await);
    let mut readers = vec![Reader::join(&here, GROUP, &[WORK]).await];
    settle(&mut readers, &[4]).await;
    readers.push(Reader::join(&there, GROUP, &[WORK]).await);
    settle(&mut readers, &[2, 2]).await;

    let kept: Vec<Partition> = readers[0].held.keys().copied().collect();
    let gone: Vec<Partition> = readers[1].held.keys().copied().collect();
    let mut committer = here.committer("suite-here").await.expect("a committer is to be had");
    let outputs = vec![output(MORE, "k", "copy")];
    let progress = vec![(kept[0], up_to(1)), (gone[0], up_to(1))];
    let result = committer.commit(outputs.clone(), readers[0].progress(progress)).await;
    assert!(
        matches!(&result, Err(CommitError::Refused(groups)) if groups == &[GROUP]),
        "a commit for another's partition came to {result:?}"
    );
    assert_eq!(scan(&here, MORE).await, []);
    let read = committer.progress(GROUP, vec![kept[0], gone[0]]).await.expect("progress can be read");
    assert_eq!(read, [None, None]);

    commit(&mut committer, outputs, readers[0].progress(vec![(kept[0], up_to(1))])).await;
    assert_eq!(texts(&scan(&here, MORE).await), ["copy"]);
}

pub(crate) async fn progress_from_before_a_partition_moved_and_came_back_is_refused<T: LogUnderTest>() {
    let under_test = T::start().await;
    let (here, there) = (under_test.process().await, under_test.process().await);
    let mut readers = vec![Reader::join(&here, GROUP, &[WORK]).await];
    settle(&mut readers, &[4]).await;
    let before = readers[0].consumer.generation();
    readers.push(Reader::join(&there, GROUP, &[WORK]).await);
    settle(&mut readers, &[2, 2]).await;
    let moved: Vec<Partition> = readers[1].held.keys().copied().collect();
    drop(readers.pop());
    settle(&mut readers, &[4]).await;

    let mut committer = here.committer("suite-here").await.expect("a committer is to be had");
    let current = readers[0].progress(vec![(moved[0], up_to(1))]);
    let mut stale = current.clone();
    stale[0].generation = before;
    let result = committer.commit(vec![output(MORE, "k", "stale")], stale).await;
    assert!(matches!(result, Err(CommitError::Refused(_))), "{result:?}");
    commit(&mut committer, vec![output(MORE, "k", "current")], current).await;
    assert_eq!(texts(&scan(&here, MORE).await), ["current"]);
}

pub(crate) async fn who_leaves_makes_room<T: LogUnderTest>() {
    let under_test = T::start().await;
    let (here, there) = (under_test.process().await, under_test.process().await);
    write(&here, originals(20)).await;
    let mut readers = vec![Reader::join(&here, GROUP, &[WORK]).await];
    readers[0].until_held(4).await;
    readers[0].until_read(20).await;
    // Dropping a member is leaving, too.
    readers.clear();
    let mut heir = Reader::join(&there, GROUP, &[WORK]).await;
    heir.until_held(4).await;
    heir.until_read(20).await;
    assert_eq!(heir.records.len(), 20, "what was not committed comes again, once");
}

pub(crate) async fn every_record_is_copied_once_while_members_come_and_go<T: LogUnderTest>() {
    const ROUND: usize = 40;
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut running = vec![
        Running::start(under_test.process().await, "suite-first"),
        Running::start(under_test.process().await, "suite-second"),
    ];
    let originals = originals(ROUND * 4);
    for (round, batch) in originals.chunks(ROUND).enumerate() {
        write(&log, batch.to_vec()).await;
        if round % 2 == 0 {
            running.push(Running::start(under_test.process().await, &format!("suite-{round}")));
        } else {
            running.remove(0).stop().await;
        }
        copies_are_exact(&log, ROUND * (round + 1)).await;
    }
    for worker in running {
        worker.stop().await;
    }
    copies_are_exact(&log, ROUND * 4).await;
}
