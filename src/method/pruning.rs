//! What lost in a round, and need not travel with the thread for ever.

use super::recursion::best_of_round;
use crate::record::{Round, Thread};

/// Drops the texts of everything that lost in its round, where the thread's rounds hold more than `most` bytes of
/// text. What the long record and the next round need stays: of each round the best improvement and its critique.
/// Ratings, rewards and calls stay, too.
pub fn prune(thread: &mut Thread, most: u64) {
    if thread.rounds.iter().map(text_bytes).sum::<u64>() > most {
        thread.rounds.iter_mut().for_each(keep_best);
    }
}

fn text_bytes(round: &Round) -> u64 {
    let improvements = round.critiques.iter().flat_map(|critique| &critique.improvements);
    let improvements = improvements.map(|improvement| &improvement.text);
    let texts = round.critiques.iter().map(|critique| &critique.text).chain(improvements);
    texts.flatten().map(|text| text.len() as u64).sum()
}

fn keep_best(round: &mut Round) {
    let best = best_of_round(round).map(|best| best.place);
    for (index, critique) in round.critiques.iter_mut().enumerate() {
        let kept = best.filter(|best| best.critique == index);
        critique.text.take_if(|_| kept.is_none());
        for (index, improvement) in critique.improvements.iter_mut().enumerate() {
            improvement.text.take_if(|_| kept.is_none_or(|kept| kept.improvement != index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Recipe, Templates, samples::thread_of, select_records};

    const ROUNDS: &[&[f64]] = &[&[0.5, 1.0, -1.0], &[2.0, 1.5], &[2.0, 1.0]];

    #[test]
    fn only_what_lost_goes_and_the_record_stays_the_same() {
        let whole = thread_of(Some(0.0), ROUNDS);
        let mut short = whole.clone();
        prune(&mut short, 0);
        let text =
            |round: usize, nth: usize| short.rounds[round].critiques[0].improvements[nth].text.as_deref();
        let texts = [text(0, 0), text(0, 1), text(0, 2), text(1, 0), text(1, 1), text(2, 0)];
        assert_eq!(texts, [None, Some("1"), None, Some("2"), None, Some("2")]);
        let selected = |thread| select_records(thread, &Recipe::stage2(), &Templates::builtin());
        assert_eq!(selected(&short), selected(&whole));
        assert_eq!(selected(&whole).records.len(), 1);
    }

    #[test]
    fn a_small_thread_keeps_everything() {
        let whole = thread_of(Some(0.0), ROUNDS);
        let mut kept = whole.clone();
        prune(&mut kept, 1000);
        assert_eq!(kept, whole);
    }

    #[test]
    fn of_a_round_without_rewards_nothing_is_needed() {
        let mut thread = thread_of(Some(0.0), &[&[1.0]]);
        thread.rounds[0].critiques[0].improvements[0].reward = None;
        prune(&mut thread, 0);
        assert_eq!(thread.rounds[0].critiques[0].text, None);
    }
}
