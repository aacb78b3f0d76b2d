//! Long answers: asked for side by side, each again until it has a final answer.

use futures_util::future::try_join_all;

use super::{
    DraftStage, ThreadStage as _,
    calls::{Ask, Rank, Tried},
};
use crate::{
    engine::Failure,
    method::{CallSite, Turn, ask, final_answer::final_answer},
    model::ChatModel,
    record::{LongSample, Thread},
};

/// The draft of the answer to refine is the stage's call 0.
const FIRST_INDEX: u32 = 1;

impl DraftStage {
    /// As many long answers as the recipe asks for.
    pub(super) async fn long_answers(&self, thread: &Thread) -> Result<Vec<LongSample>, Failure> {
        let Some(model) = self.long.as_deref() else { return Ok(vec![]) };
        let turns = ask::long_answer(&thread.prompt);
        let asked = (0..self.context.recipe.long_answers).map(|nth| {
            let index = FIRST_INDEX + nth;
            let site = CallSite { thread: &thread.id, stage: DraftStage::NAME, round: 0, index, attempt: 0 };
            self.long_answer(model, site, &turns)
        });
        try_join_all(asked).await
    }

    /// Asks until an answer has a final answer or the tries are used up. Source: METHOD, "Calls to the models".
    async fn long_answer(
        &self,
        model: &ChatModel,
        site: CallSite<'_>,
        turns: &[Turn<'_>],
    ) -> Result<LongSample, Failure> {
        let temperature = self.context.recipe.draft_temperature;
        let mut ask = Ask { model, site, rank: Rank::Draft, temperature, turns };
        let mut failure = None;
        for attempt in 0..self.context.recipe.long_answer_tries {
            ask.site.attempt = attempt;
            match self.context.ask(&ask).await? {
                Tried::Answer(answer) if final_answer(&answer.text).is_some() => {
                    let call = ask.answered(&answer);
                    return Ok(LongSample { text: Some(answer.text), reward: None, call });
                }
                Tried::Answer(_) => {
                    ask.model.count_used_try(site.stage);
                    failure = Some("no final answer".to_owned());
                }
                Tried::Refused(refusal) => failure = Some(refusal.message),
            }
        }
        tracing::debug!(thread = %site.thread, failure, "a long answer was given up");
        Ok(LongSample { text: None, reward: None, call: ask.failed(failure) })
    }
}
