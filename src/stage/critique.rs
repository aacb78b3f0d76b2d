//! Critique: one critique of the answer for each temperature of the recipe, each with a valid rating; of two drafts a
//! comparison in both orders, each with a verdict.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};

use super::{
    Context, MissingModel, Models, Role, ThreadStage,
    calls::{Ask, Read, Reader, unasked},
    on_threads::answer_after,
};
use crate::{
    engine::StepError,
    method::{Base, CallSite, ChatTurn, Recipe, ask, pairwise::verdict, rating::rating},
    model::{ChatModel, Priority},
    record::{Comparison, Critique, Extra, Preferred, Round, Thread},
};

const RATING: Reader<u8> = Reader { read: rating, missing: "no valid rating" };
const VERDICT: Reader<Preferred> = Reader { read: verdict, missing: "no verdict" };

/// `x, y0 ─▶ c_i`.
pub struct CritiqueStage {
    context: Context,
    generator: Arc<ChatModel>,
}

impl ThreadStage for CritiqueStage {
    const NAME: &'static str = "critique";
    const PRIORITY: Priority = Priority(1);
    type Out = Thread;

    fn is_passed(recipe: &Recipe) -> bool {
        recipe.rounds > 0 || recipe.base == Base::Fusion
    }

    fn asks(_: &Recipe) -> Vec<Role> {
        vec![Role::Generator]
    }

    fn assemble(context: &Context, models: &Models) -> Result<Self, MissingModel> {
        Ok(Self { context: context.clone(), generator: models.generator(Self::NAME)? })
    }

    async fn step(&self, mut thread: Thread) -> Result<Thread, StepError> {
        let answer = answer_after(&thread, &thread.rounds)?;
        match &thread.fusion {
            Some(fusion) => {
                let comparisons = self.comparisons(&thread, answer, &fusion.other.text).await?;
                if let Some(fusion) = &mut thread.fusion {
                    fusion.comparisons = comparisons;
                }
            }
            None => {
                let critiques = self.critiques(&thread, answer).await?;
                thread.rounds.push(Round { critiques, ..Round::default() });
            }
        }
        Ok(thread)
    }
}

impl CritiqueStage {
    async fn critiques(&self, thread: &Thread, answer: &str) -> Result<Vec<Critique>, StepError> {
        let Context { recipe, templates, .. } = &self.context;
        let turns = ask::critique(templates, recipe.shape, &thread.prompt, answer).map_err(unasked)?;
        let asked = recipe.temperatures.iter().enumerate().map(async |(index, &temperature)| {
            let Read { found, call } = self.read(thread, index, temperature, &turns, &RATING).await?;
            let (text, rating) = found.unzip();
            Ok(Critique { text, rating, call, improvements: vec![], extra: Extra::new() })
        });
        try_join_all(asked).await
    }

    /// The drafts as they stand, and the other way round: models tend to prefer a place.
    async fn comparisons(
        &self,
        thread: &Thread,
        answer: &str,
        other: &str,
    ) -> Result<Vec<Comparison>, StepError> {
        let (one, two) =
            try_join(self.compare(thread, 0, [answer, other]), self.compare(thread, 1, [other, answer]))
                .await?;
        Ok(vec![one, two])
    }

    async fn compare(
        &self,
        thread: &Thread,
        index: usize,
        drafts: [&str; 2],
    ) -> Result<Comparison, StepError> {
        let Context { recipe, templates, .. } = &self.context;
        let turns = ask::pairwise(templates, &thread.prompt, drafts[0], drafts[1]).map_err(unasked)?;
        let temperature = recipe.only_temperature();
        let Read { found, call } = self.read(thread, index, temperature, &turns, &VERDICT).await?;
        let (text, preferred) = found.unzip();
        Ok(Comparison { text, preferred, call, extra: Extra::new() })
    }

    /// Asks until an answer can be read or the tries are used up. Source: METHOD, "Calls to the models".
    async fn read<T>(
        &self,
        thread: &Thread,
        index: usize,
        temperature: f64,
        turns: &[ChatTurn<'_>],
        reader: &Reader<T>,
    ) -> Result<Read<T>, StepError> {
        let (round, index) = (thread.rounds.len() as u32, index as u32);
        let site = CallSite { thread: &thread.id, stage: Self::NAME, round, index, earlier_tries: 0 };
        let ask = Ask { model: &self.generator, site, priority: Self::PRIORITY, temperature, turns };
        self.context.ask_until_read(ask, self.context.recipe.critique_tries, reader).await
    }
}
