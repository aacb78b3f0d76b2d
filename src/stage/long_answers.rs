//! Long answers: asked for side by side, each again until it has a final answer.
//!
//! Where the model's servers may be asked for several at once, the first try of a group of them is one request. What such
//! a request does not give is asked for singly: further tries of what had no final answer, and the first try of what
//! did not come.

use std::{iter, ops::Range};

use futures_util::future::try_join_all;

use super::{
    Context, DraftStage, ThreadStage as _,
    calls::{Ask, Rank, Read, Reader},
};
use crate::{
    engine::Failure,
    method::{CallSite, Turn, ask, final_answer::final_answer},
    record::{Extra, LongSample, Thread},
};

/// The draft of the answer to refine is the stage's call 0.
const FIRST_INDEX: u32 = 1;

const FINAL_ANSWER: Reader<()> =
    Reader { read: |text| final_answer(text).map(drop), missing: "no final answer" };

impl Context {
    /// As many long answers as the recipe asks for.
    pub(super) async fn long_answers(&self, thread: &Thread) -> Result<Vec<LongSample>, Failure> {
        let turns = ask::long_answer(&thread.prompt);
        let (count, together) = (self.recipe.long_answers, self.long.samples_per_request());
        let groups = (0..count).step_by(together as usize).enumerate().map(|(number, first)| {
            let size = together.min(count - first);
            self.group(thread, &turns, number as u32, first..first + size)
        });
        Ok(try_join_all(groups).await?.into_iter().flatten().collect())
    }

    /// The answers with these numbers, at first by one request where they are several.
    async fn group(
        &self,
        thread: &Thread,
        turns: &[Turn<'_>],
        number: u32,
        members: Range<u32>,
    ) -> Result<Vec<LongSample>, Failure> {
        let size = members.end - members.start;
        let together = if size > 1 { self.together(thread, turns, number, size).await? } else { vec![] };
        let tried = together.into_iter().map(Some).chain(iter::repeat_with(|| None));
        let asked = members.zip(tried).map(|(member, tried)| async move {
            match tried {
                Some(read) if read.found.is_some() || self.recipe.long_answer_tries == 1 => Ok(read),
                Some(_) => self.single(thread, turns, member, 1).await,
                None => self.single(thread, turns, member, 0).await,
            }
        });
        Ok(try_join_all(asked).await?.into_iter().map(sample).collect())
    }

    /// The first try of a group: as many answers as came, in the order of the choices.
    async fn together(
        &self,
        thread: &Thread,
        turns: &[Turn<'_>],
        number: u32,
        size: u32,
    ) -> Result<Vec<Read<()>>, Failure> {
        // Behind all single calls, so that no id and no seed is another's.
        let index = FIRST_INDEX + self.recipe.long_answers + number;
        self.ask_several(&self.long_ask(thread, index, turns), size, &FINAL_ANSWER).await
    }

    /// One long answer by itself, of which some tries may be used up. Source: METHOD, "Calls to the models".
    async fn single(
        &self,
        thread: &Thread,
        turns: &[Turn<'_>],
        member: u32,
        used: u32,
    ) -> Result<Read<()>, Failure> {
        let mut ask = self.long_ask(thread, FIRST_INDEX + member, turns);
        ask.site.attempt = used;
        self.ask_until_read(ask, self.recipe.long_answer_tries, &FINAL_ANSWER).await
    }

    fn long_ask<'a>(&'a self, thread: &'a Thread, index: u32, turns: &'a [Turn<'a>]) -> Ask<'a> {
        let site = CallSite { thread: &thread.id, stage: DraftStage::NAME, round: 0, index, attempt: 0 };
        Ask { model: &self.long, site, rank: Rank::Draft, temperature: self.recipe.draft_temperature, turns }
    }
}

fn sample(Read { found, call }: Read<()>) -> LongSample {
    LongSample { text: found.map(|(text, ())| text), reward: None, call, extra: Extra::new() }
}
