//! The picture for people: one table of the stages, one of the workers.

use std::time::Duration;

use super::picture::{Picture, StagePicture, WorkerPicture, WorkerState};
use crate::terminal::text::{count, counted, duration, rate};

pub(super) fn render(picture: &Picture) -> String {
    let mut text = stages(picture);
    text.push('\n');
    text.push_str(&workers(&picture.workers));
    text.push_str(&letters(picture));
    if picture.nothing_left {
        text.push_str("\nNothing is left to do.\n");
    }
    for stage in picture.stages.iter().filter(|stage| stage.left > 0 && stage.workers == 0) {
        text.push_str(&format!(
            "\nNobody runs {0}: start a worker with `avr run --kafka … --stage {0}`.\n",
            stage.name
        ));
    }
    for stage in picture.stages.iter().filter(|stage| stage.parked > 0) {
        let threads = counted(stage.parked, "thread", "threads");
        text.push_str(&format!(
            "\n{threads} in {} follow a recipe that no worker of theirs has; the workers' logs say which.\n",
            stage.name
        ));
    }
    text
}

fn stages(picture: &Picture) -> String {
    let head = ["STAGE", "LEFT", "OLDEST", "DONE", "RATE", "WORKERS", "RUNNING", "WAITING", "HELD"];
    let rows = picture.stages.iter().map(stage);
    columns(std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect(), 1)
}

fn stage(stage: &StagePicture) -> Vec<String> {
    let bound = if stage.left_is_exact { "" } else { "≤ " };
    vec![
        stage.name.to_owned(),
        format!("{bound}{}", count(stage.left)),
        stage.oldest_seconds.map_or_else(|| "–".to_owned(), seconds),
        count(stage.done),
        rate(stage.per_second),
        count(stage.workers),
        count(stage.in_flight),
        count(stage.waiting),
        count(stage.parked),
    ]
}

fn workers(workers: &[WorkerPicture]) -> String {
    if workers.is_empty() {
        return "No worker was heard of.\n".to_owned();
    }
    let head = ["WORKER", "STATE", "HEARD", "VERSION", "STAGES"].map(str::to_owned).to_vec();
    let rows = workers.iter().map(|worker| {
        let state = match worker.state {
            WorkerState::Alive => "works",
            WorkerState::Stopping => "stopped",
            WorkerState::Silent => "SILENT",
        };
        let heard = format!("{} ago", seconds(worker.heard_seconds));
        vec![
            printable(&worker.name),
            state.to_owned(),
            heard,
            printable(&worker.version),
            printable(&worker.stages.join(" ")),
        ]
    });
    columns(std::iter::once(head).chain(rows).collect(), 5)
}

fn letters(picture: &Picture) -> String {
    if picture.dead_letters == 0 {
        return String::new();
    }
    let bound = if picture.dead_letters_are_exact { "" } else { "at most " };
    let kinds = picture
        .dead_letter_kinds
        .iter()
        .map(|(kind, number)| format!("  {:>11}  {}\n", count(*number), printable(kind)));
    format!(
        "\n{bound}{} not handled (avr dead-letters list)\n{}",
        counted(picture.dead_letters, "dead letter", "dead letters"),
        kinds.collect::<String>()
    )
}

fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}

/// Other processes' words; a terminal must not take orders from them.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// Rows in columns: the first `left` of them aligned to the left, the others to the right.
fn columns(rows: Vec<Vec<String>>, left: usize) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(
                |(at, (cell, width))| {
                    if at < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_at_work() {
        let stage = |name, left, workers| StagePicture {
            name,
            left,
            workers,
            left_is_exact: true,
            ..StagePicture::default()
        };
        let worker = |name: &str, state| WorkerPicture {
            name: name.into(),
            state,
            heard_seconds: 4,
            stages: vec!["draft".into(), "score".into()],
            version: "0.1.0".into(),
        };
        let picture = Picture {
            stages: vec![
                StagePicture {
                    left_is_exact: false,
                    oldest_seconds: Some(130),
                    done: 18_100,
                    per_second: 4.12,
                    in_flight: 64,
                    waiting: 12,
                    parked: 2,
                    ..stage("draft", 120_400, 2)
                },
                stage("score", 1, 0),
            ],
            workers: vec![worker("gpu1\u{1b}[2J", WorkerState::Alive), worker("gpu2", WorkerState::Silent)],
            dead_letters: 3,
            dead_letters_are_exact: true,
            dead_letter_kinds: [("draft: refused".to_owned(), 3)].into(),
            ..Picture::default()
        };
        let expected = "\
STAGE       LEFT  OLDEST    DONE   RATE  WORKERS  RUNNING  WAITING  HELD
draft  ≤ 120,400  2m 10s  18,100  4.1/s        2       64       12     2
score          1       –       0    0/s        0        0        0     0

WORKER   STATE   HEARD      VERSION  STAGES
gpu1[2J  works   4.0 s ago  0.1.0    draft score
gpu2     SILENT  4.0 s ago  0.1.0    draft score

3 dead letters not handled (avr dead-letters list)
            3  draft: refused

Nobody runs score: start a worker with `avr run --kafka … --stage score`.

2 threads in draft follow a recipe that no worker of theirs has; the workers' logs say which.
";
        assert_eq!(picture.text(), expected);
    }

    #[test]
    fn a_pipeline_at_rest() {
        let picture = Picture { nothing_left: true, ..Picture::default() };
        assert!(
            picture.text().ends_with("No worker was heard of.\n\nNothing is left to do.\n"),
            "{}",
            picture.text()
        );
    }
}
