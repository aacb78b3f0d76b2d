//! The summary for people.

use super::{Ending, ModelSummary, ProcessTotals, SourceTotals, StateTotals, Summary};
use crate::{
    export::Gains,
    record::{OutcomeReason, RecordKind},
    terminal::{
        page::Page,
        text::{count, counted, duration, rate, share},
    },
};

/// What to do after a look at simulated models.
const REAL_MODELS: &str =
    "Ask real models: avr run --generator URL --generator-model M --reward URL --reward-model M FILE";

/// What must be said wherever simulated models took part.
pub(super) const SIMULATED: &str =
    "The models were SIMULATED: the records show the shape of things and teach nothing.";

/// The whole page.
pub(super) fn render(summary: &Summary) -> String {
    let mut page = Page::default();
    opening(&mut page, summary);
    threads(&mut page, summary);
    records(&mut page, summary);
    match &summary.ending {
        Ending::Replayed { source, .. } => replayed(&mut page, source),
        _ => process(&mut page, &summary.process),
    }
    places(&mut page, summary);
    next_steps(&mut page, summary);
    page.into_text()
}

fn opening(page: &mut Page, summary: &Summary) {
    let time = duration(summary.process.elapsed);
    match summary.ending {
        Ending::Finished => page.line(&format!("Finished in {time}: every prompt is accounted for.")),
        Ending::Interrupted { .. } => {
            page.line(&format!("Stopped after {time}, before everything was done; what is done is safe."));
        }
        Ending::Replayed { interrupted: false, .. } => {
            page.line(&format!("Selected again in {time}, without a call to a model."));
        }
        Ending::Replayed { interrupted: true, .. } => {
            page.line(&format!("Stopped after {time}, before all threads were gone through."));
        }
    }
    if summary.simulated {
        page.line(SIMULATED);
    }
}

/// Whose numbers a heading is over.
fn scope(summary: &Summary) -> &'static str {
    match summary.ending {
        Ending::Replayed { .. } => "of this replay",
        _ => "of all runs on this state",
    }
}

fn threads(page: &mut Page, summary: &Summary) {
    let state = &summary.state;
    page.heading(&format!("Threads ({})", scope(summary)));
    let ended = state.ended();
    let part = |number| share(number, ended);
    let selected = state.threads(OutcomeReason::Selected);
    page.number(selected, &format!("selected ({}): gave at least one record", part(selected)));
    page.number(state.not_selected(), &format!("not selected ({})", part(state.not_selected())));
    for (reason, number) in reasons(state) {
        page.part(number, &format!("{} ({})", phrase(reason), reason.as_str()));
    }
    let dead = state.threads(OutcomeReason::DeadLetter);
    page.number(dead, &format!("dead letters ({}): a stage could not handle them", part(dead)));
    if state.under_way > 0 {
        page.number(state.under_way, "still under way");
    }
}

/// The reasons why threads were not selected, and how many each.
fn reasons(state: &StateTotals) -> impl Iterator<Item = (OutcomeReason, u64)> {
    let reasons =
        OutcomeReason::all().filter(|v| !matches!(v, OutcomeReason::Selected | OutcomeReason::DeadLetter));
    reasons.map(|reason| (reason, state.threads(reason))).filter(|(_, number)| *number > 0)
}

/// A reason in words.
fn phrase(reason: OutcomeReason) -> &'static str {
    match reason {
        OutcomeReason::Selected => "it gave at least one record",
        OutcomeReason::NoAnswer => "there is no answer to refine",
        OutcomeReason::NoCritique => "every critique was given up",
        OutcomeReason::NoImprovement => "no improvement came back",
        OutcomeReason::NoAnswerReward => "the answer has no reward",
        OutcomeReason::NoImprovementReward => "no improvement has a reward",
        OutcomeReason::NoGain => "no improvement is better than the answer",
        OutcomeReason::TooLong => "the best improvement is too long for a record",
        OutcomeReason::RedundantAnswer => "the answer repeats itself",
        OutcomeReason::RedundantImprovement => "the improvement repeats itself",
        OutcomeReason::RedundantCritique => "the critique repeats itself",
        OutcomeReason::NoCritiqueContrast => "the critiques led to equally much",
        OutcomeReason::WeakBestCritique => "the best critique's improvements fall short of the answer",
        OutcomeReason::NoImprovementContrast => "the improvements of the best critique are equally good",
        OutcomeReason::RejectedEqualsAnswer => "the lesser improvement is just as good as the answer",
        OutcomeReason::NoEnding => "no failed round follows the last gain",
        OutcomeReason::NoFinalAnswer => "no long answer came with a final answer",
        OutcomeReason::SmallGain => "the gain is below the recipe's threshold",
        OutcomeReason::SmallMargin => "the sides are closer than the recipe's threshold",
        OutcomeReason::NoVerdict => "the drafts were not compared with a verdict",
        OutcomeReason::VerdictsDisagree => "the verdict changes when the drafts change places",
        OutcomeReason::OverLimit => "other pairs have larger margins, and no more are taken",
        OutcomeReason::DeadLetter => "a stage could not handle it",
    }
}

