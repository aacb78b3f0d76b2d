//! How far a cluster's pipeline is, as `avr status` shows it: one table of the stages, one of the workers.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    Report,
    page::Page,
    table::{
        Align::{Left, Right},
        aligned, table,
    },
    text::{count, counted, duration, rate},
};

/// A pipeline as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Picture {
    /// Whether nothing is left to do in any stage.
    pub nothing_left: bool,
    /// Every stage, in the order of the flow.
    pub stages: Vec<StagePicture>,
    /// Every worker that was heard of lately.
    pub workers: Vec<WorkerPicture>,
    /// Dead letters that nobody has handled.
    pub dead_letters: u64,
    /// Whether they were counted; else there are at most so many.
    pub dead_letters_are_exact: bool,
    /// How many of each kind, as `stage: kind`.
    pub dead_letter_kinds: BTreeMap<String, u64>,
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StagePicture {
    /// Its name.
    pub name: &'static str,
    /// Records that it has not done.
    pub left: u64,
    /// Whether they were counted; else there are at most so many.
    pub left_is_exact: bool,
    /// How long the oldest of them has been there, in seconds.
    pub oldest_seconds: Option<u64>,
    /// Offsets that it has done, over all time.
    pub done: u64,
    /// Of those, how many a second.
    pub per_second: f64,
    /// Workers that run it and are heard of.
    pub workers: u64,
    /// Steps that run.
    pub in_flight: u64,
    /// Records fetched and waiting.
    pub waiting: u64,
    /// Threads left alone, because they follow another recipe than the worker.
    pub parked: u64,
}

/// Whether a worker is heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It works.
    #[default]
    Alive,
    /// It was told to stop.
    Stopping,
    /// It has said nothing for longer than it should.
    Silent,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerPicture {
    /// Its name.
    pub name: String,
    /// Whether it is heard of.
    pub state: WorkerState,
    /// How long ago it said how it is, in seconds.
    pub heard_seconds: u64,
    /// Its stages.
    pub stages: Vec<String>,
    /// The program's version.
    pub version: String,
}

impl Report for Picture {
    fn text(&self) -> String {
        let mut page = Page::default();
        page.lines(&stages(&self.stages));
        page.gap();
        page.lines(&workers(&self.workers));
        if self.dead_letters > 0 {
            dead_letters(&mut page, self);
        }
        if self.nothing_left {
            page.heading("Nothing is left to do.");
        }
        for StagePicture { name, .. } in
            self.stages.iter().filter(|stage| stage.left > 0 && stage.workers == 0)
        {
            page.heading(&format!(
                "Nobody runs {name}: start a worker with `avr run --kafka … --stage {name}`."
            ));
        }
        for stage in self.stages.iter().filter(|stage| stage.parked > 0) {
            let threads = counted(stage.parked, "thread", "threads");
            page.heading(&format!(
                "{threads} in {} follow a recipe that no worker of theirs has; the workers' logs say which.",
                stage.name
            ));
        }
        page.into_text()
    }
}

fn stages(stages: &[StagePicture]) -> String {
    let row = |stage: &StagePicture| {
        let bound = if stage.left_is_exact { "" } else { "≤ " };
        [
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
    };
    let head = [
        ("STAGE", Left),
        ("LEFT", Right),
        ("OLDEST", Right),
        ("DONE", Right),
        ("RATE", Right),
        ("WORKERS", Right),
        ("RUNNING", Right),
        ("WAITING", Right),
        ("PARKED", Right),
    ];
    aligned(head, &stages.iter().map(row).collect::<Vec<_>>())
}

fn workers(workers: &[WorkerPicture]) -> String {
    if workers.is_empty() {
        return "No worker was heard of.\n".to_owned();
    }
    let row = |worker: &WorkerPicture| {
        let state = match worker.state {
            WorkerState::Alive => "works",
            WorkerState::Stopping => "stopped",
            WorkerState::Silent => "SILENT",
        };
        let heard = format!("{} ago", seconds(worker.heard_seconds));
        [worker.name.clone(), state.to_owned(), heard, worker.version.clone(), worker.stages.join(" ")]
    };
    table(["WORKER", "STATE", "HEARD", "VERSION", "STAGES"], &workers.iter().map(row).collect::<Vec<_>>())
}

fn dead_letters(page: &mut Page, picture: &Picture) {
    let bound = if picture.dead_letters_are_exact { "" } else { "at most " };
    let letters = counted(picture.dead_letters, "dead letter", "dead letters");
    page.heading(&format!("{bound}{letters} not handled (avr dead-letters list)"));
    for (kind, number) in &picture.dead_letter_kinds {
        page.number(*number, kind);
    }
}

fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
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
STAGE       LEFT  OLDEST    DONE   RATE  WORKERS  RUNNING  WAITING  PARKED
draft  ≤ 120,400  2m 10s  18,100  4.1/s        2       64       12       2
score          1       –       0    0/s        0        0        0       0

WORKER    STATE   HEARD      VERSION  STAGES
gpu1�[2J  works   4.0 s ago  0.1.0    draft score
gpu2      SILENT  4.0 s ago  0.1.0    draft score

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
