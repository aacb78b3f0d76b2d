//! Score: the reward of the answer and of every improvement.

use futures_util::future::{try_join, try_join_all};

use super::{Context, ThreadStage, on_threads::answer_of};
use crate::{
    engine::Failure,
    method::{CallSite, ask},
    record::{Improvement, Thread},
    topic::{IMPROVED, SCORED, Topic},
};

/// `x, y ─▶ r(y)`.
pub struct ScoreStage(pub Context);

impl ThreadStage for ScoreStage {
    const NAME: &'static str = "score";
    const INPUT: Topic<Thread> = IMPROVED;
    const OUTPUT: Topic<Thread> = SCORED;
    type Out = Thread;

    async fn step(&self, mut thread: Thread) -> Result<Thread, Failure> {
        let answer = self.score(&thread, 0, answer_of(&thread)?);
        let improved = improvements(&thread).enumerate().map(|(at, improvement)| {
            let thread = &thread;
            async move {
                match &improvement.text {
                    Some(text) => self.score(thread, at as u32 + 1, text).await,
                    None => Ok(None),
                }
            }
        });
        let (of_answer, of_improvements) = try_join(answer, try_join_all(improved)).await?;
        thread.reward_model = Some(self.0.reward.model().to_owned());
        if let Some(answer) = &mut thread.answer {
            answer.reward = of_answer;
        }
        let critiques = thread.rounds.last_mut().into_iter().flat_map(|round| &mut round.critiques);
        let improvements = critiques.flat_map(|critique| &mut critique.improvements);
        improvements.zip(of_improvements).for_each(|(improvement, reward)| improvement.reward = reward);
        Ok(thread)
    }
}

impl ScoreStage {
    async fn score(&self, thread: &Thread, index: u32, text: &str) -> Result<Option<f64>, Failure> {
        let round = thread.rounds.len().saturating_sub(1) as u32;
        let site = CallSite { thread: &thread.id, stage: Self::NAME, round, index, attempt: 0 };
        self.0.score(site, &ask::reward(&thread.prompt, text)).await
    }
}

fn improvements(thread: &Thread) -> impl Iterator<Item = &Improvement> {
    thread
        .rounds
        .last()
        .into_iter()
        .flat_map(|round| &round.critiques)
        .flat_map(|critique| &critique.improvements)
}