fn records(page: &mut Page, summary: &Summary) {
    let state = &summary.state;
    if state.outputs.count > 0 && state.records.is_empty() {
        return outputs(page, summary);
    }
    page.heading(&format!("Records ({})", scope(summary)));
    for (kind, number) in &state.records {
        page.number(*number, &format!("{} ({})", describe(*kind), kind.as_str()));
    }
    if state.records.is_empty() {
        page.number(0, "records");
    }
    page.line(&format!("  {}", gains(&state.gains)));
}

fn outputs(page: &mut Page, summary: &Summary) {
    let state = &summary.state;
    page.heading(&format!("Answers to the test ({})", scope(summary)));
    page.number(state.outputs.count, "answers");
    page.number(state.outputs.mean_chars(), "characters an answer, on average");
    page.number(state.threads(OutcomeReason::NoFinalAnswer), "instructions without a final answer, left out");
}

fn describe(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Sft => "fine-tuning conversations",
        RecordKind::ResponsePair => "pairs: improvement over answer",
        RecordKind::CritiquePair => "pairs: better over worse critique",
        RecordKind::ImprovementPair => "pairs: better over worse improvement",
        RecordKind::LongSft => "fine-tuning on long answers that refine themselves",
        RecordKind::LongPair => "pairs: better over worse long answer",
        RecordKind::FusionPair => "pairs: fused answer over a draft",
        RecordKind::Kto => "labelled answers",
        RecordKind::RewardPair => "pairs for a reward model",
    }
}

fn gains(gains: &Gains) -> String {
    let Some(mean) = gains.mean() else {
        return format!(
            "No improvement gained over its answer ({} compared).",
            counted(gains.compared, "thread", "threads")
        );
    };
    format!(
        "The best improvement gained in {} of {} threads ({}), by {mean:.3} on average, {:.3} at most.",
        count(gains.gained),
        count(gains.compared),
        share(gains.gained, gains.compared),
        gains.max
    )
}

fn replayed(page: &mut Page, source: &SourceTotals) {
    page.heading(&format!("Source {}", source.name));
    page.number(source.taken_in, "threads taken in");
    if let Some(outcomes) = source.outcomes {
        page.number(outcomes, "threads ended, whatever they came to");
    }
    page.number(source.kept, "finished threads kept, and selected from here");
    let others = [
        (source.unreadable, "finished threads that cannot be read (see the log)"),
        (source.of_other_recipes, "finished threads of other recipes, passed over"),
        (source.again, "finished threads that were there more than once, counted once"),
    ];
    for (number, what) in others.into_iter().filter(|(number, _)| *number > 0) {
        page.number(number, what);
    }
    page.line("  Threads that ended as dead letters before they were scored are not among the finished.");
}

fn process(page: &mut Page, process: &ProcessTotals) {
    page.heading("This process");
    page.number(process.input.new, "new prompts");
    page.number(process.input.known, "prompts known from before, passed over");
    page.number(process.input.rejected, "lines of input that could not be used");
    let seconds = process.elapsed.as_secs_f64();
    let per_second = if seconds > 0.0 { process.ended as f64 / seconds } else { 0.0 };
    page.number(process.ended, &format!("threads ended, {}", rate(per_second)));
    process.models.iter().for_each(|totals| model(page, totals));
}

pub(super) fn model(page: &mut Page, ModelSummary { role, model, totals }: &ModelSummary) {
    page.line(&format!("  {role} {model}"));
    page.number(totals.calls, &format!("calls, {}", counted(totals.retries, "retry", "retries")));
    let tokens = [totals.prompt_tokens, totals.completion_tokens];
    if tokens != [0, 0] {
        page.number(tokens[0], &format!("tokens in, {} out", count(tokens[1])));
    }
    if totals.tries_used > 0 {
        page.number(totals.tries_used, "tries used up by unusable answers and refusals");
    }
    if totals.cut_off > 0 {
        page.number(totals.cut_off, "answers cut off at a length limit (marked in records made of them)");
    }
}

