//! Draft: the first answers to the prompt: the one to refine, unless the recipe takes the one that came with it, a second
//! one where two are to be fused, and long ones where the recipe asks for them.

use std::sync::Arc;

use futures_util::future::try_join3;

use super::{
    Context, MissingModel, Models, Role, ThreadStage,
    calls::{Ask, dead_letter},
};
use crate::{
    dead_letter::DeadLetterCause,
    engine::StepError,
    method::{AnswerSource, Base, CallSite, Recipe, ask},
    model::ChatModel,
    record::{Answer, Extra, Fusion, Thread},
};

/// The index of the call for the answer to refine, and of that for a second draft.
const ANSWER: u32 = 0;
pub(super) const OTHER_DRAFT: u32 = 1;

/// `x ─▶ y0, another draft, long answers`.
pub struct DraftStage {
    pub(super) context: Context,
    first: First,
    /// Who gives a second draft; none where the recipe fuses none.
    other: Option<Arc<ChatModel>>,
    /// None where the recipe asks for no long answers.
    pub(super) long: Option<Arc<ChatModel>>,
}

/// Where the answer to refine comes from.
enum First {
    /// The recipe refines none.
    None,
    /// It comes with the prompt.
    Given,
    /// This model gives it.
    Drafted(Arc<ChatModel>),
}

impl ThreadStage for DraftStage {
    const NAME: &'static str = "draft";
    type Out = Thread;

    fn asks(recipe: &Recipe) -> Vec<Role> {
        let drafts =
            recipe.base == Base::Fusion || recipe.needs_answer() && recipe.answer == AnswerSource::Draft;
        let long = recipe.long_answers > 0;
        drafts.then_some(Role::Generator).into_iter().chain(long.then_some(Role::Long)).collect()
    }

    fn assemble(context: &Context, models: &Models) -> Result<Self, MissingModel> {
        let recipe = &context.recipe;
        let first = match recipe.answer {
            _ if !recipe.needs_answer() => First::None,
            AnswerSource::Given => First::Given,
            AnswerSource::Draft => First::Drafted(models.generator(Self::NAME)?),
        };
        let other = (recipe.base == Base::Fusion).then(|| models.generator(Self::NAME)).transpose()?;
        let long = (recipe.long_answers > 0).then(|| models.long(Self::NAME)).transpose()?;
        Ok(Self { context: context.clone(), first, other, long })
    }

    async fn step(&self, mut thread: Thread) -> Result<Thread, StepError> {
        let first = try_join3(self.answer(&thread), self.other(&thread), self.long_answers(&thread)).await?;
        (thread.answer, thread.fusion, thread.long_answers) = first;
        Ok(thread)
    }
}

impl DraftStage {
    async fn answer(&self, thread: &Thread) -> Result<Option<Answer>, StepError> {
        match &self.first {
            First::None => Ok(None),
            First::Given => given(thread).map(Some),
            First::Drafted(model) => self.draft(model, thread, ANSWER).await.map(Some),
        }
    }

    async fn other(&self, thread: &Thread) -> Result<Option<Fusion>, StepError> {
        let Some(model) = &self.other else { return Ok(None) };
        let other = self.draft(model, thread, OTHER_DRAFT).await?;
        Ok(Some(Fusion { other, comparisons: vec![], fused: None, extra: Extra::new() }))
    }

    async fn draft(&self, model: &ChatModel, thread: &Thread, index: u32) -> Result<Answer, StepError> {
        let turns = ask::draft(&thread.prompt);
        let ask = Ask {
            model,
            site: CallSite { thread: &thread.id, stage: Self::NAME, round: 0, index, earlier_tries: 0 },
            priority: Self::PRIORITY,
            temperature: self.context.recipe.draft_temperature,
            turns: &turns,
        };
        match self.context.ask(&ask).await? {
            Ok(answer) => {
                let call = Some(ask.answered(&answer));
                Ok(Answer { text: answer.text, reward: None, call, extra: Extra::new() })
            }
            Err(error) => Err(dead_letter(&error)),
        }
    }
}

fn given(thread: &Thread) -> Result<Answer, StepError> {
    let text = thread.given_answer.clone().ok_or_else(|| {
        StepError::DeadLetter(DeadLetterCause::new(
            "schema",
            "the recipe needs the prompt's own answer and there is none",
        ))
    })?;
    Ok(Answer { text, reward: None, call: None, extra: Extra::new() })
}
