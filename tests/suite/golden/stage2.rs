//! Several rounds, the long record, and pairs of long answers.

use avr::method::{
    Recipe, Templates,
    final_answer::final_answer,
    recursion::{RoundDecision, next_step, outcomes},
    selection::{
        long_pairs::{LongAnswer, extremes, length_control, long_pair},
        long_record::long_record,
    },
};
use avr::record::{Critique, Extra, Improvement, Message, ModelCall, Round};
use serde_json::{Value, json};

use super::{
    cases::{Compared, filled_in, list, number, parsed, text},
    stage1::pair_value,
};

fn call() -> ModelCall {
    parsed(&json!({
        "model": "m", "seed": 0, "temperature": 0.7, "tries": 1, "finish_reason": "stop",
        "prompt_tokens": 0, "completion_tokens": 0, "failure": null,
    }))
}

fn improvement(text: &Value, reward: &Value) -> Improvement {
    Improvement { text: parsed(text), reward: reward.as_f64(), call: call(), extra: Extra::new() }
}

fn critique(text: &Value, improvements: Vec<Improvement>) -> Critique {
    Critique { text: parsed(text), rating: None, call: call(), improvements, extra: Extra::new() }
}

/// Answers as the models of a case gave them, in the order of asking.
struct Models<'a> {
    critiques: std::slice::Iter<'a, Value>,
    improvements: std::slice::Iter<'a, Value>,
    rewards: &'a Value,
    per_step: usize,
}

impl Models<'_> {
    fn round(&mut self, answer: &str) -> Round {
        Round { critiques: (0..self.per_step).map(|_| self.critique(answer)).collect(), ..Round::default() }
    }

    fn critique(&mut self, answer: &str) -> Critique {
        let given = self.critiques.next().expect("the case has no more critiques");
        assert_eq!(text(given, "answer"), answer, "another answer is to be criticised");
        let wanted = if given["critique"].is_null() { 0 } else { self.per_step };
        let improvements = (0..wanted).map(|_| self.improvement(answer, &given["critique"])).collect();
        critique(&given["critique"], improvements)
    }

    fn improvement(&mut self, answer: &str, critique: &Value) -> Improvement {
        let given = self.improvements.next().expect("the case has no more improvements");
        assert_eq!((text(given, "answer"), &given["critique"]), (answer, critique));
        let reward = given["improvement"].as_str().map_or(&Value::Null, |text| &self.rewards[text]);
        improvement(&given["improvement"], reward)
    }
}

pub(crate) fn greedy_run(case: &Value) -> Compared {
    let recipe = Recipe::stage2();
    let messages = list(case, "messages");
    let start = text(messages.last().expect("a conversation"), "content");
    let answer_reward = number(&case["rewards"], start);
    let mut models = Models {
        critiques: list(case, "critiques").iter(),
        improvements: list(case, "improvements").iter(),
        rewards: &case["rewards"],
        per_step: recipe.temperatures.len(),
    };
    let mut rounds = Vec::new();
    let mut answers = Vec::new();
    while let RoundDecision::Refine { answer, .. } = next_step(start, answer_reward, &rounds, recipe.rounds) {
        answers.push(answer.to_owned());
        let round = models.round(answers.last().expect("just pushed"));
        rounds.push(round);
    }
    assert_eq!((models.critiques.len(), models.improvements.len()), (0, 0), "too few were asked for");
    let computed = json!({
        "messages": messages, "origin_score": answer_reward,
        "iterations": iterations(answer_reward, &rounds, &answers),
        "final_best": final_best(next_step(start, answer_reward, &rounds, recipe.rounds), answer_reward),
    });
    Compared { computed, expected: case["expected"].clone() }
}

fn final_best(step: RoundDecision<'_>, answer_reward: f64) -> Value {
    match step {
        RoundDecision::Stop { answer, reward } if reward > answer_reward => {
            json!({"response": answer, "score": reward})
        }
        _ => json!({}),
    }
}

