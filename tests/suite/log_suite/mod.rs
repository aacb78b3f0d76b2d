//! What every log must do: the contract of [`avr::log`] as tests, the same for each log.
//!
//! ```text
//!   log_suite!(SomeLog)  ─▶  one #[tokio::test] for each property, in the file's module
//! ```
//!
//! Written so that a real broker can pass: nothing supposes dense offsets or a time by which something comes,
//! waits are for events and end, when they fail, after [`PATIENCE`]. That something does *not* come is shown by
//! what comes after it.

pub(crate) mod commits;
pub(crate) mod groups;
mod local;
pub(crate) mod progress;
mod reader;
pub(crate) mod reading;
pub(crate) mod worker;

use std::{future::Future, time::Duration};

use avr::{
    log::{CommitError, Committer, GroupName, GroupProgress, Log, Output, Progress, Record},
    topic::TopicName,
};
use bytes::Bytes;

/// How long an event may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of one partition, where order is total.
pub(crate) const SINGLE: TopicName = TopicName("suite-single");
/// A topic of four partitions.
pub(crate) const WORK: TopicName = TopicName("suite-work");
/// A topic of three partitions.
pub(crate) const MORE: TopicName = TopicName("suite-more");
/// The suite's topics, each with its number of partitions.
pub(crate) const TOPICS: &[(TopicName, i32)] = &[(SINGLE, 1), (WORK, 4), (MORE, 3)];

pub(crate) const GROUP: GroupName = GroupName("suite-group");
const OTHER_GROUP: GroupName = GroupName("suite-other-group");

/// A log that the suite can start, and start again.
pub(crate) trait LogUnderTest: Sized {
    /// The log.
    type Log: Log;

    /// A fresh and empty log with [`TOPICS`].
    fn start() -> impl Future<Output = Self>;

    /// A handle as a process of its own has it: members and committers of different handles are different
    /// processes'.
    fn process(&self) -> impl Future<Output = Self::Log>;

    /// The same log after everything that used it was killed.
    fn reopened(self) -> impl Future<Output = Self>;
}

/// One test for each property, over the given [`LogUnderTest`]; each with an attribute, if one is given. A property that is
/// not in the list is dead code, which the compiler does not pass over.
macro_rules! log_suite {
    ($log:ty) => {
        $crate::log_suite::log_suite!($log, [cfg(test)]);
    };
    ($log:ty, $attribute:tt) => {
        $crate::log_suite::log_suite! { $log, $attribute:
            reading:
                order_is_kept_and_equal_keys_stay_together,
                bytes_come_back_as_they_were,
                a_waiting_reader_is_woken,
                paused_partitions_wait_and_go_on,
                scan_and_ends_agree_with_what_was_written,
                a_scan_begins_where_it_is_told_and_leaves_a_partition_that_gave_enough,
                cancelled_waits_lose_nothing,
                offsets_go_on_where_they_ended,
                a_budget_bounds_what_is_handed_out;
            progress:
                texts_come_back_up_to_the_limit,
                a_text_beyond_the_limit_writes_nothing,
                reading_goes_on_after_progress,
                nothing_committed_reads_as_none,
                groups_do_not_touch_each_other,
                a_crash_keeps_what_is_committed;
            commits:
                outputs_and_progress_come_together,
                whoever_sees_progress_sees_its_outputs,
                the_largest_record_passes_and_a_larger_one_writes_nothing,
                a_namesake_fences,
                committers_side_by_side_lose_nothing,
                recover_leaves_a_settled_log_as_it_is;
            groups:
                members_share_all_partitions,
                revoked_partitions_stay_until_they_are_released,
                a_stale_commit_is_refused_whole,
                progress_from_before_a_partition_moved_and_came_back_is_refused,
                who_leaves_makes_room,
                every_record_is_copied_once_while_members_come_and_go;
        }
    };
    ($log:ty, $attribute:tt: $($file:ident: $($test:ident),*;)*) => {
        $($(
            #[tokio::test]
            #$attribute
            async fn $test() {
                $crate::log_suite::$file::$test::<$log>().await;
            }
        )*)*
    };
}
pub(crate) use log_suite;

/// An output with a key and a text.
fn output(topic: TopicName, key: &str, value: impl Into<String>) -> Output {
    let key = Some(Bytes::copy_from_slice(key.as_bytes()));
    Output { topic, key, value: Some(value.into().into()), headers: Vec::new() }
}

/// Progress up to an offset, without a text.
fn up_to(offset: i64) -> Progress {
    Progress { offset, text: String::new() }
}

/// Commits, and tries again where the log asks for that.
async fn commit<C: Committer>(committer: &mut C, outputs: Vec<Output>, progress: Vec<GroupProgress>) {
    loop {
        match committer.commit(outputs.clone(), progress.clone()).await {
            Ok(()) => return,
            Err(CommitError::Retriable(_)) => committer.recover().await.expect("the log comes back"),
            Err(error) => panic!("a commit that nothing speaks against failed: {error}"),
        }
    }
}

/// Writes outputs as a process of its own.
pub(crate) async fn write<L: Log>(log: &L, outputs: Vec<Output>) {
    let mut committer = log.committer("suite-writer").await.expect("a committer is to be had");
    commit(&mut committer, outputs, Vec::new()).await;
}

/// A topic's records, by partition and offset.
async fn scan<L: Log>(log: &L, topic: TopicName) -> Vec<Record> {
    let mut records = Vec::new();
    log.scan(topic, &mut |record| records.push(record)).await.expect("a topic can be scanned");
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// A record's value as text.
fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default().into()).expect("the test wrote text")
}

fn texts<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<String> {
    records.into_iter().map(text).collect()
}
