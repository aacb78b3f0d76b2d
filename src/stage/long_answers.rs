//! Long answers: asked for side by side, each again until it has a final answer.
//!
//! Where the model's servers may be asked for several at once, the first try of a group of them is one request. What such
//! a request does not give is asked for singly: further tries of what had no final answer, and the first try of what
//! did not come.

use std::{iter, ops::Range};

use futures_util::future::try_join_all;

use super::{
    DraftStage, ThreadStage as _,
    calls::{Ask, Read, Reader},
    draft::OTHER_DRAFT,
};
use crate::{
    engine::StepError,
    method::{CallSite, ChatTurn, Recipe, ask, final_answer::final_answer},
    model::ChatModel,
    record::{Extra, LongSample, Thread},
};

/// Behind the drafts, so that no two calls of the stage have one id and one seed, whatever a recipe asks for.
const FIRST_INDEX: u32 = OTHER_DRAFT + 1;

const FINAL_ANSWER: Reader<()> =
    Reader { read: |text| final_answer(text).map(drop), missing: "no final answer" };

impl DraftStage {
    /// As many long answers as the recipe asks for.
    pub(super) async fn long_answers(&self, thread: &Thread) -> Result<Vec<LongSample>, StepError> {
        let Some(model) = self.long.as_deref() else { return Ok(vec![]) };
        let turns = ask::long_answer(&thread.prompt);
        let long = Long { stage: self, model, thread, turns: &turns };
        let (count, together) = (self.context.recipe.long_answers, model.samples_per_request());
        let groups = (0..count).step_by(together as usize).enumerate().map(|(number, first)| {
            let size = together.min(count - first);
            long.group(number as u32, first..first + size)
        });
        Ok(try_join_all(groups).await?.into_iter().flatten().collect())
    }
}

/// What the long answers of one thread have in common.
struct Long<'a> {
    stage: &'a DraftStage,
    model: &'a ChatModel,
    thread: &'a Thread,
    turns: &'a [ChatTurn<'a>],
}

impl Long<'_> {
    /// The answers with these numbers, at first by one request where they are several.
    async fn group(&self, number: u32, members: Range<u32>) -> Result<Vec<LongSample>, StepError> {
        let size = members.end - members.start;
        let together = if size > 1 { self.together(number, size).await? } else { vec![] };
        let tried = together.into_iter().map(Some).chain(iter::repeat_with(|| None));
        let only_try = self.recipe().long_answer_tries == 1;
        let asked = members.zip(tried).map(|(member, tried)| async move {
            match tried {
                Some(read) if read.found.is_some() || only_try => Ok(read),
                Some(_) => self.single(member, 1).await,
                None => self.single(member, 0).await,
            }
        });
        Ok(try_join_all(asked).await?.into_iter().map(sample).collect())
    }

    /// The first try of a group: as many answers as came, in the order of the choices.
    async fn together(&self, number: u32, size: u32) -> Result<Vec<Read<()>>, StepError> {
        // Behind all single calls, so that no id and no seed is another's.
        let index = FIRST_INDEX + self.recipe().long_answers + number;
        self.stage.context.ask_several(&self.ask(index), size, &FINAL_ANSWER).await
    }

    /// One long answer by itself, of which some tries may be used up. Source: METHOD, "Calls to the models".
    async fn single(&self, member: u32, used: u32) -> Result<Read<()>, StepError> {
        let mut ask = self.ask(FIRST_INDEX + member);
        ask.site.earlier_tries = used;
        self.stage.context.ask_until_read(ask, self.recipe().long_answer_tries, &FINAL_ANSWER).await
    }

    fn ask(&self, index: u32) -> Ask<'_> {
        let site =
            CallSite { thread: &self.thread.id, stage: DraftStage::NAME, round: 0, index, earlier_tries: 0 };
        let temperature = self.recipe().draft_temperature;
        Ask { model: self.model, site, priority: DraftStage::PRIORITY, temperature, turns: self.turns }
    }

    fn recipe(&self) -> &Recipe {
        &self.stage.context.recipe
    }
}

fn sample(Read { found, call }: Read<()>) -> LongSample {
    LongSample { text: found.map(|(text, ())| text), reward: None, call, extra: Extra::new() }
}