fn places(page: &mut Page, summary: &Summary) {
    page.heading("Files");
    let outcomes = [("one line for each thread".to_owned(), summary.places.outcomes.clone())];
    let places: Vec<_> = summary.places.records.iter().chain(&outcomes).collect();
    let width = places.iter().map(|(_, place)| place.chars().count()).max().unwrap_or(0);
    for (what, place) in places {
        page.line(&format!("  {place:<width$}  {what}"));
    }
}

fn next_steps(page: &mut Page, summary: &Summary) {
    let steps: Vec<String> = [
        resume(summary),
        rejects(summary),
        dead_letters(summary),
        summary.simulated.then(|| REAL_MODELS.to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !steps.is_empty() {
        page.heading("Next");
        steps.iter().for_each(|step| page.line(&format!("  {step}")));
    }
}

fn resume(summary: &Summary) -> Option<String> {
    match &summary.ending {
        Ending::Finished | Ending::Replayed { interrupted: false, .. } => None,
        Ending::Replayed { .. } => Some("Run the same command again: it begins afresh.".to_owned()),
        Ending::Interrupted { resume } => Some(format!("Carry on where it stopped: {resume}")),
    }
}

fn rejects(summary: &Summary) -> Option<String> {
    let rejects: u64 = summary.state.rejects.values().sum();
    let (reason, _) = summary.state.rejects.iter().max_by_key(|(_, number)| **number)?;
    let lines = counted(rejects, "line", "lines");
    (rejects > 0).then(|| {
        format!("Mend {lines} of input that could not be used (mostly {reason}): {}", summary.places.rejects)
    })
}

fn dead_letters(summary: &Summary) -> Option<String> {
    let dead = summary.state.threads(OutcomeReason::DeadLetter);
    (dead > 0).then(|| {
        format!("See what went wrong with the dead letters: grep dead_letter {}", summary.places.outcomes)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::super::*;
    use crate::{
        export::{Gains, Outputs},
        model::ModelTotals,
        terminal::Report as _,
    };

    fn places() -> Places {
        Places {
            records: vec![
                ("for LLaMA-Factory, with dataset_info.json".into(), "out/llamafactory".into()),
                ("canonical records with provenance".into(), "out/records".into()),
            ],
            outcomes: "out/outcomes.jsonl".into(),
            rejects: "out/rejects.jsonl".into(),
        }
    }

    fn models() -> Vec<ModelSummary> {
        let generator = ModelSummary {
            role: "generator".into(),
            model: "meta-llama/Meta-Llama-3-8B-Instruct".into(),
            totals: ModelTotals {
                calls: 5641,
                retries: 1,
                tries_used: 31,
                cut_off: 6,
                prompt_tokens: 3_201_332,
                completion_tokens: 1_577_800,
                ..ModelTotals::default()
            },
        };
        let reward = ModelSummary {
            role: "reward".into(),
            model: "RLHFlow/ArmoRM\u{1b}[2J".into(),
            totals: ModelTotals { calls: 4025, ..ModelTotals::default() },
        };
        vec![generator, reward]
    }

    #[test]
    fn an_interrupted_simulated_run_with_everything_in_it() {
        let outcomes = [
            (OutcomeReason::Selected, 412),
            (OutcomeReason::NoGain, 1380),
            (OutcomeReason::TooLong, 90),
            (OutcomeReason::DeadLetter, 13),
        ];
        let records =
            [(RecordKind::Sft, 402), (RecordKind::ResponsePair, 410), (RecordKind::CritiquePair, 288)];
        let summary = Summary {
            simulated: true,
            ending: Ending::Interrupted { resume: "avr run --simulate prompts.jsonl".into() },
            state: StateTotals {
                outcomes: BTreeMap::from(outcomes),
                under_way: 7,
                records: BTreeMap::from(records),
                gains: Gains { compared: 1880, gained: 502, sum: 215.86, max: 2.1 },
                rejects: BTreeMap::from([("empty_prompt".into(), 3), ("not_json".into(), 1)]),
                outputs: Outputs::default(),
            },
            process: ProcessTotals {
                input: InputTotals { new: 1900, known: 2, rejected: 4 },
                models: models(),
                ended: 1800,
                elapsed: Duration::from_secs(723),
            },
            places: places(),
        };
        let expected = "\
Stopped after 12m 03s, before everything was done; what is done is safe.
The models were SIMULATED: the records show the shape of things and teach nothing.

Threads (of all runs on this state)
          412  selected (21.7 %): gave at least one record
        1,470  not selected (77.6 %)
            1,380  no improvement is better than the answer (no_gain)
               90  the best improvement is too long for a record (too_long)
           13  dead letters (0.7 %): a stage could not handle them
            7  still under way

Records (of all runs on this state)
          402  fine-tuning conversations (sft)
          410  pairs: improvement over answer (response_pair)
          288  pairs: better over worse critique (critique_pair)
  The best improvement gained in 502 of 1,880 threads (26.7 %), by 0.430 on average, 2.100 at most.

This process
        1,900  new prompts
            2  prompts known from before, passed over
            4  lines of input that could not be used
        1,800  threads ended, 2.5/s
  generator meta-llama/Meta-Llama-3-8B-Instruct
        5,641  calls, 1 retry
    3,201,332  tokens in, 1,577,800 out
           31  tries used up by unusable answers and refusals
            6  answers cut off at a length limit (marked in records made of them)
  reward RLHFlow/ArmoRM�[2J
        4,025  calls, 0 retries

Files
  out/llamafactory    for LLaMA-Factory, with dataset_info.json
  out/records         canonical records with provenance
  out/outcomes.jsonl  one line for each thread

Next
  Carry on where it stopped: avr run --simulate prompts.jsonl
  Mend 4 lines of input that could not be used (mostly empty_prompt): out/rejects.jsonl
  See what went wrong with the dead letters: grep dead_letter out/outcomes.jsonl
  Ask real models: avr run --generator URL --generator-model M --reward URL --reward-model M FILE
";
        assert_eq!(summary.text(), expected);
    }

    #[test]
    fn every_line_fits_100_columns_up_to_a_billion_threads() {
        let most = 999_999_999;
        let mut summary = Summary { simulated: true, places: places(), ..Summary::default() };
        summary.state.outcomes = OutcomeReason::all().map(|reason| (reason, most)).collect();
        summary.state.records = RecordKind::all().map(|kind| (kind, most)).collect();
        summary.process.models = models();
        for line in summary.text().lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn a_run_that_had_nothing_to_do() {
        let summary = Summary { places: places(), ..Summary::default() };
        let expected = "\
Finished in 0.0 s: every prompt is accounted for.

Threads (of all runs on this state)
            0  selected (0.0 %): gave at least one record
            0  not selected (0.0 %)
            0  dead letters (0.0 %): a stage could not handle them

Records (of all runs on this state)
            0  records
  No improvement gained over its answer (0 threads compared).

This process
            0  new prompts
            0  prompts known from before, passed over
            0  lines of input that could not be used
            0  threads ended, 0/s

Files
  out/llamafactory    for LLaMA-Factory, with dataset_info.json
  out/records         canonical records with provenance
  out/outcomes.jsonl  one line for each thread
";
        assert_eq!(summary.text(), expected);
    }

    #[test]
    fn a_replay_tells_of_its_source_instead_of_a_process() {
        let source = SourceTotals {
            name: "out".into(),
            taken_in: 805,
            outcomes: Some(805),
            kept: 803,
            unreadable: 0,
            of_other_recipes: 0,
            again: 1,
        };
        let mut summary = Summary { places: places(), ..Summary::default() };
        summary.ending = Ending::Replayed { source, interrupted: false };
        summary.state.outcomes =
            BTreeMap::from([(OutcomeReason::Selected, 800), (OutcomeReason::SmallMargin, 3)]);
        summary.state.records = BTreeMap::from([(RecordKind::Kto, 3000)]);
        let expected = "\
Selected again in 0.0 s, without a call to a model.

Threads (of this replay)
          800  selected (99.6 %): gave at least one record
            3  not selected (0.4 %)
                3  the sides are closer than the recipe's threshold (small_margin)
            0  dead letters (0.0 %): a stage could not handle them

Records (of this replay)
        3,000  labelled answers (kto)
  No improvement gained over its answer (0 threads compared).

Source out
          805  threads taken in
          805  threads ended, whatever they came to
          803  finished threads kept, and selected from here
            1  finished threads that were there more than once, counted once
  Threads that ended as dead letters before they were scored are not among the finished.

Files
  out/llamafactory    for LLaMA-Factory, with dataset_info.json
  out/records         canonical records with provenance
  out/outcomes.jsonl  one line for each thread
";
        assert_eq!(summary.text(), expected);
    }
}
