//! Critique: one critique of the answer for each temperature of the recipe, each with a valid rating.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{
    Context, MissingModel, Models, Role, ThreadStage,
    calls::{Ask, Rank, Tried, unasked},
    on_threads::answer_after,
};
use crate::{
    engine::Failure,
    method::{CallSite, Recipe, Turn, ask, rating::rating},
    model::ChatModel,
    record::{Critique, Round, Thread, ThreadId},
    topic::{DRAFTED, Topic},
};

/// `x, y0 ─▶ c_i`.
pub struct CritiqueStage {
    context: Context,
    generator: Arc<ChatModel>,
}

impl ThreadStage for CritiqueStage {
    const NAME: &'static str = "critique";
    const INPUT: Topic<Thread> = DRAFTED;
    type Out = Thread;

    fn is_passed(recipe: &Recipe) -> bool {
        recipe.rounds > 0
    }

    fn asks(_: &Recipe) -> Vec<Role> {
        vec![Role::Generator]
    }

    fn assemble(context: &Context, models: &Models) -> Result<Self, MissingModel> {
        Ok(Self { context: context.clone(), generator: models.generator(Self::NAME)? })
    }

    async fn step(&self, mut thread: Thread) -> Result<Thread, Failure> {
        let Context { recipe, templates, .. } = &self.context;
        let round = thread.rounds.len() as u32;
        let answer = answer_after(&thread, &thread.rounds)?;
        let turns = ask::critique(templates, recipe.shape, &thread.prompt, answer).map_err(unasked)?;
        let asked = recipe.temperatures.iter().enumerate().map(|(index, &temperature)| {
            let site =
                CallSite { thread: &thread.id, stage: Self::NAME, round, index: index as u32, attempt: 0 };
            self.critique(site, temperature, &turns)
        });
        let critiques = try_join_all(asked).await?;
        thread.rounds.push(Round { critiques });
        Ok(thread)
    }
}

impl CritiqueStage {
    /// Asks until an answer has a valid rating or the tries are used up. Source: METHOD, "Calls to the models".
    async fn critique(
        &self,
        site: CallSite<'_>,
        temperature: f64,
        turns: &[Turn<'_>],
    ) -> Result<Critique, Failure> {
        let mut failure = None;
        let mut ask = Ask { model: &self.generator, site, rank: Rank::Critique, temperature, turns };
        for attempt in 0..self.context.recipe.critique_tries {
            ask.site.attempt = attempt;
            match self.context.ask(&ask).await? {
                Tried::Answer(answer) => match rating(&answer.text) {
                    Some(rating) => {
                        let call = ask.answered(&answer);
                        let (text, rating) = (Some(answer.text), Some(rating));
                        return Ok(Critique { text, rating, call, improvements: vec![] });
                    }
                    None => {
                        ask.model.count_used_try(Self::NAME);
                        failure = Some("no valid rating".to_owned());
                    }
                },
                Tried::Refused(refusal) => failure = Some(refusal.message),
            }
        }
        log_given_up(site.thread, failure.as_deref());
        Ok(Critique { text: None, rating: None, call: ask.failed(failure), improvements: vec![] })
    }
}

fn log_given_up(thread: &ThreadId, failure: Option<&str>) {
    tracing::debug!(%thread, failure, "a critique was given up");
}
