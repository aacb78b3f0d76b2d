//! What was written comes back: in order, byte for byte, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use avr::log::{Budget, Consumer, Header, Log, Output, Partition, Record};
use bytes::Bytes;

use super::{GROUP, LogUnderTest, MORE, SINGLE, WORK, output, reader::Reader, scan, text, texts, write};

/// Records with ten keys, in several commits.
async fn write_by_key<L: Log>(log: &L, commits: usize) {
    for at in 0..commits {
        let outputs = (0..10).map(|key| output(WORK, &format!("key {key}"), format!("{at}"))).collect();
        write(log, outputs).await;
    }
}

pub(crate) async fn order_is_kept_and_equal_keys_stay_together<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    write_by_key(&log, 12).await;
    let mut reader = Reader::join(&log, GROUP, &[WORK]).await;
    reader.until_read(120).await;

    assert_offsets_grow(&reader.records);
    let mut by_key: BTreeMap<_, (BTreeSet<Partition>, Vec<String>)> = BTreeMap::new();
    for record in &reader.records {
        let (partitions, values) = by_key.entry(record.key.clone()).or_default();
        partitions.insert(record.partition);
        values.push(text(record));
    }
    let written: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    assert_eq!(by_key.len(), 10);
    for (partitions, values) in by_key.values() {
        assert_eq!(partitions.len(), 1, "equal keys go to one partition");
        assert_eq!(*values, written);
    }
}

fn assert_offsets_grow(records: &[Record]) {
    let mut last: BTreeMap<Partition, i64> = BTreeMap::new();
    for record in records {
        let before = last.insert(record.partition, record.offset);
        assert!(before.is_none_or(|before| before < record.offset), "{} goes back", record.partition);
    }
}

/// Keys, values and headers that are easily mistaken for each other.
fn awkward_outputs() -> Vec<Output> {
    let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let header = |name: &str, value| Header { name: name.to_owned(), value };
    let record = |key, value, headers| Output { topic: SINGLE, key, value, headers };
    vec![
        record(None, None, vec![]),
        record(None, bytes(b""), vec![]),
        record(bytes(b""), None, vec![]),
        record(bytes(b""), bytes(b""), vec![header("", None), header("", bytes(b""))]),
        record(bytes(b"tombstone"), None, vec![header("why", bytes(b"gone"))]),
        record(bytes(b"\xff\x00\xfe"), bytes(b"\x00\x80\xc3\x28"), vec![header("raw", bytes(b"\xff\x00"))]),
        record(bytes("schlüssel".as_bytes()), bytes("ценность 𝄞".as_bytes()), vec![header("имя", None)]),
        record(
            bytes(b"twice"),
            bytes(b"value"),
            vec![header("b", bytes(b"2")), header("a", bytes(b"1")), header("b", bytes(b"1"))],
        ),
    ]
}

pub(crate) async fn bytes_come_back_as_they_were<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let outputs = awkward_outputs();
    write(&log, outputs.clone()).await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_read(outputs.len()).await;

    let as_outputs = |records: &[Record]| -> Vec<Output> {
        let parts = records.iter().cloned();
        parts
            .map(|Record { partition, key, value, headers, .. }| Output {
                topic: partition.topic,
                key,
                value,
                headers,
            })
            .collect()
    };
    assert_eq!(as_outputs(&reader.records), outputs);
    assert_eq!(as_outputs(&scan(&log, SINGLE).await), outputs);
}

pub(crate) async fn a_waiting_reader_is_woken<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    reader.until_held(1).await;
    for at in 1..=20 {
        tokio::join!(biased; reader.until_read(at), write(&log, vec![output(SINGLE, "k", at.to_string())]));
    }
    assert_eq!(reader.records.len(), 20);
}

pub(crate) async fn paused_partitions_wait_and_go_on<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[WORK, SINGLE]).await;
    reader.until_held(5).await;
    let work: Vec<Partition> = reader.held.keys().copied().filter(|p| p.topic == WORK).collect();

    reader.consumer.pause(&work).expect("held partitions can be paused");
    write_by_key(&log, 3).await;
    for at in 0..5 {
        write(&log, vec![output(SINGLE, "k", at.to_string())]).await;
        reader.until_read(at + 1).await;
    }
    assert!(reader.records.iter().all(|r| r.partition.topic == SINGLE), "a paused partition was read");

    reader.consumer.resume(&work).expect("held partitions can be resumed");
    reader.until_read(5 + 30).await;
    reader.consumer.pause(&work).expect("held partitions can be paused");
    reader.consumer.resume(&work).expect("held partitions can be resumed");
    write_by_key(&log, 1).await;
    reader.until_read(5 + 40).await;
    assert_eq!(reader.records.len(), 45, "a pause made records come twice");
    assert_offsets_grow(&reader.records);
}

