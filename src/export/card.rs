//! The data set card: what is in the folder and how to load it, as Markdown that the Hugging Face hub reads.

use std::{collections::BTreeMap, fmt::Write};

use super::{FormatName, Totals};
use crate::record::OutcomeReason;

/// What a card tells that is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardFacts {
    /// The recipes, by name.
    pub recipes: Vec<String>,
    /// Whether the models were simulated, so that the texts are worth nothing for training.
    pub is_simulated: bool,
}

/// The first heading of every card, by which one is known.
pub const CARD_HEADING: &str = "# Alignment via refinement: training data";

/// The card of a folder that holds what `totals` count.
pub fn card(totals: &Totals, facts: &CardFacts) -> String {
    let mut text = front_matter(totals);
    text.push_str(&format!("\n{CARD_HEADING}\n\n"));
    if facts.is_simulated {
        text.push_str(
            "**Simulated models wrote these texts: good for trying things out, not for training.**\n\n",
        );
    }
    text.push_str(
        "A model answered each prompt, criticised its own answer and improved it; a reward model said whether the \
         improvement was one (AvR, arXiv 2506.06009).\n\n",
    );
    line(&mut text, format_args!("- Recipes: {}", list(facts.recipes.iter().map(|name| (name, "")))));
    for (what, counts) in [("Generators", &totals.models.writers), ("Reward models", &totals.models.rewards)]
    {
        models(&mut text, what, counts);
    }
    text.push_str(&counts(totals));
    text.push_str(&loading(totals));
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes every text");
}

/// The models of a role: where there are several, how many prompts owe their records to each.
fn models(text: &mut String, what: &str, counts: &BTreeMap<String, u64>) {
    if counts.is_empty() {
        return;
    }
    let shares: Vec<String> = match counts.len() {
        1 => vec![String::new()],
        _ => counts.values().map(|count| format!(" (records of {count} prompts)")).collect(),
    };
    let names = counts.keys().zip(shares.iter().map(String::as_str));
    line(text, format_args!("- {what}: {}", list(names)));
}

/// Names as code, without what would end the code or the line, each with what follows it.
fn list<'a>(names: impl Iterator<Item = (&'a String, &'a str)>) -> String {
    let code = |(name, after): (&String, &str)| format!("`{}`{after}", name.replace(['`', '\n', '\r'], " "));
    names.map(code).collect::<Vec<_>>().join(", ")
}

/// The data files with rows: the name and the path of each.
fn data_files(totals: &Totals) -> impl Iterator<Item = (&'static str, &'static str)> {
    let format = FormatName::LlamaFactory.format();
    let filled =
        |file: usize| totals.records.iter().any(|(kind, count)| *count > 0 && format.file_of(*kind) == file);
    let paths = format.files().iter().enumerate().filter(move |(file, _)| filled(*file));
    paths.map(|(_, path)| (path.trim_start_matches("llamafactory/avr_").trim_end_matches(".jsonl"), *path))
}

fn front_matter(totals: &Totals) -> String {
    let mut text = String::from("---\ntask_categories:\n- text-generation\n");
    let files: Vec<_> = data_files(totals).collect();
    if !files.is_empty() {
        text.push_str("configs:\n");
    }
    for (name, path) in files {
        line(&mut text, format_args!("- config_name: {name}\n  data_files: {path}"));
    }
    text + "---\n"
}

fn counts(totals: &Totals) -> String {
    let mut text = String::from("\n## Counts\n\n| what | how many |\n|---|---|\n");
    let mut row = |what: &str, count: u64| line(&mut text, format_args!("| {what} | {count} |"));
    row("prompts", totals.threads());
    let outcomes = totals.outcomes();
    for reason in OutcomeReason::all() {
        if let Some(count) = outcomes.get(&reason) {
            row(&format!("prompts: `{}`", reason.as_str()), *count);
        }
    }
    for (kind, count) in &totals.records {
        row(&format!("records: `{}`", kind.as_str()), *count);
    }
    row("lines of input not used", totals.all_rejects());
    row("answers cut off at a length limit", totals.cut_off);
    if let Some(mean) = totals.gains.mean() {
        let super::Gains { compared, gained, max, .. } = totals.gains;
        line(
            &mut text,
            format_args!(
                "\nOf {compared} answers with an improvement {gained} gained: {mean:.4} on average, {max:.4} at most, \
                 in units of the reward."
            ),
        );
    }
    text
}

fn loading(totals: &Totals) -> String {
    let mut text = String::from("\n## Loading\n\n");
    for (name, path) in data_files(totals) {
        let call = format!("load_dataset(\"json\", data_files=\"{path}\")");
        line(
            &mut text,
            format_args!(
                "- `{name}`: `{call}`; LLaMA-Factory: `dataset_dir: llamafactory`, `dataset: avr_{name}`"
            ),
        );
    }
    text + "- `records/sft.jsonl`, `records/pairs.jsonl`, `records/kto.jsonl`: the canonical records with rewards and provenance\n\
            - `outcomes.jsonl`: what every prompt came to, and why\n\
            - `rejects.jsonl`: lines of input that could not be used\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;

    #[test]
    fn only_files_with_rows_are_offered() {
        let mut totals = Totals::default();
        assert!(!card(&totals, &CardFacts::default()).contains("configs:"));
        totals.records.insert(RecordKind::ResponsePair, 3);
        let text = card(&totals, &CardFacts::default());
        assert!(text.starts_with(
            "---\ntask_categories:\n- text-generation\nconfigs:\n- config_name: pairs\n  \
             data_files: llamafactory/avr_pairs.jsonl\n---\n"
        ));
        assert!(text.contains("| records: `response_pair` | 3 |"));
        assert!(!text.contains("avr_sft"));
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let mut totals = Totals::default();
        totals.models.writers.insert("a`\n# b".into(), 2);
        let facts = CardFacts { is_simulated: true, ..CardFacts::default() };
        let text = card(&totals, &facts);
        assert!(text.contains("- Generators: `a  # b`\n") && !text.contains("Reward models"));
        assert!(text.contains("Simulated models"));
    }

    #[test]
    fn all_models_behind_the_records_are_named() {
        let mut totals = Totals::default();
        totals.models.writers =
            [("new", 3), ("old", 40)].map(|(name, count)| (name.to_owned(), count)).into();
        let text = card(&totals, &CardFacts::default());
        assert!(
            text.contains("- Generators: `new` (records of 3 prompts), `old` (records of 40 prompts)\n"),
            "{text}"
        );
    }
}
