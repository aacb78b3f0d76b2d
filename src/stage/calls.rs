//! Calls to the models as the stages make them: a place in the thread, a seed, and what came of it.

use super::Context;
use crate::{
    engine::{DeadLetter, Failure},
    method::{CallSite, TemplateError, Turn},
    model::{CallError, ChatAnswer, ChatModel, ChatRequest, Priority, RewardModel, RewardRequest, Scope},
    record::Call,
};

/// Work near the end goes first: a stage's rank among the calls that wait for a server.
#[derive(Clone, Copy)]
pub(super) enum Rank {
    Draft = 0,
    Critique = 1,
    Improve = 2,
    Score = 3,
}

/// One chat call: whom it asks, where it stands in the thread, and how it samples.
pub(super) struct Ask<'a> {
    pub(super) model: &'a ChatModel,
    pub(super) site: CallSite<'a>,
    pub(super) rank: Rank,
    pub(super) temperature: f64,
    pub(super) turns: &'a [Turn<'a>],
}

/// What a try came to, when the run can go on.
pub(super) enum Tried {
    Answer(ChatAnswer),
    /// The server refused this request for good.
    Refused(Refusal),
}

/// A refusal that is final for its request.
pub(super) struct Refusal {
    pub(super) status: Option<u16>,
    pub(super) message: String,
}

impl Context {
    /// Asks a model once; transient errors are repeated underneath without using a try.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Tried, Failure> {
        let request = ChatRequest {
            id: &ask.site.request_id(),
            seed: ask.site.seed(),
            temperature: ask.temperature,
            top_p: self.recipe.top_p,
            messages: ask.turns,
            stage: ask.site.stage,
            priority: Priority(ask.rank as u8),
        };
        match ask.model.chat(&request).await {
            Ok(answer) => Ok(Tried::Answer(answer)),
            Err(error) => refusal(error).map(Tried::Refused),
        }
    }

    /// Asks the reward model, up to the recipe's tries; none when it gave no score.
    pub(super) async fn score(
        &self,
        reward: &RewardModel,
        site: CallSite<'_>,
        turns: &[Turn<'_>],
    ) -> Result<Option<f64>, Failure> {
        for attempt in 0..self.recipe.reward_tries {
            let site = CallSite { attempt, ..site };
            let request = RewardRequest {
                id: &site.request_id(),
                messages: turns,
                stage: site.stage,
                priority: Priority(Rank::Score as u8),
            };
            match reward.reward(&request).await {
                Ok(answer) => return Ok(Some(answer.reward)),
                Err(error) => {
                    let refusal = refusal(error)?;
                    tracing::debug!(thread = %site.thread, error = refusal.message, "no reward");
                }
            }
        }
        Ok(None)
    }
}

impl Ask<'_> {
    /// The record of a chat call whose answer was taken.
    pub(super) fn answered(&self, answer: &ChatAnswer) -> Call {
        Call {
            finish_reason: answer.finish_reason.clone(),
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            ..self.failed(None)
        }
    }

    /// The record of a chat call that gave nothing.
    pub(super) fn failed(&self, failure: Option<String>) -> Call {
        Call {
            model: self.model.model().to_owned(),
            seed: self.site.seed(),
            temperature: self.temperature,
            attempts: self.site.attempt + 1,
            finish_reason: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            failure,
        }
    }
}

/// Sorts an error: final for the request, or for more than it.
fn refusal(error: CallError) -> Result<Refusal, Failure> {
    match error.scope() {
        Scope::Try => Ok(Refusal { status: error.status(), message: error.to_string() }),
        Scope::Stop => Err(Failure::Interrupted),
        Scope::Run => Err(Failure::Stop(error.to_string())),
    }
}

/// A template that cannot be rendered for a thread, which checks at start should have found.
pub(super) fn unasked(error: TemplateError) -> Failure {
    Failure::DeadLetter(DeadLetter::new("template", error.to_string()))
}

impl Refusal {
    /// The dead letter of a thread that cannot go on without this call.
    pub(super) fn into_dead_letter(self, model: &str) -> Failure {
        Failure::DeadLetter(DeadLetter {
            http_status: self.status,
            model: Some(model.to_owned()),
            ..DeadLetter::new("refused", self.message)
        })
    }
}