pub(crate) async fn scan_and_ends_agree_with_what_was_written<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    assert_eq!(scan(&log, MORE).await, []);
    let empty = log.ends(MORE).await.expect("ends can be read");
    let indexes: Vec<i32> = empty.iter().map(|(partition, _)| partition.index).collect();
    assert_eq!(indexes, [0, 1, 2], "every partition has an end");

    let outputs = (0..30).map(|at| output(MORE, &at.to_string(), at.to_string())).collect();
    write(&log, outputs).await;
    let ends: BTreeMap<_, _> = log.ends(MORE).await.expect("ends can be read").into_iter().collect();
    let records = scan(&log, MORE).await;
    let mut values: Vec<usize> = records.iter().filter_map(|record| text(record).parse().ok()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..30).collect::<Vec<_>>());
    assert_offsets_grow(&records);
    assert!(records.iter().all(|record| record.offset < ends[&record.partition]));
}

pub(crate) async fn a_scan_begins_where_it_is_told_and_leaves_a_partition_that_gave_enough<
    T: LogUnderTest,
>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    write_by_key(&log, 3).await;
    let all = scan(&log, WORK).await;
    let of = |index| all.iter().filter(move |record| record.partition.index == index);
    let indexes: BTreeSet<i32> = all.iter().map(|record| record.partition.index).collect();
    let [whole, cut] =
        [0, 1].map(|at| *indexes.iter().nth(at).expect("ten keys go to two partitions at least"));
    let second = of(whole).nth(1).expect("three records of a key").offset;
    let partition = |index| Partition { topic: WORK, index };
    let mut seen = Vec::new();
    let mut visit = |record: Record| {
        let visit =
            if record.partition.index == cut { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        seen.push((record.partition.index, record.offset));
        visit
    };
    log.scan_from(vec![(partition(cut), 0), (partition(whole), second)], &mut visit).await.expect("scanned");
    seen.sort_unstable();
    let mut expected: Vec<_> = of(whole).skip(1).chain(of(cut).take(1)).collect();
    expected.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(seen, expected.iter().map(|r| (r.partition.index, r.offset)).collect::<Vec<_>>());

    // From the end on there is nothing, whatever stands behind the last record.
    let last = of(whole).last().expect("not empty").offset;
    log.scan_from(vec![(partition(whole), last + 1)], &mut |record| panic!("{record:?}"))
        .await
        .expect("scanned");
}

pub(crate) async fn cancelled_waits_lose_nothing<T: LogUnderTest>() {
    let under_test = T::start().await;
    let log = under_test.process().await;
    let mut reader = Reader::join(&log, GROUP, &[SINGLE]).await;
    for at in 0..50 {
        write(&log, vec![output(SINGLE, "k", at.to_string())]).await;
        for _ in 0..20 {
            tokio::select! {
                event = reader.consumer.next() => reader.take(event.expect("the log goes on")),
                () = std::future::ready(()) => {}
            }
        }
    }
    reader.until_read(50).await;
    let written: Vec<String> = (0..50).map(|at: usize| at.to_string()).collect();
    assert_eq!(reader.texts(), written);
}

pub(crate) async fn offsets_go_on_where_they_ended<T: LogUnderTest>() {
    let mut under_test = T::start().await;
    let mut ends = Vec::new();
    for life in 0..3 {
        let log = under_test.process().await;
        let values: Vec<String> = (0..life).map(|at: usize| at.to_string()).collect();
        assert_eq!(texts(&scan(&log, SINGLE).await), values);
        write(&log, vec![output(SINGLE, "k", life.to_string())]).await;
        ends.push(log.ends(SINGLE).await.expect("ends can be read"));
        drop(log);
        under_test = under_test.reopened().await;
    }
    let records = scan(&under_test.process().await, SINGLE).await;
    assert_offsets_grow(&records);
    for (next, ended) in records.iter().skip(1).zip(&ends) {
        assert!(ended.iter().all(|(_, end)| next.offset >= *end), "an offset was used again");
    }
}

/// The most bytes that the logs hand out at once.
const BATCH: usize = 1 << 20;

/// Nothing comes once the limit is reached, until something is given back; then everything does.
pub(crate) async fn a_budget_bounds_what_is_handed_out<T: LogUnderTest>() {
    const LIMIT: usize = 32 << 10;
    let under_test = T::start().await;
    let log = under_test.process().await;
    let large = "x".repeat(16 << 10);
    for at in 0..10 {
        let outputs =
            (0..10).map(|key| output(WORK, &format!("key {key}"), format!("{at} {large}"))).collect();
        write(&log, outputs).await;
    }
    let budget = Arc::new(Budget::new(LIMIT));
    let mut reader = Reader::join_within(&log, GROUP, &[WORK], Arc::clone(&budget)).await;
    let (mut read, mut rounds) = (0, 0);
    while read < 100 {
        reader
            .until("a full budget or the end", |reader| budget.is_full() || reader.records.len() == 100)
            .await;
        assert!(budget.taken() <= LIMIT + BATCH, "{} bytes are out", budget.taken());
        // What is on its way to the reader is taken, too, and given back when it has come.
        let (new, now) = (&reader.records[read..], reader.records.len());
        budget.give_back(new.iter().map(Record::size).sum());
        (read, rounds) = (now, rounds + 1);
        if budget.is_full() {
            reader.until_read(read + 1).await;
        }
    }
    assert!(rounds > 1, "the budget was full before the end");
    assert_eq!(budget.taken(), 0);
    assert_offsets_grow(&reader.records);
}
