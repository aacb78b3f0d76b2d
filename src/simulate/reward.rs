//! What a reward replica answers: a pure function of the cluster's seed and the conversation.
//!
//! A reward is the sum of a part that all answers to one prompt share, a part of the answer's own, a little for
//! length, and what its revisions gained on average. So an improvement gains often, not always, and each
//! further round less.

use super::{
    draw::Fingerprint,
    options::Options,
    prose::{revision_of, token_count},
    protocol::WireMessage,
};

/// What a revision gains, as a share of what the one before it gained.
const GAIN_OF_NEXT_REVISION: f64 = 0.6;

/// What an answer e times as long as the mean gets more, in standard deviations.
const WORTH_OF_LENGTH: f64 = 0.15;

/// The reward of a conversation, before any activation.
pub(super) fn reward(options: &Options, turns: &[WireMessage<'_>]) -> f64 {
    let (answer, prompt) = turns.split_last().map_or(("", turns), |(last, others)| (&*last.content, others));
    let prompt = Fingerprint::new(options.seed).with(b"reward").with_turns(prompt);
    let own = prompt.clone().with(answer.as_bytes()).draws().normal();
    let shared = prompt.draws().normal();
    let length = (token_count(answer) as f64 / options.text.mean_tokens).ln().clamp(-2.0, 2.0);
    let chance = (shared + own) * std::f64::consts::FRAC_1_SQRT_2 + WORTH_OF_LENGTH * length;
    let gained = options.reward.improvement_gain * gains(revision_of(answer));
    // Rewards are single precision on real servers, and their JSON shows it.
    f64::from((options.reward.reward_mean + options.reward.reward_spread * chance + gained) as f32)
}

/// What vLLM makes of a reward unless told not to.
pub(super) fn sigmoid(reward: f64) -> f64 {
    1.0 / (1.0 + (-reward).exp())
}

/// What all revisions together gained, in units of the first one's gain.
fn gains(revision: u32) -> f64 {
    (1.0 - GAIN_OF_NEXT_REVISION.powf(f64::from(revision))) / (1.0 - GAIN_OF_NEXT_REVISION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewarded(prompt: &str, answer: &str) -> f64 {
        let turn = |role: &'static str, text: &str| WireMessage {
            role: role.into(),
            content: text.to_owned().into(),
        };
        reward(&Options::default(), &[turn("user", prompt), turn("assistant", answer)])
    }

    #[test]
    fn rewards_are_a_function_of_the_conversation() {
        assert_eq!(rewarded("Why?", "Because."), rewarded("Why?", "Because."));
        assert_ne!(rewarded("Why?", "Because."), rewarded("How?", "Because."));
        assert_ne!(rewarded("Why?", "Because."), rewarded("Why?", "So."));
    }

    #[test]
    fn improvements_gain_often_not_always_and_ever_less() {
        let share = |earlier: &str, later: &str| {
            let gained = (0..2000).filter(|number| {
                let prompt = format!("Question {number}?");
                rewarded(&prompt, later) > rewarded(&prompt, earlier)
            });
            gained.count() as f64 / 2000.0
        };
        let (first, third) = (share("Plain.", "Revision 1. Plain."), share("Revision 2. X", "Revision 3. Y"));
        assert!((0.55..0.75).contains(&first), "{first}");
        assert!((0.5..first).contains(&third), "{third}");
    }
}
