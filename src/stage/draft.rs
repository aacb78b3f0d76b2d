//! Draft: one answer to the prompt, unless the recipe takes the one that came with it.

use super::{
    Context, ThreadStage,
    calls::{Ask, Rank, Tried},
};
use crate::{
    engine::{DeadLetter, Failure},
    method::{AnswerSource, CallSite, ask},
    record::{Answer, Thread},
    topic::{PROMPTS, Topic},
};

/// `x ─▶ y0`.
pub struct DraftStage(pub Context);

impl ThreadStage for DraftStage {
    const NAME: &'static str = "draft";
    const INPUT: Topic<Thread> = PROMPTS;
    type Out = Thread;

    async fn step(&self, mut thread: Thread) -> Result<Thread, Failure> {
        let answer = match self.0.recipe.answer {
            AnswerSource::Given => given(&thread)?,
            AnswerSource::Draft => self.draft(&thread).await?,
        };
        thread.answer = Some(answer);
        Ok(thread)
    }
}

impl DraftStage {
    async fn draft(&self, thread: &Thread) -> Result<Answer, Failure> {
        let turns = ask::draft(&thread.prompt);
        let ask = Ask {
            site: CallSite { thread: &thread.id, stage: Self::NAME, round: 0, index: 0, attempt: 0 },
            rank: Rank::Draft,
            temperature: self.0.recipe.draft_temperature,
            turns: &turns,
        };
        match self.0.ask(&ask).await? {
            Tried::Answer(answer) => {
                let call = Some(self.0.answered(&ask, &answer));
                Ok(Answer { text: answer.text, reward: None, call })
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
    Ok(Answer { text, reward: None, call: None })
}
