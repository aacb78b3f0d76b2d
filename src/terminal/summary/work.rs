//! What a worker and a submit came to.

use std::time::Duration;

use serde::Serialize;

use super::{
    InputTotals, ModelSummary, as_seconds,
    text::{SIMULATED, model},
};
use crate::terminal::{
    Report,
    page::Page,
    text::{counted, duration},
};

/// What a worker did until it was told to stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkerSummary {
    /// Whether the models were simulated.
    pub simulated: bool,
    /// The worker's name.
    pub worker: String,
    /// What each of its stages did.
    pub stages: Vec<StageSummary>,
    /// What was asked of each model.
    pub models: Vec<ModelSummary>,
    /// How long it ran, in seconds.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

/// What one stage of a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StageSummary {
    /// The stage's name.
    pub name: &'static str,
    /// Steps that were committed.
    pub steps: u64,
    /// Steps that ended in a dead letter.
    pub dead_letters: u64,
    /// Threads left to others at the end, because their recipe is not this worker's.
    pub parked: u64,
}

impl Report for WorkerSummary {
    fn text(&self) -> String {
        let mut page = Page::default();
        let time = duration(self.elapsed);
        page.line(&format!("Worker {} stopped after {time}; what it did is committed.", self.worker));
        if self.simulated {
            page.line(SIMULATED);
        }
        page.heading("Steps of this worker");
        for stage in &self.stages {
            page.number(stage.steps, stage.name);
            if stage.dead_letters > 0 {
                page.part(stage.dead_letters, "dead letters");
            }
            if stage.parked > 0 {
                page.part(stage.parked, "threads of another recipe, left to other workers");
            }
        }
        if !self.models.is_empty() {
            page.heading("Models");
            self.models.iter().for_each(|totals| model(&mut page, totals));
        }
        page.into_text()
    }
}

/// What a submit came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SubmitSummary {
    /// Whether it was told to stop before the input had ended.
    pub interrupted: bool,
    /// What came in.
    pub input: InputTotals,
    /// Threads taken in over all time, by every submit.
    pub threads: u64,
    /// Lines of input that could not be used, over all time.
    pub rejects: u64,
    /// How long it took, in seconds.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

impl Report for SubmitSummary {
    fn text(&self) -> String {
        let mut page = Page::default();
        let time = duration(self.elapsed);
        match self.interrupted {
            false => page.line(&format!("Submitted in {time}.")),
            true => page.line(&format!(
                "Stopped after {time}, before the end of the input; the same command carries on and makes nothing twice."
            )),
        }
        page.gap();
        page.number(self.input.new, "new prompts");
        page.number(self.input.known, "prompts known from before, passed over");
        let rejected = self.input.rejected;
        page.number(rejected, "lines of input that could not be used");
        if rejected > 0 {
            let lines = counted(rejected, "line", "lines");
            page.line(&format!(
                "  The exporter writes them, with the reasons, to rejects.jsonl: mend {lines}."
            ));
        }
        page.heading(&format!(
            "The pipeline has taken in {} so far.",
            counted(self.threads, "prompt", "prompts")
        ));
        page.into_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelTotals;

    #[test]
    fn a_worker_tells_what_it_did_and_nothing_of_the_whole() {
        let stage =
            |name, steps, dead_letters| StageSummary { name, steps, dead_letters, parked: dead_letters };
        let summary = WorkerSummary {
            simulated: true,
            worker: "gpu1".into(),
            stages: vec![stage("draft", 1200, 0), stage("critique", 90, 3)],
            models: vec![ModelSummary {
                role: "generator".into(),
                model: "simulated-chat".into(),
                totals: ModelTotals { calls: 1400, ..ModelTotals::default() },
            }],
            elapsed: Duration::from_secs(75),
        };
        let expected = "\
Worker gpu1 stopped after 1m 15s; what it did is committed.
The models were SIMULATED: the records show the shape of things and teach nothing.

Steps of this worker
        1,200  draft
           90  critique
                3  dead letters
                3  threads of another recipe, left to other workers

Models
  generator simulated-chat
        1,400  calls, 0 retries
";
        assert_eq!(summary.text(), expected);
        let json: serde_json::Value = serde_json::from_str(&summary.json()).expect("JSON");
        assert_eq!((&json["stages"][1]["dead_letters"], &json["elapsed_seconds"]), (&3.into(), &75.0.into()));
    }

    #[test]
    fn a_submit_tells_what_came_of_its_input() {
        let summary = SubmitSummary {
            input: InputTotals { new: 3, known: 1, rejected: 1 },
            threads: 1,
            elapsed: Duration::from_secs(2),
            ..SubmitSummary::default()
        };
        let expected = "\
Submitted in 2.0 s.

            3  new prompts
            1  prompts known from before, passed over
            1  lines of input that could not be used
  The exporter writes them, with the reasons, to rejects.jsonl: mend 1 line.

The pipeline has taken in 1 prompt so far.
";
        assert_eq!(summary.text(), expected);
        assert!(
            SubmitSummary { interrupted: true, ..summary }.text().contains("the same command carries on")
        );
    }
}
