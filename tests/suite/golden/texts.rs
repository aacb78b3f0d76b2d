//! What is read from a single text.

use avr::method::{final_answer, rating, redundancy};
use serde_json::{Value, json};

use super::cases::{Compared, text};

fn compared(computed: Value, case: &Value, field: &str) -> Compared {
    Compared { computed, expected: case[field].clone() }
}

pub(crate) fn rating(case: &Value) -> Compared {
    compared(json!(rating::rating(text(case, "text"))), case, "rating")
}

pub(crate) fn final_answer(case: &Value) -> Compared {
    compared(json!(final_answer::final_answer(text(case, "text"))), case, "answer")
}

pub(crate) fn redundancy(case: &Value) -> Compared {
    compared(json!(redundancy::is_redundant(text(case, "text"))), case, "redundant")
}
