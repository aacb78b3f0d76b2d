//! Score: the reward of the answer, and of everything new in the thread.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, MissingModel, Models, Role, ThreadStage};
use crate::{
    engine::StepError,
    method::{
        CallSite, Recipe, ask,
        pruning::prune,
        scoring::{Scoring, ToScore},
    },
    model::{Priority, RewardModel},
    record::Thread,
};

/// `x, y ─▶ r(y)`.
pub struct ScoreStage {
    context: Context,
    reward: Arc<RewardModel>,
}

impl ThreadStage for ScoreStage {
    const NAME: &'static str = "score";
    const PRIORITY: Priority = Priority(3);
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
        let Scoring { thread: id, prompt, round, texts } = Scoring::of(&mut thread);
        let scored = texts.into_iter().map(async |ToScore { index, text, reward }| {
            let site = CallSite { thread: id, stage: Self::NAME, round, index, earlier_tries: 0 };
            *reward =
                self.context.score(&self.reward, site, Self::PRIORITY, &ask::reward(prompt, text)).await?;
            Ok(())
        });
        try_join_all(scored).await?;
        thread.reward_model = Some(self.reward.model().to_owned());
        if self.context.recipe.rounds > 1 {
            prune(&mut thread, self.context.recipe.prune_above_bytes);
        }
        Ok(thread)
    }
}
