//! Submits: again, killed in the middle, and two at once.

use avr::topic::PROMPTS;

use super::pipeline::{Pipeline, assert_each_once, new_and_known};

const COUNT: usize = 6000;

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn a_submit_that_was_killed_in_the_middle_is_made_whole_by_the_next() {
    let pipeline = Pipeline::new(COUNT);
    let mut killed = pipeline.start_submit(&["prompts.jsonl"]);
    // More than two batches: the first is committed by then.
    killed.until("some prompts are there", || (pipeline.end(PROMPTS.name) > 600).then_some(()));
    assert!(killed.kill(), "it was in the middle");
    let (new, known) = pipeline.submit(&["prompts.jsonl"]);
    assert_eq!(new + known, COUNT as u64);
    assert!(known > 0, "what the first wrote is known");
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), (0, COUNT as u64));
    assert_each_once(&pipeline.keys(PROMPTS.name), COUNT);
}

/// The later fences the earlier while that writes; which of the two wins how often is the cluster's.
#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn two_submits_at_once_both_end_and_double_nothing() {
    let pipeline = Pipeline::new(COUNT);
    let both = [pipeline.start_submit(&["prompts.jsonl"]), pipeline.start_submit(&["prompts.jsonl"])];
    let [first, second] = both.map(|submit| new_and_known(&submit.finish().expect_code(0)));
    // What both tried to write in one moment may count as new for both; it is there once all the same.
    assert!(first.0 + second.0 >= COUNT as u64, "{first:?} {second:?}");
    assert_eq!((first.0 + first.1, second.0 + second.1), (COUNT as u64, COUNT as u64));
    assert_each_once(&pipeline.keys(PROMPTS.name), COUNT);
}

#[test]
#[ignore = "needs a Kafka cluster: scripts/test starts one"]
fn another_recipe_and_a_pipeline_without_topics_are_refused() {
    let pipeline = Pipeline::new(3);
    assert_eq!(pipeline.submit(&["prompts.jsonl"]), (3, 0));
    let changed = ["--set", "recipes.stage1.rounds=1", "--set", "recipes.stage1.top_p=0.5", "prompts.jsonl"];
    let refused = pipeline.start_submit(&changed).finish().expect_code(2);
    refused.expect_error(&["another definition of recipe stage1", "top_p: 0.8 before, 0.5 now"]);
    let refused = pipeline.start_submit(&["--set", "kafka.prefix=nobodys.", "prompts.jsonl"]).finish();
    refused.expect_code(2).expect_error(&["topic nobodys.prompts is missing", "avr topics apply"]);
}
