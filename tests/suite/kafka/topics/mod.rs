//! Topics in a real Kafka cluster. `AVR_TEST_KAFKA` names its address, as `scripts/kafka start` prints it; each test
//! works under a prefix of its own and takes away what it made.

mod command;
mod pipeline;

use std::{collections::BTreeMap, time::Duration};

use avr::{
    log::{
        GroupName, Partition,
        kafka::{LostStart, Watermarks},
    },
    observe::Metrics,
    pipeline::retention,
    provision::{Change, ProvisionError, Remedy, TopicOverrides, apply, audit, check, delete_consumed},
    topic::{DEAD_LETTERS, DRAFTED, PROMPTS, RECORD_BYTES, RECORDS, SCORED, TopicName, catalogue},
};
use pipeline::Pipeline;
use rdkafka::types::RDKafkaErrorCode;

const DRAFT: GroupName = GroupName("draft");
const SELECT: GroupName = GroupName("select");
const COMMAND: &str = "avr topics apply --kafka there";

fn at(topic: TopicName, index: i32) -> Partition {
    Partition { topic, index }
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn an_empty_cluster_is_set_up_and_the_second_time_nothing_changes() {
    let pipeline = Pipeline::new("empty");
    let overrides = pipeline.overrides();
    let refused =
        check(&pipeline.admin, &overrides, &["draft"], COMMAND).await.expect_err("nothing is there");
    assert!(
        refused.to_string().contains("prompts is missing; it should have partitions 2, replicas 1"),
        "{refused}"
    );
    assert!(refused.to_string().ends_with(&format!("set it right with: {COMMAND}")), "{refused}");

    let applied = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    assert!(applied.is_complete(), "{applied:?}");
    assert_eq!(applied.topics.len(), catalogue().len());
    assert!(applied.topics.iter().all(|(drift, _)| drift.remedy == Remedy::Create), "{applied:?}");
    for (topic, info) in catalogue() {
        for group in info.groups() {
            let committed = pipeline.admin.committed(GroupName(group), &[at(*topic, 0)]).await.unwrap();
            assert_eq!(committed.get(&at(*topic, 0)), Some(&0), "{group} of {topic}");
        }
    }

    let again = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    assert!(again.topics.is_empty() && again.starts.is_empty(), "{again:?}");
    check(&pipeline.admin, &overrides, &["draft", "export"], COMMAND).await.expect("all is well");
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn what_was_altered_behind_our_back_is_seen_and_mended_and_settings_of_others_stay() {
    let pipeline = Pipeline::new("altered");
    let overrides = pipeline.overrides();
    apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    let changes = [("retention.ms", "1000"), ("flush.messages", "12345"), ("compression.type", "lz4")];
    pipeline.alter(PROMPTS.name, &changes).await;
    let seen = pipeline.drifts_once(&overrides, |drifts| drifts.len() >= 2).await;
    let wrong =
        [("retention.ms", "1000", "-1", Remedy::Alter), ("compression.type", "lz4", "zstd", Remedy::Leave)];
    for (what, actual, desired, remedy) in wrong {
        let drift = seen.iter().find(|drift| drift.what == what).expect(what);
        assert_eq!(drift.topic, PROMPTS.name);
        assert_eq!((drift.actual.as_str(), drift.desired.as_str()), (actual, desired));
        assert_eq!(drift.remedy, remedy);
    }
    let refused = check(&pipeline.admin, &overrides, &[], COMMAND).await.expect_err("records would expire");
    assert!(refused.to_string().contains("prompts: retention.ms is 1000, and should be -1"), "{refused}");

    let applied = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    assert!(applied.is_complete(), "{applied:?}");
    pipeline.drifts_once(&overrides, |left| left.iter().all(|left| !left.breaks_a_promise())).await;
    let found = pipeline.admin.describe(&[PROMPTS.name]).await.expect("the cluster answers");
    let config = &found[&PROMPTS.name].config;
    assert_eq!(config["flush.messages"], "12345", "another's setting");
    assert_eq!(config["compression.type"], "lz4", "the operator's choice");
    assert_eq!(config["retention.ms"], "-1");
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn partitions_grow_and_new_ones_are_begun_at_their_first_record() {
    let pipeline = Pipeline::new("grown");
    let overrides = pipeline.overrides();
    apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    pipeline.produce(at(PROMPTS.name, 0), 5).await;
    pipeline.admin.commit_start(DRAFT, &[(at(PROMPTS.name, 0), 4)]).await.expect("nobody is at work");

    let more = TopicOverrides { partitions: Some(3), ..overrides };
    let seen = audit(&pipeline.admin, &more).await.expect("the cluster answers").drifts;
    assert_eq!(seen.len(), 5, "the topics between stages: {seen:?}");
    assert!(seen.iter().all(|drift| drift.remedy == Remedy::AddPartitions), "{seen:?}");
    pipeline.admin.add_partitions(PROMPTS.name, 3).await.expect("it can grow");
    pipeline.produce(at(PROMPTS.name, 2), 1).await;
    let applied = apply(&pipeline.admin, &more, None).await.expect("the cluster answers");
    assert!(applied.is_complete(), "{applied:?}");
    let all = [0, 1, 2].map(|index| at(PROMPTS.name, index));
    let committed = pipeline.admin.committed(DRAFT, &all).await.expect("the cluster answers");
    assert_eq!(committed, BTreeMap::from([(all[0], 4), (all[1], 0), (all[2], 0)]));

    let fewer = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    assert!(fewer.topics.iter().all(|(drift, _)| drift.remedy == Remedy::Leave), "{fewer:?}");
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_group_that_lost_its_offsets_begins_only_where_it_is_told_to() {
    let pipeline = Pipeline::new("lost");
    let overrides = pipeline.overrides();
    apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    pipeline.produce(at(PROMPTS.name, 1), 3).await;
    let both = [at(PROMPTS.name, 0), at(PROMPTS.name, 1)];

    for (lost, expected) in [(LostStart::Earliest, [0, 0]), (LostStart::Latest, [0, 3])] {
        // What a cluster does to a group that was idle for too long.
        pipeline.forget(DRAFT).await;
        let refused = check(&pipeline.admin, &overrides, &["draft"], COMMAND).await.expect_err("it is lost");
        assert!(matches!(refused, ProvisionError::NotReady { .. }), "{refused}");
        assert!(refused.to_string().contains("where up to 3 records wait"), "{refused}");
        check(&pipeline.admin, &overrides, &["critique"], COMMAND).await.expect("another stage may run");

        let applied = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
        assert!(!applied.is_complete());
        assert_eq!(applied.starts.len(), 1, "{applied:?}");
        assert!(applied.starts[0].0.is_lost && applied.starts[0].1 == Change::Left, "{applied:?}");
        assert_eq!(pipeline.admin.committed(DRAFT, &both).await.expect("it answers"), BTreeMap::new());

        let applied = apply(&pipeline.admin, &overrides, Some(lost)).await.expect("the cluster answers");
        assert!(applied.is_complete(), "{applied:?}");
        let committed = pipeline.admin.committed(DRAFT, &both).await.expect("the cluster answers");
        assert_eq!(committed, both.into_iter().zip(expected).collect());
    }
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_group_at_work_is_left_to_its_members() {
    for protocol in ["classic", "consumer"] {
        let pipeline = Pipeline::new(protocol);
        let overrides = pipeline.overrides();
        apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
        pipeline.forget(DRAFT).await;
        let member = pipeline.member(DRAFT, PROMPTS.name, protocol).await;
        let applied = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
        assert_eq!(applied.starts.len(), 1, "{protocol}: {applied:?}");
        assert_eq!(applied.starts[0].1, Change::Active, "{protocol}");
        assert!(applied.is_complete(), "{protocol}");

        // With records there, nobody knows whether the members know what they do.
        pipeline.produce(at(PROMPTS.name, 0), 1).await;
        let latest = Some(LostStart::Latest);
        let applied = apply(&pipeline.admin, &overrides, latest).await.expect("the cluster answers");
        let Change::Failed(message) = &applied.starts[0].1 else { panic!("{protocol}: {applied:?}") };
        assert!(message.contains("stop its workers"), "{protocol}: {message}");
        member.leave().await;
        let applied = apply(&pipeline.admin, &overrides, latest).await.expect("the cluster answers");
        assert!(applied.is_complete(), "{protocol}: the group is empty again: {applied:?}");
        pipeline.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn consumed_records_go_and_nothing_else_does() {
    let pipeline = Pipeline::new("consumed");
    apply(&pipeline.admin, &pipeline.overrides(), None).await.expect("the cluster answers");
    for topic in [PROMPTS.name, DRAFTED.name, SCORED.name, RECORDS.name] {
        pipeline.produce(at(topic, 0), 10).await;
    }
    let (prompts, scored) = (at(PROMPTS.name, 0), at(SCORED.name, 0));
    pipeline.admin.commit_start(DRAFT, &[(prompts, 7)]).await.expect("nobody is at work");
    pipeline.admin.commit_start(SELECT, &[(scored, 9)]).await.expect("nobody is at work");
    // A group that nobody knows anything of: what it reads stays.
    pipeline.forget(GroupName("critique")).await;

    let topics = pipeline.overrides().consumed();
    let gone = delete_consumed(&pipeline.admin, &topics).await.expect("the cluster answers");
    assert_eq!(gone, BTreeMap::from([(PROMPTS.name, 7)]));
    let again = delete_consumed(&pipeline.admin, &topics).await.expect("the cluster answers");
    assert_eq!(again, BTreeMap::new(), "it is done");
    let all = [prompts, scored, at(DRAFTED.name, 0), at(RECORDS.name, 0)];
    let watermarks = pipeline.admin.watermarks(&all).await.expect("the cluster answers");
    let expected = all.into_iter().zip([7, 0, 0, 0].map(|first| Watermarks { first, end: 10 })).collect();
    assert_eq!(watermarks, expected);
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn finished_threads_go_like_others_where_nobody_will_replay() {
    let pipeline = Pipeline::new("replay");
    let kept = pipeline.overrides();
    let working = TopicOverrides { keep_for_replay: false, ..kept };
    apply(&pipeline.admin, &working, None).await.expect("the cluster answers");
    let found = pipeline.admin.describe(&[SCORED.name, DRAFTED.name]).await.expect("the cluster answers");
    assert_eq!(found[&SCORED.name].config["segment.bytes"], found[&DRAFTED.name].config["segment.bytes"]);
    for overrides in [working, kept] {
        let again = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
        assert!(again.topics.is_empty() && again.starts.is_empty(), "{overrides:?}: {again:?}");
        check(&pipeline.admin, &overrides, &["select"], COMMAND).await.expect("it may run either way");
    }

    let scored = at(SCORED.name, 0);
    pipeline.produce(scored, 10).await;
    pipeline.admin.commit_start(SELECT, &[(scored, 9)]).await.expect("nobody is at work");
    let gone = delete_consumed(&pipeline.admin, &working.consumed()).await.expect("the cluster answers");
    assert_eq!(gone, BTreeMap::from([(SCORED.name, 9)]));
    check(&pipeline.admin, &kept, &["select"], COMMAND).await.expect("threads are kept from now on");
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_worker_cleans_up_by_itself_and_counts_it() {
    let pipeline = Pipeline::new("clean");
    apply(&pipeline.admin, &pipeline.overrides(), None).await.expect("the cluster answers");
    pipeline.produce(at(PROMPTS.name, 1), 4).await;
    pipeline.admin.commit_start(DRAFT, &[(at(PROMPTS.name, 1), 3)]).await.expect("nobody is at work");
    let metrics = Metrics::new();
    let interval = Duration::from_millis(10);
    let topics = pipeline.overrides().consumed();
    let cleaning = tokio::spawn(retention::keep(pipeline.admin.clone(), topics, interval, metrics.clone()));
    let deleted = metrics.deleted_offsets.with_label_values(&[PROMPTS.name.0]);
    let count = pipeline.until("records are deleted", || (deleted.get() > 0).then(|| deleted.get())).await;
    cleaning.abort();
    assert_eq!(count, 3);
    assert!(metrics.cleanups.with_label_values(&["done"]).get() > 0);
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_new_group_gets_its_first_offsets_from_the_worker_that_comes_first() {
    let pipeline = Pipeline::new("first");
    let overrides = pipeline.overrides();
    apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    // As with topics that were made by other means.
    pipeline.forget(DRAFT).await;
    check(&pipeline.admin, &overrides, &["draft"], COMMAND).await.expect("nothing can have been lost");
    pipeline.produce(at(PROMPTS.name, 0), 1).await;
    check(&pipeline.admin, &overrides, &["draft"], COMMAND).await.expect("it is known where it began");
    pipeline.end().await;
}

/// A commit under way hides what was committed before it, until it is decided: here by the broker, for want of a
/// worker that lives.
#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn offsets_of_a_commit_that_nobody_ends_are_waited_for() {
    let pipeline = Pipeline::new("pending");
    apply(&pipeline.admin, &pipeline.overrides(), None).await.expect("the cluster answers");
    let partition = at(PROMPTS.name, 0);
    pipeline.die_in_a_commit(DRAFT, partition, 5).await;
    let committed = pipeline.admin.committed(DRAFT, &[partition]).await.expect("the cluster answers");
    assert_eq!(committed, BTreeMap::from([(partition, 0)]), "it was not committed");
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn the_largest_record_fits_and_a_larger_one_does_not() {
    let pipeline = Pipeline::new("large");
    apply(&pipeline.admin, &pipeline.overrides(), None).await.expect("the cluster answers");
    let size = |topic, bytes| pipeline.produce_large(at(topic, 0), bytes);
    size(PROMPTS.name, RECORD_BYTES).await.expect("the largest record fits, and its framing beside it");
    size(DEAD_LETTERS, RECORD_BYTES + (1 << 20)).await.expect("a letter has room for headers");
    for (topic, bytes) in
        [(PROMPTS.name, RECORD_BYTES + (128 << 10)), (DEAD_LETTERS, RECORD_BYTES + (3 << 20))]
    {
        let refused = size(topic, bytes).await.expect_err("it is too large");
        assert_eq!(refused, RDKafkaErrorCode::MessageSizeTooLarge, "{topic}");
    }
    pipeline.end().await;
}

#[tokio::test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
async fn a_cluster_that_is_too_small_is_told_from_a_wrong_request() {
    let pipeline = Pipeline::new("small");
    let overrides = TopicOverrides { replicas: Some(999), ..pipeline.overrides() };
    let applied = apply(&pipeline.admin, &overrides, None).await.expect("the cluster answers");
    assert!(!applied.is_complete());
    let (drift, change) = &applied.topics[0];
    let Change::Failed(message) = change else { panic!("{change:?}") };
    assert_eq!(drift.topic, PROMPTS.name);
    assert!(message.contains("no 999 brokers") && message.contains("kafka.replicas = 1"), "{message}");
    pipeline.end().await;
}
