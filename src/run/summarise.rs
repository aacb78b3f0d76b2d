//! What a run came to: the summary for people, and the card of the data set.

use std::time::Duration;

use super::{RunOptions, models::Models};
use crate::{
    config::Settings,
    export::{CardFacts, OUTCOMES_PATH, REJECTS_PATH, Totals, card},
    intake::IntakeProgress,
    model::ModelTotals,
    observe::{Ending, GainTotals, InputTotals, ModelSummary, Places, ProcessTotals, StateTotals, Summary},
    stage::Written,
};

/// What a summary is made of.
pub(super) struct Facts<'a> {
    pub(super) settings: &'a Settings,
    pub(super) options: &'a RunOptions,
    pub(super) models: &'a Models,
    pub(super) written: &'a Written,
    pub(super) taken_in: IntakeProgress,
    pub(super) interrupted: bool,
    pub(super) elapsed: Duration,
}

pub(super) fn summary(facts: &Facts<'_>) -> Summary {
    let ending = if facts.interrupted {
        Ending::Interrupted { resume: facts.options.resume.clone() }
    } else {
        Ending::Finished
    };
    Summary {
        simulated: facts.options.simulate,
        ending,
        state: state(&facts.written.totals, facts.taken_in.threads),
        process: process(facts),
        places: places(facts.settings),
    }
}

fn state(written: &Totals, threads: u64) -> StateTotals {
    let gains = &written.gains;
    StateTotals {
        outcomes: written.outcomes.clone(),
        under_way: threads.saturating_sub(written.threads()),
        records: written.records.clone(),
        gains: GainTotals { compared: gains.compared, gained: gains.gained, sum: gains.sum, max: gains.max },
        rejects: written.rejects.clone(),
    }
}

fn process(facts: &Facts<'_>) -> ProcessTotals {
    let IntakeProgress { new, known, rejected, .. } = facts.taken_in;
    let reward = &facts.models.reward;
    let writers = facts.models.writers().map(|(role, chat)| model(role, chat.model(), chat.totals()));
    ProcessTotals {
        input: InputTotals { new, known, rejected },
        models: writers.chain([model("reward", reward.model(), reward.totals())]).collect(),
        ended: facts.written.totals.threads() - facts.written.ended_before,
        elapsed: facts.elapsed,
    }
}

fn model(role: &str, name: &str, totals: ModelTotals) -> ModelSummary {
    let ModelTotals { calls, retries, tries_used, cut_off, prompt_tokens, completion_tokens, .. } = totals;
    let (role, model) = (role.to_owned(), name.to_owned());
    ModelSummary { role, model, calls, retries, tries_used, cut_off, prompt_tokens, completion_tokens }
}

fn places(settings: &Settings) -> Places {
    let at = |path: &str| settings.out.join(path).display().to_string();
    let mut records = vec![("canonical".to_owned(), at("records/"))];
    records.extend(settings.formats.iter().map(|name| {
        let file = name.format().files().first().copied().unwrap_or_default();
        let folder = file.split('/').next().unwrap_or_default();
        (folder.to_owned(), at(&format!("{folder}/")))
    }));
    Places { records, outcomes: at(OUTCOMES_PATH), rejects: at(REJECTS_PATH) }
}

/// Writes the data set's card beside the records. A card that cannot be written is no reason to fail a run.
pub(super) fn write_card(settings: &Settings, models: &Models, totals: &Totals, is_simulated: bool) {
    let facts = CardFacts {
        recipes: vec![settings.recipe.name.clone()],
        generators: models.writers().map(|(_, model)| model.model().to_owned()).collect(),
        rewards: vec![models.reward.model().to_owned()],
        is_simulated,
    };
    let path = settings.out.join("README.md");
    if let Err(error) = std::fs::write(&path, card(totals, &facts)) {
        tracing::warn!(path = %path.display(), %error, "the data set card was not written");
    }
}
