//! Score: the reward of the answer, and of everything new in the thread.

use futures_util::future::try_join_all;

use super::{Context, ThreadStage};
use crate::{
    engine::Failure,
    method::{CallSite, ask, losing::drop_losing_texts, scoring},
    record::Thread,
    topic::{IMPROVED, Topic},
};

/// `x, y ─▶ r(y)`.
pub struct ScoreStage(pub Context);

impl ThreadStage for ScoreStage {
    const NAME: &'static str = "score";
    const INPUT: Topic<Thread> = IMPROVED;
    type Out = Thread;

    async fn step(&self, mut thread: Thread) -> Result<Thread, Failure> {
        let texts = scoring::texts(&thread).into_iter().enumerate();
        let asked = texts.map(|(index, text)| self.score(&thread, index as u32, text));
        let rewards = try_join_all(asked).await?;
        scoring::take_rewards(&mut thread, rewards);
        thread.reward_model = self.0.reward.as_deref().map(|reward| reward.model().to_owned());
        if self.0.recipe.rounds > 1 {
            drop_losing_texts(&mut thread, self.0.recipe.losing_texts_bytes);
        }
        Ok(thread)
    }
}

impl ScoreStage {
    async fn score(&self, thread: &Thread, index: u32, text: Option<&str>) -> Result<Option<f64>, Failure> {
        let Some(text) = text else { return Ok(None) };
        let round = thread.rounds.len().saturating_sub(1) as u32;
        let site = CallSite { thread: &thread.id, stage: Self::NAME, round, index, attempt: 0 };
        self.0.score(site, &ask::reward(&thread.prompt, text)).await
    }
}
