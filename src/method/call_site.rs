//! The place of a model call in the work, from which its id and its seed follow.
//!
//! A repeat of a call after a crash or a network error is the same call: same id, same seed. Another try after an
//! answer without the needed form is another call. Neither a clock nor a counter is involved.

use crate::record::ThreadId;

/// One model call, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallSite<'a> {
    /// The thread that it is for.
    pub thread: &'a ThreadId,
    /// The stage that makes it.
    pub stage: &'static str,
    /// The round of refinement, from 0.
    pub round: u32,
    /// Which of the stage's calls for this thread and round, from 0.
    pub index: u32,
    /// Tries used up before this one: answers without the needed form, not requests sent again.
    pub earlier_tries: u32,
}

impl CallSite<'_> {
    /// A short id of visible ASCII characters, the same for every sending of the call:
    /// hash of the thread's id, stage, round, index and earlier tries, with hyphens between.
    pub fn request_id(&self) -> String {
        let thread = blake3::hash(self.thread.as_str().as_bytes()).to_hex();
        let stage: String = self.stage.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("{}-{stage}-{}-{}-{}", &thread[..16], self.round, self.index, self.earlier_tries)
    }

    /// The sampling seed, below 2³¹.
    ///
    /// A hash, since servers may use seeds next to the one given for further choices: neighbours would then give
    /// the same text. Not larger, since servers refuse what does not fit a signed number.
    pub fn seed(&self) -> u32 {
        let hash = self.hash();
        let [first, second, third, fourth, ..] = *hash.as_bytes();
        u32::from_le_bytes([first, second, third, fourth]) & 0x7fff_ffff
    }

    fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for text in [self.thread.as_str(), self.stage] {
            // With its length before it, no text can run into the next.
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        for number in [self.round, self.index, self.earlier_tries] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn sites(thread: &ThreadId) -> Vec<CallSite<'_>> {
        let numbers = (0..3).flat_map(|a| (0..3).flat_map(move |b| (0..3).map(move |c| (a, b, c))));
        let site =
            |stage, (round, index, earlier_tries)| CallSite { thread, stage, round, index, earlier_tries };
        ["draft", "critique"].iter().flat_map(|stage| numbers.clone().map(move |n| site(stage, n))).collect()
    }

    #[test]
    fn every_place_has_its_own_id_and_a_seed_apart_from_all_others() {
        let thread = ThreadId::new("stage1", "one");
        let sites = sites(&thread);
        let ids: HashSet<String> = sites.iter().map(CallSite::request_id).collect();
        assert_eq!(ids.len(), sites.len());
        let mut seeds: Vec<u32> = sites.iter().map(CallSite::seed).collect();
        seeds.sort_unstable();
        assert!(seeds.windows(2).all(|pair| pair[1] - pair[0] > 8), "{seeds:?}");
    }

    #[test]
    fn id_and_seed_stay_what_they_were_in_earlier_versions() {
        let thread = ThreadId::new("stage1", "one");
        let site = CallSite { thread: &thread, stage: "critique", round: 0, index: 1, earlier_tries: 2 };
        assert_eq!(
            (site.request_id().as_str(), site.seed()),
            ("d80ff33c5b58b967-critique-0-1-2", 1_097_212_437)
        );
    }

    proptest! {
        #[test]
        fn any_thread_gives_a_header_value(input in any::<String>(), round: u32) {
            let thread = ThreadId::new("own", &input);
            let site = CallSite { thread: &thread, stage: "improve", round, index: u32::MAX, earlier_tries: 0 };
            prop_assert!(site.request_id().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(site.seed() < 1 << 31);
        }
    }
}
