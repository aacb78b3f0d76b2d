//! Work on a finished set of rows: mixing with the source set, and removing repeats.
//!
//! None of it belongs to the stream: it needs all rows at once.

use std::{collections::HashSet, hash::Hash};

use super::selection::TrainingRow;
use crate::record::Message;

/// The conversations to train on: those of the kept `rows` (of supervised fine-tuning), then those of the source
/// set as they came, without the ones that a kept row starts from, and without repeats.
pub fn mix_with_source(rows: &[TrainingRow], source: Vec<Vec<Message>>) -> Vec<Vec<Message>> {
    let started_from: HashSet<Vec<Message>> = rows.iter().map(start).collect();
    let kept = rows.iter().map(TrainingRow::messages);
    let source = source.into_iter().filter(|conversation| !started_from.contains(conversation));
    without_repeats(kept.chain(source))
}

/// `x, y0`: the conversation that a row for supervised fine-tuning starts from.
fn start(row: &TrainingRow) -> Vec<Message> {
    row.prompt.iter().chain(row.chosen.first()).cloned().collect()
}

/// The rows in their order, each only where it first occurs.
pub fn without_repeats<T: Clone + Eq + Hash>(rows: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = HashSet::new();
    rows.into_iter().filter(|row| seen.insert(row.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(texts: &str) -> Vec<Message> {
        let turn =
            |(index, text)| if index % 2 == 0 { Message::user(text) } else { Message::assistant(text) };
        texts.split(' ').enumerate().map(turn).collect()
    }

    fn row(texts: &str) -> TrainingRow {
        let mut prompt = conversation(texts);
        let chosen = prompt.split_off(1);
        TrainingRow { prompt, chosen, rejected: Vec::new() }
    }

    #[test]
    fn the_source_follows_without_what_the_rows_start_from() {
        let rows = [row("x1 y1 c i c y2"), row("x1 y1 c i c y2"), row("x2 y1 c i c y3")];
        let source = ["x1 y1", "x1 other", "x3 y3", "x3 y3", "x2"].map(conversation).to_vec();
        let expected =
            ["x1 y1 c i c y2", "x2 y1 c i c y3", "x1 other", "x3 y3", "x2"].map(conversation).to_vec();
        assert_eq!(mix_with_source(&rows, source), expected);
    }

    #[test]
    fn the_first_of_equal_rows_stays() {
        assert_eq!(without_repeats([2, 1, 2, 3, 1]), [2, 1, 3]);
    }
}