fn iterations(answer_reward: f64, rounds: &[Round], answers: &[String]) -> Vec<Value> {
    let outcomes = outcomes(answer_reward, rounds);
    let mut to_beat = answer_reward;
    let mut told = Vec::new();
    for (index, (round, outcome)) in rounds.iter().zip(&outcomes).enumerate() {
        let best = outcome.best;
        told.push(json!({
            "iteration": index, "initial_response": answers[index],
            "judges": round.critiques.iter().map(|critique| &critique.text).collect::<Vec<_>>(),
            "refine_list": by_critique(round, |improvement| json!(improvement.text)),
            "scores_list": by_critique(round, |improvement| json!(improvement.reward)),
            "best_refine": best.map(|best| best.text),
            "best_score": best.map_or(to_beat, |best| best.reward),
            "best_refine_index": best.map(|best| [best.place.critique, best.place.improvement]),
        }));
        to_beat = best.map_or(to_beat, |best| best.reward);
    }
    told
}

fn by_critique(round: &Round, tell: fn(&Improvement) -> Value) -> Vec<Value> {
    let told = |critique: &Critique| critique.improvements.iter().map(tell).collect::<Value>();
    let told = |critique: &Critique| critique.text.as_ref().map_or(Value::Null, |_| told(critique));
    round.critiques.iter().map(told).collect()
}

/// A round as the cases of the long record write it: critiques, texts and rewards beside one another.
fn round_in(iteration: &Value) -> Round {
    let critique = |(index, text): (usize, &Value)| {
        let (texts, rewards) = (&iteration["refine_list"][index], &iteration["scores_list"][index]);
        let texts = texts.as_array().into_iter().flatten().enumerate();
        critique(text, texts.map(|(index, text)| improvement(text, &rewards[index])).collect())
    };
    Round {
        critiques: list(iteration, "judges").iter().enumerate().map(critique).collect(),
        ..Round::default()
    }
}

pub(crate) fn long_records(case: &Value) -> Compared {
    let templates = Templates::builtin();
    let run = &case["run"];
    let mut prompt: Vec<Message> = parsed(&run["messages"]);
    let answer = prompt.pop().expect("a conversation ends with the answer").content;
    let rounds: Vec<Round> = list(run, "iterations").iter().map(round_in).collect();
    let record = long_record(&templates, &prompt, &answer, number(run, "origin_score"), &rounds);
    let computed = record.iter().map(|row| json!({"messages": row.messages()})).collect();
    Compared { computed, expected: filled_in(&case["expected"], &templates) }
}

pub(crate) fn long_pairs(case: &Value) -> Compared {
    let mut prompt: Vec<Message> = parsed(&case["messages"]);
    let answer = prompt.pop().expect("a conversation ends with the answer").content;
    let answer_reward = number(&case["rewards"], &answer);
    let samples: Vec<_> =
        list(case, "samples").iter().enumerate().filter_map(|sample| sample_in(case, sample)).collect();
    let sides = extremes(&samples, answer_reward).ok();
    let kept = sides.iter().filter(|sides| length_control(sides).is_ok());
    let pairs: Vec<_> = kept.map(|sides| pair_value(&long_pair(&prompt, sides))).collect();
    let mut computed = json!({"scoring_detail": {
        "messages": case["messages"], "source_score": answer_reward,
        "refinements": samples.iter().map(sample_value).collect::<Vec<_>>(),
    }});
    if let Some(sides) = &sides {
        computed["filtered_data"] = json!({
            "messages": case["messages"], "source_score": answer_reward,
            "best_record": sample_value(&sides.chosen), "best_score": sides.chosen.reward,
            "worst_record": sample_value(&sides.rejected), "worst_score": sides.rejected.reward,
        });
    }
    let expected = json!([case["expected"], case["pairs"]]);
    Compared { computed: json!([computed, pairs]), expected }
}

fn sample_in<'a>(case: &'a Value, (index, sample): (usize, &'a Value)) -> Option<LongAnswer<'a>> {
    let response = sample["response"].as_str()?;
    assert_eq!(final_answer(response), sample["final_result"].as_str(), "the final answer in the sample");
    LongAnswer::new(index, response, case["rewards"][final_answer(response)?].as_f64())
}

fn sample_value(sample: &LongAnswer<'_>) -> Value {
    json!({"response": sample.text, "final_result": sample.final_answer, "score": sample.reward})
}
