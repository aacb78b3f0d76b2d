//! Draft: the first answers to the prompt: the one to refine, unless the recipe takes the one that came with it, a second
//! one where two are to be fused, and long ones where the recipe asks for them.

use futures_util::future::try_join3;

use super::{
    Context, ThreadStage,
    calls::{Ask, Rank, Tried},
};
use crate::{
    engine::{DeadLetter, Failure},
    method::{AnswerSource, Base, CallSite, ask},
    record::{Answer, Extra, Fusion, Thread},
    topic::{PROMPTS, Topic},
};

/// The index of the call for the answer to refine, and of that for a second draft.
const ANSWER: u32 = 0;
const OTHER_DRAFT: u32 = 1;

/// `x ─▶ y0, another draft, long answers`.
pub struct DraftStage(pub Context);

impl ThreadStage for DraftStage {
    const NAME: &'static str = "draft";
    const INPUT: Topic<Thread> = PROMPTS;
    type Out = Thread;

    async fn step(&self, mut thread: Thread) -> Result<Thread, Failure> {
        let first =
            try_join3(self.answer(&thread), self.other(&thread), self.0.long_answers(&thread)).await?;
        (thread.answer, thread.fusion, thread.long_answers) = first;
        Ok(thread)
    }
}

impl DraftStage {
    async fn answer(&self, thread: &Thread) -> Result<Option<Answer>, Failure> {
        match self.0.recipe.answer {
            _ if !self.0.recipe.needs_answer() => Ok(None),
            AnswerSource::Given => given(thread).map(Some),
            AnswerSource::Draft => self.draft(thread, ANSWER).await.map(Some),
        }
    }

    async fn other(&self, thread: &Thread) -> Result<Option<Fusion>, Failure> {
        if self.0.recipe.base != Base::Fusion {
            return Ok(None);
        }
        let other = self.draft(thread, OTHER_DRAFT).await?;
        Ok(Some(Fusion { other, comparisons: vec![], fused: None, extra: Extra::new() }))
    }

    async fn draft(&self, thread: &Thread, index: u32) -> Result<Answer, Failure> {
        let turns = ask::draft(&thread.prompt);
        let ask = Ask {
            model: &self.0.chat,
            site: CallSite { thread: &thread.id, stage: Self::NAME, round: 0, index, attempt: 0 },
            rank: Rank::Draft,
            temperature: self.0.recipe.draft_temperature,
            turns: &turns,
        };
        match self.0.ask(&ask).await? {
            Tried::Answer(answer) => {
                let call = Some(ask.answered(&answer));
                Ok(Answer { text: answer.text, reward: None, call, extra: Extra::new() })
            }
            Tried::Refused(refusal) => Err(refusal.into_dead_letter(self.0.chat.model())),
        }
    }
}

fn given(thread: &Thread) -> Result<Answer, Failure> {
    let text = thread.given_answer.clone().ok_or_else(|| {
        Failure::DeadLetter(DeadLetter::new(
            "schema",
            "the recipe needs the prompt's own answer and there is none",
        ))
    })?;
    Ok(Answer { text, reward: None, call: None, extra: Extra::new() })
}
