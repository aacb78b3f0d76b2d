//! Improve: for each critique one improvement of the answer for each temperature of the recipe; of two drafts one answer
//! made out of both.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{
    Context, MissingModel, Models, Role, ThreadStage,
    calls::{Ask, unasked},
    on_threads::answer_after,
};
use crate::{
    engine::StepError,
    method::{
        Base, CallSite, ChatTurn, Recipe, ask,
        pairwise::{Compared, compared},
    },
    model::{ChatModel, Priority},
    record::{Extra, Fusion, Improvement, Thread},
};

/// `x, y0, c_i ─▶ y_ij`.
pub struct ImproveStage {
    context: Context,
    generator: Arc<ChatModel>,
}

impl ThreadStage for ImproveStage {
    const NAME: &'static str = "improve";
    const PRIORITY: Priority = Priority(2);
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
        if let Some(fusion) = &thread.fusion {
            let fused = self.fuse(&thread, fusion).await?;
            thread.fusion = thread.fusion.map(|fusion| Fusion { fused, ..fusion });
            return Ok(thread);
        }
        let round = thread.rounds.len().saturating_sub(1);
        let critiques = thread.rounds.last().map_or(&[][..], |round| &round.critiques);
        let asked = critiques.iter().enumerate().map(|(index, critique)| {
            let text = critique.text.as_deref();
            self.improve_by(&thread, round, index, text)
        });
        let improved = try_join_all(asked).await?;
        let critiques = thread.rounds.last_mut().into_iter().flat_map(|round| &mut round.critiques);
        critiques.zip(improved).for_each(|(critique, improvements)| critique.improvements = improvements);
        Ok(thread)
    }
}

impl ImproveStage {
    /// The answer made out of both drafts; none where their comparisons do not count.
    async fn fuse(&self, thread: &Thread, fusion: &Fusion) -> Result<Option<Improvement>, StepError> {
        let Context { recipe, templates, .. } = &self.context;
        let answer = answer_after(thread, &[])?;
        let Ok(compared) = compared(answer, fusion, recipe.verdicts_must_agree) else { return Ok(None) };
        let Compared { first, second, verdict } = compared;
        let turns = ask::fusion(templates, &thread.prompt, first, second, verdict).map_err(unasked)?;
        let site = CallSite { thread: &thread.id, stage: Self::NAME, round: 0, index: 0, earlier_tries: 0 };
        self.improve(site, recipe.only_temperature(), &turns).await.map(Some)
    }

    /// The improvements guided by one critique; none where it was given up.
    async fn improve_by(
        &self,
        thread: &Thread,
        round: usize,
        critique: usize,
        text: Option<&str>,
    ) -> Result<Vec<Improvement>, StepError> {
        let Some(text) = text else { return Ok(vec![]) };
        let Context { recipe, templates, .. } = &self.context;
        let answer = answer_after(thread, &thread.rounds[..round])?;
        let turns = ask::improve(templates, recipe.shape, &thread.prompt, answer, text).map_err(unasked)?;
        let first = critique * recipe.temperatures.len();
        let asked = recipe.temperatures.iter().enumerate().map(|(nth, &temperature)| {
            let index = (first + nth) as u32;
            let round = round as u32;
            let site = CallSite { thread: &thread.id, stage: Self::NAME, round, index, earlier_tries: 0 };
            self.improve(site, temperature, &turns)
        });
        try_join_all(asked).await
    }

    /// One try; none on error. Source: METHOD, "Calls to the models".
    async fn improve(
        &self,
        site: CallSite<'_>,
        temperature: f64,
        turns: &[ChatTurn<'_>],
    ) -> Result<Improvement, StepError> {
        let ask = Ask { model: &self.generator, site, priority: Self::PRIORITY, temperature, turns };
        Ok(match self.context.ask(&ask).await? {
            Ok(answer) => {
                let call = ask.answered(&answer);
                Improvement { text: Some(answer.text), reward: None, call, extra: Extra::new() }
            }
            Err(error) => {
                let call = ask.failed(Some(error.to_string()));
                Improvement { text: None, reward: None, call, extra: Extra::new() }
            }
        })
    }
}
