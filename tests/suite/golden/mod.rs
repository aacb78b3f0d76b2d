//! The rules of the method against cases with known results: JSON Lines, one case a line.
//!
//! The authors' cases are those of `tests/golden/`, or of the folder that `AVR_GOLDEN_DIR` names; our own in
//! `tests/golden/own/` are always checked besides. See `tests/golden/README.md`.

mod cases;
mod difference;
mod stage1;
mod stage2;
mod texts;

use cases::check_file;

#[test]
fn rating() {
    check_file("rating.jsonl", texts::rating);
}

#[test]
fn final_answer() {
    check_file("final_answer.jsonl", texts::final_answer);
}

#[test]
fn redundancy() {
    check_file("redundancy.jsonl", texts::redundancy);
}

#[test]
fn stage1_sft() {
    check_file("stage1_sft.jsonl", stage1::selected_for_sft);
}

#[test]
fn stage1_dpo() {
    check_file("stage1_dpo.jsonl", stage1::selected_for_pairs);
}

#[test]
fn records_sft() {
    check_file("records_sft.jsonl", stage1::sft_records);
}

#[test]
fn records_dpo() {
    check_file("records_dpo.jsonl", stage1::pair_records);
}

#[test]
fn greedy() {
    check_file("greedy.jsonl", stage2::greedy_run);
}

#[test]
fn records_cot_sft() {
    check_file("records_cot_sft.jsonl", stage2::long_records);
}

#[test]
fn cot_dpo() {
    check_file("cot_dpo.jsonl", stage2::long_pairs);
}
