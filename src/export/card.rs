//! The data set card: what is in the folder and how to load it, as Markdown that the Hugging Face hub reads.

use std::fmt::Write;

use super::{FormatName, Totals};
use crate::record::Verdict;

/// What a card tells that is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardFacts {
    /// The recipes, by name.
    pub recipes: Vec<String>,
    /// The models that wrote the texts.
    pub generators: Vec<String>,
    /// The models that scored them.
    pub rewards: Vec<String>,
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
    for (what, names) in
        [("Recipes", &facts.recipes), ("Generators", &facts.generators), ("Reward models", &facts.rewards)]
    {
        line(&mut text, format_args!("- {what}: {}", list(names)));
    }
    text.push_str(&counts(totals));
    text.push_str(&loading(totals));
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes every text");
}

/// Names as code, without what would end the code or the line.
fn list(names: &[String]) -> String {
    let code = |name: &String| format!("`{}`", name.replace(['`', '\n', '\r'], " "));
    names.iter().map(code).collect::<Vec<_>>().join(", ")
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
    for verdict in Verdict::ALL {
        if let Some(count) = outcomes.get(&verdict) {
            row(&format!("prompts: `{}`", verdict.as_str()), *count);
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
    text + "- `records/sft.jsonl`, `records/pairs.jsonl`: the canonical records with rewards and provenance\n\
            - `outcomes.jsonl`: what every prompt came to, and why\n\
            - `rejects.jsonl`: lines of input that could not be used\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    #[test]
    fn only_files_with_rows_are_offered() {
        let mut totals = Totals::default();
        assert!(!card(&totals, &CardFacts::default()).contains("configs:"));
        totals.records.insert(Kind::ResponsePair, 3);
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
        let facts =
            CardFacts { generators: vec!["a`\n# b".into()], is_simulated: true, ..CardFacts::default() };
        let text = card(&Totals::default(), &facts);
        assert!(text.contains("- Generators: `a  # b`\n"));
        assert!(text.contains("Simulated models"));
    }
}
