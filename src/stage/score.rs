//! Score: the reward of the answer, and of everything new in the thread.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, MissingModel, Models, Role, ThreadStage};
use crate::{
    engine::StepError,
    method::{CallSite, Recipe, ask, losing::drop_losing_texts, scoring},
    model::RewardModel,
    record::Thread,
    topic::{IMPROVED, Topic},
};

/// `x, y ─▶ r(y)`.
pub struct ScoreStage {
    context: Context,
    reward: Arc<RewardModel>,
}

impl ThreadStage for ScoreStage {
    const NAME: &'static str = "score";
    const INPUT: Topic<Thread> = IMPROVED;
    type Out = Thread;

    fn is_passed(recipe: &Recipe) -> bool {
        recipe.is_scored()
    }

    fn asks(_: &Recipe) -> Vec<Role> {
        vec![Role::Reward]
    }

    fn assemble(context: &Context, models: &Models) -> Result<Self, MissingModel> {
        Ok(Self { context: context.clone(), reward: models.reward(Self::NAME)? })
    }

    async fn step(&self, mut thread: Thread) -> Result<Thread, StepError> {
        let texts = scoring::texts(&thread).into_iter().enumerate();
        let asked = texts.map(|(index, text)| self.score(&thread, index as u32, text));
        let rewards = try_join_all(asked).await?;
        scoring::take_rewards(&mut thread, rewards);
        thread.reward_model = Some(self.reward.model().to_owned());
        if self.context.recipe.rounds > 1 {
            drop_losing_texts(&mut thread, self.context.recipe.losing_texts_bytes);
        }
        Ok(thread)
    }
}

impl ScoreStage {
    async fn score(&self, thread: &Thread, index: u32, text: Option<&str>) -> Result<Option<f64>, StepError> {
        let Some(text) = text else { return Ok(None) };
        let round = thread.rounds.len().saturating_sub(1) as u32;
        let site = CallSite { thread: &thread.id, stage: Self::NAME, round, index, attempt: 0 };
        self.context.score(&self.reward, site, &ask::reward(&thread.prompt, text)).await
    }
}
