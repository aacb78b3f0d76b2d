//! What a run came to: the summary for people, and the card of the data set.

use std::{path::Path, time::Duration};

use crate::{
    app::ModelClients,
    command::args::command_line,
    config::Settings,
    engine::{StageStatus, Status},
    export::Written,
    export::{
        CARD_HEADING, CardFacts, MODEL_OUTPUT_LINES_PATH, MODEL_OUTPUTS_PATH, OUTCOMES_PATH, REJECTS_PATH,
        Totals, card, write_model_outputs,
    },
    intake::IntakeProgress,
    model::ModelTotals,
    stage::Role,
    terminal::{
        Ending, InputTotals, ModelSummary, Places, ProcessTotals, StageSummary, StateTotals, Summary,
        WorkerSummary,
    },
};

/// What a summary is made of.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) models: &'a ModelClients,
    pub(super) written: &'a Written,
    pub(super) taken_in: IntakeProgress,
    pub(super) is_simulated: bool,
    pub(super) interrupted: bool,
    pub(super) elapsed: Duration,
}

pub(super) fn summary(facts: &Facts<'_>) -> Summary {
    let ending = if facts.interrupted {
        Ending::Interrupted { resume: command_line(std::env::args_os()) }
    } else {
        Ending::Finished
    };
    Summary {
        simulated: facts.is_simulated,
        ending,
        state: state(&facts.written.totals, facts.taken_in.threads),
        process: process(facts),
        places: places(facts.settings, &facts.written.totals),
    }
}

fn state(written: &Totals, threads: u64) -> StateTotals {
    StateTotals {
        outcomes: written.outcomes(),
        under_way: threads.saturating_sub(written.threads()),
        records: written.records.clone(),
        gains: written.gains,
        outputs: written.outputs,
        rejects: written.rejects.clone(),
    }
}

fn process(facts: &Facts<'_>) -> ProcessTotals {
    let IntakeProgress { new, known, rejected, .. } = facts.taken_in;
    ProcessTotals {
        input: InputTotals { new, known, rejected },
        models: asked(facts.models),
        ended: facts.written.totals.threads().saturating_sub(facts.written.ended_before),
        elapsed: facts.elapsed,
    }
}

/// What was asked of each model.
pub(super) fn asked(models: &ModelClients) -> Vec<ModelSummary> {
    let reward = models.asked.reward.iter();
    let reward = reward.map(|reward| model(Role::Reward, reward.model(), reward.totals()));
    let writers = models.writers().map(|(role, chat)| model(role, chat.model(), chat.totals()));
    writers.chain(reward).collect()
}

fn model(role: Role, name: &str, totals: ModelTotals) -> ModelSummary {
    ModelSummary { role: role.as_str().to_owned(), model: name.to_owned(), totals }
}

/// The summary of a replay: no model was asked and nothing came in.
pub(crate) fn replay_summary(
    settings: &Settings,
    totals: &Totals,
    simulated: bool,
    ending: Ending,
    elapsed: Duration,
) -> Summary {
    let process = ProcessTotals { ended: totals.threads(), elapsed, ..ProcessTotals::default() };
    Summary {
        simulated,
        ending,
        state: state(totals, totals.threads()),
        process,
        places: places(settings, totals),
    }
}

fn places(settings: &Settings, totals: &Totals) -> Places {
    let at = |path: &str| settings.out.join(path).display().to_string();
    let mut records = vec![("canonical".to_owned(), at("records/"))];
    records.extend(settings.formats.iter().map(|name| {
        let file = name.format().files().first().copied().unwrap_or_default();
        let folder = file.split('/').next().unwrap_or_default();
        (folder.to_owned(), at(&format!("{folder}/")))
    }));
    if totals.outputs.count > 0 {
        records.push(("for alpaca_eval".to_owned(), at(MODEL_OUTPUTS_PATH)));
    }
    Places { records, outcomes: at(OUTCOMES_PATH), rejects: at(REJECTS_PATH) }
}

/// Writes the answers to a test as one array, where there are any.
pub(crate) fn write_outputs(settings: &Settings, totals: &Totals) {
    if totals.outputs.count == 0 {
        return;
    }
    if let Err(error) = write_model_outputs(&settings.out) {
        tracing::warn!(%error, "the array of answers was not written; its lines are safe in {MODEL_OUTPUT_LINES_PATH}");
    }
}

/// Writes the data set's card beside the records. A card that cannot be written is no reason to fail a run.
pub(crate) fn write_card(settings: &Settings, totals: &Totals, is_simulated: bool) {
    let facts = CardFacts { recipes: vec![settings.recipe.name.clone()], is_simulated };
    let path = settings.out.join("README.md");
    if let Err(error) = replace_card(&path, &card(totals, &facts)) {
        tracing::warn!(path = %path.display(), %error, "the data set card was not written");
    }
}

/// Writes the card where there is none, or an earlier one: a file that somebody else wrote is left alone.
fn replace_card(path: &Path, card: &str) -> std::io::Result<()> {
    match std::fs::read_to_string(path) {
        Ok(before) if !before.contains(CARD_HEADING) => {
            return Err(std::io::Error::other("a README.md that is not ours is there"));
        }
        _ => {}
    }
    let draft = path.with_extension("md.new");
    std::fs::write(&draft, card)?;
    std::fs::rename(draft, path)
}

/// What a worker did.
pub(super) fn worker(
    worker: &str,
    status: &Status,
    models: &ModelClients,
    is_simulated: bool,
    elapsed: Duration,
) -> WorkerSummary {
    let stage = |stage: &StageStatus| StageSummary {
        name: stage.name,
        steps: stage.steps,
        dead_letters: stage.dead_letters,
        parked: stage.parked as u64,
    };
    WorkerSummary {
        simulated: is_simulated,
        worker: worker.to_owned(),
        stages: status.stages.iter().map(stage).collect(),
        models: asked(models),
        elapsed,
    }
}
