//! What is to be scored in a thread, in one order for asking and for taking the rewards.

use super::final_answer::final_answer;
use crate::record::Thread;

/// The texts to score: `y0` where it has not been scored in an earlier round, the improvements of the latest round,
/// the final answers of long ones, the second draft and what was made out of both. Nothing stands for what has no text, so that places stay the same.
pub fn texts(thread: &Thread) -> Vec<Option<&str>> {
    let answer = thread.answer.as_ref().filter(|_| is_first_round(thread)).map(|answer| answer.text.as_str());
    let critiques = thread.rounds.last().into_iter().flat_map(|round| &round.critiques);
    let improvements = critiques.flat_map(|critique| &critique.improvements);
    let improvements = improvements.map(|improvement| improvement.text.as_deref());
    let finals = thread.long_answers.iter().map(|sample| sample.text.as_deref().and_then(final_answer));
    let of_fusion = thread.fusion.iter().flat_map(|fusion| {
        [Some(fusion.other.text.as_str()), fusion.fused.as_ref().and_then(|fused| fused.text.as_deref())]
    });
    std::iter::once(answer).chain(improvements).chain(finals).chain(of_fusion).collect()
}

/// Takes the rewards of [`texts`], in their order.
pub fn take_rewards(thread: &mut Thread, rewards: Vec<Option<f64>>) {
    let is_first_round = is_first_round(thread);
    let mut rewards = rewards.into_iter();
    let of_answer = rewards.next().flatten();
    if let Some(answer) = thread.answer.as_mut().filter(|_| is_first_round) {
        answer.reward = of_answer;
    }
    let critiques = thread.rounds.last_mut().into_iter().flat_map(|round| &mut round.critiques);
    let improvements = critiques.flat_map(|critique| &mut critique.improvements);
    let places = improvements.map(|improvement| &mut improvement.reward);
    let samples = thread.long_answers.iter_mut().map(|sample| &mut sample.reward);
    let of_fusion = thread.fusion.iter_mut().flat_map(|fusion| {
        let fused = fusion.fused.as_mut().map(|fused| &mut fused.reward);
        std::iter::once(&mut fusion.other.reward).chain(fused)
    });
    places.chain(samples).chain(of_fusion).zip(rewards).for_each(|(place, reward)| *place = reward);
}

fn is_first_round(thread: &Thread) -> bool {
    thread.rounds.len() <= 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::method::samples::{call, thread_of};

    #[test]
    fn the_answer_is_scored_once_and_only_what_is_new_with_it() {
        let first = thread_of(None, &[&[1.0, 2.0]]);
        assert_eq!(texts(&first), [Some("y0"), Some("1"), Some("2")]);
        let mut second = thread_of(Some(0.5), &[&[1.0, 2.0], &[3.0]]);
        assert_eq!(texts(&second), [None, Some("3")]);
        take_rewards(&mut second, vec![None, Some(9.0)]);
        assert_eq!(second.answer.as_ref().and_then(|answer| answer.reward), Some(0.5));
        assert_eq!(second.rounds[1].critiques[0].improvements[0].reward, Some(9.0));
        assert_eq!(second.rounds[0].critiques[0].improvements[0].reward, Some(1.0));
    }

    #[test]
    fn of_long_answers_the_final_ones_are_scored() {
        let mut thread = thread_of(None, &[]);
        let sample = |text| json!({"text": text, "reward": null, "call": call()});
        let samples =
            json!([sample("so\n\nFinal answer:\n\ny1\n"), {"text": null, "reward": null, "call": call()}]);
        thread.long_answers = serde_json::from_value(samples).expect("samples");
        assert_eq!(texts(&thread), [Some("y0"), Some("y1"), None]);
        take_rewards(&mut thread, vec![Some(0.0), Some(1.0), None]);
        let rewards: Vec<_> = thread.long_answers.iter().map(|sample| sample.reward).collect();
        assert_eq!(
            (thread.answer.and_then(|answer| answer.reward), rewards),
            (Some(0.0), vec![Some(1.0), None])
        );
    }
}
