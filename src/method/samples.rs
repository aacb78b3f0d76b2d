//! Threads for tests.

use serde_json::{Value, json};

use crate::record::Thread;

/// A thread whose answer `y0` has this reward, with rounds of one critique each, `c1`, `c2` and so on; improvements
/// are named after their rewards.
pub(crate) fn thread_of(answer_reward: Option<f64>, rounds: &[&[f64]]) -> Thread {
    let improvement = |reward: &f64| json!({"text": reward.to_string(), "reward": reward, "call": call()});
    let round = |(index, rewards): (usize, &&[f64])| {
        let improvements: Vec<Value> = rewards.iter().map(improvement).collect();
        let text = format!("c{}", index + 1);
        json!({"critiques": [{"text": text, "rating": 5, "call": call(), "improvements": improvements}]})
    };
    let rounds: Vec<Value> = rounds.iter().enumerate().map(round).collect();
    let thread = json!({
        "version": 1, "id": "own:1", "recipe": {"name": "own", "hash": "0"},
        "origin": {"source": "-", "line": 1}, "prompt": [{"role": "user", "content": "x"}],
        "given_answer": null, "answer": {"text": "y0", "reward": answer_reward, "call": null}, "rounds": rounds,
    });
    serde_json::from_value(thread).expect("a thread")
}

/// A call that was answered.
pub(crate) fn call() -> Value {
    json!({
        "model": "m", "seed": 0, "temperature": 0.7, "tries": 1, "finish_reason": "stop",
        "prompt_tokens": 0, "completion_tokens": 0, "failure": null,
    })
}
