//! Evaluation: the answer to an instruction of a test, in the shape that AlpacaEval reads.

use super::builder::RecordBuilder;
use crate::{
    method::{final_answer::final_answer, recursion::answer_to_refine},
    record::{ModelOutput, OutcomeReason, Role, Thread},
};

/// What AlpacaEval calls the set where a source does not say.
const DATASET: &str = "alpaca_eval";

/// The answer of a thread: the final answer of its long one, or else its latest plain one.
pub(super) fn output(builder: &RecordBuilder<'_>) -> Result<ModelOutput, OutcomeReason> {
    let thread = builder.thread;
    let answer = if builder.recipe.long_answers > 0 { long(thread) } else { plain(thread) };
    answer.map(|answer| model_output(thread, &answer))
}

/// The text of an answer, and the model that gave it.
struct GivenBy<'a> {
    text: &'a str,
    model: &'a str,
}

fn long(thread: &Thread) -> Result<GivenBy<'_>, OutcomeReason> {
    let mut samples = thread.long_answers.iter();
    let found = samples.find_map(|sample| Some((final_answer(sample.text.as_deref()?)?, &sample.call)));
    let (text, call) = found.ok_or(OutcomeReason::NoFinalAnswer)?;
    Ok(GivenBy { text, model: &call.model })
}

fn plain(thread: &Thread) -> Result<GivenBy<'_>, OutcomeReason> {
    let text = answer_to_refine(thread, &thread.rounds).ok_or(OutcomeReason::NoAnswer)?;
    let call = thread.answer.as_ref().and_then(|answer| answer.call.as_ref());
    Ok(GivenBy { text, model: call.map_or("given", |call| &call.model) })
}

fn model_output(thread: &Thread, answer: &GivenBy<'_>) -> ModelOutput {
    let mut turns = thread.prompt.iter().rev();
    let instruction = turns.find(|turn| turn.role == Role::User).map_or("", |turn| &turn.content);
    ModelOutput {
        instruction: instruction.to_owned(),
        output: answer.text.to_owned(),
        generator: answer.model.to_owned(),
        dataset: thread.dataset.clone().unwrap_or_else(|| DATASET.to_owned()),
        datasplit: "eval".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        method::{
            Recipe, Templates,
            samples::{call, thread_of},
            select_records,
        },
        record::{OutcomeReason, Thread},
    };

    fn output_of(thread: &Thread, recipe: &Recipe) -> Result<String, OutcomeReason> {
        let result = select_records(thread, recipe, &Templates::builtin());
        result.output.map(|output| output.output).ok_or(result.outcome.reason)
    }

    fn with_sample(text: Option<&str>) -> Thread {
        let samples = json!([{"text": text, "reward": null, "call": call()}]);
        Thread { long_answers: serde_json::from_value(samples).expect("samples"), ..thread_of(None, &[]) }
    }

    #[test]
    fn of_a_long_answer_the_final_one_counts() {
        let (long, recipe) = (with_sample(Some("so\n\nFinal answer:\n\nyes\n")), Recipe::evaluation());
        assert_eq!(output_of(&long, &recipe), Ok("yes".to_owned()));
        assert_eq!(output_of(&with_sample(None), &recipe), Err(OutcomeReason::NoFinalAnswer));
        let output = select_records(&long, &recipe, &Templates::builtin()).output.expect("an output");
        let expected = json!({
            "instruction": "x", "output": "yes", "generator": "m", "dataset": "alpaca_eval", "datasplit": "eval",
        });
        assert_eq!(serde_json::to_value(&output).expect("JSON"), expected);
    }

    #[test]
    fn of_plain_answers_the_latest_counts() {
        let recipe = Recipe { long_answers: 0, rounds: 2, ..Recipe::evaluation() };
        let mut thread = thread_of(None, &[&[1.0], &[2.0]]);
        assert_eq!(output_of(&thread, &recipe), Ok("2".to_owned()));
        thread.rounds.clear();
        assert_eq!(output_of(&thread, &recipe), Ok("y0".to_owned()));
        thread.answer = None;
        assert_eq!(output_of(&thread, &recipe), Err(OutcomeReason::NoAnswer));
    }
}
