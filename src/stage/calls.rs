//! Calls to the models as the stages make them: a place in the thread, a seed, and what came of it.

use super::Context;
use crate::{
    dead_letter::DeadLetterCause,
    engine::StepError,
    method::{CallSite, ChatTurn, TemplateError},
    model::{CallError, ChatAnswer, ChatModel, ChatRequest, Concerns, Priority, RewardModel, RewardRequest},
    record::{Extra, ModelCall},
};

/// One chat call: whom it asks, where it stands in the thread, and how it samples.
pub(super) struct Ask<'a> {
    pub(super) model: &'a ChatModel,
    pub(super) site: CallSite<'a>,
    pub(super) priority: Priority,
    pub(super) temperature: f64,
    pub(super) turns: &'a [ChatTurn<'a>],
}

/// What a try came to, when the run can go on: an answer, or an error that concerns its request alone.
pub(super) type Tried = Result<ChatAnswer, CallError>;

impl Context {
    /// Asks a model once; failures that may pass are retried underneath without using a try.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Tried, StepError> {
        let answered = ask.model.chat(&self.request(ask, &ask.site.request_id())).await;
        answered.map_or_else(|error| of_request(error).map(Err), |answer| Ok(Ok(answer)))
    }

    /// Asks a model once for several answers, and reads each. There may be fewer than were asked for, none where the
    /// server refuses: that says nothing of a single answer.
    pub(super) async fn ask_several<T>(
        &self,
        ask: &Ask<'_>,
        count: u32,
        reader: &Reader<T>,
    ) -> Result<Vec<Read<T>>, StepError> {
        let answers = match ask.model.chat_several(&self.request(ask, &ask.site.request_id()), count).await {
            Ok(answers) => answers,
            Err(error) => {
                let error = of_request(error)?;
                tracing::debug!(thread = %ask.site.thread, %error, "no several answers at once");
                vec![]
            }
        };
        Ok(answers
            .into_iter()
            .zip(0..)
            .map(|(answer, choice)| ask.read_choice(answer, choice, reader))
            .collect())
    }

    fn request<'a>(&self, ask: &'a Ask<'_>, id: &'a str) -> ChatRequest<'a, [ChatTurn<'a>]> {
        ChatRequest {
            id,
            seed: ask.site.seed(),
            temperature: ask.temperature,
            top_p: self.recipe.top_p,
            messages: ask.turns,
            stage: ask.site.stage,
            priority: ask.priority,
        }
    }

    /// Asks the reward model, up to the recipe's tries; none when it gave no score.
    pub(super) async fn score(
        &self,
        reward: &RewardModel,
        site: CallSite<'_>,
        priority: Priority,
        turns: &[ChatTurn<'_>],
    ) -> Result<Option<f64>, StepError> {
        for earlier_tries in 0..self.recipe.reward_tries {
            let site = CallSite { earlier_tries, ..site };
            let request =
                RewardRequest { id: &site.request_id(), messages: turns, stage: site.stage, priority };
            match reward.reward(&request).await {
                Ok(answer) => return Ok(Some(answer.reward)),
                Err(error) => {
                    let error = of_request(error)?;
                    tracing::debug!(thread = %site.thread, %error, "no reward");
                }
            }
        }
        Ok(None)
    }
}

/// An answer that was read, or why none came that can be.
pub(super) struct Read<T> {
    /// The text, and what was read from it.
    pub(super) found: Option<(String, T)>,
    /// The call that gave it, or the last that was tried.
    pub(super) call: ModelCall,
}

/// What a text must have, and how it is read.
pub(super) struct Reader<T> {
    pub(super) read: fn(&str) -> Option<T>,
    /// What is missing in a text that cannot be read.
    pub(super) missing: &'static str,
}

impl Context {
    /// Asks until an answer can be read or `tries` are used up, those before this one included.
    pub(super) async fn ask_until_read<T>(
        &self,
        mut ask: Ask<'_>,
        tries: u32,
        reader: &Reader<T>,
    ) -> Result<Read<T>, StepError> {
        let mut failure = None;
        for earlier_tries in ask.site.earlier_tries..tries {
            ask.site.earlier_tries = earlier_tries;
            match self.ask(&ask).await? {
                Ok(answer) => match (reader.read)(&answer.text) {
                    Some(read) => {
                        let call = ask.answered(&answer);
                        return Ok(Read { found: Some((answer.text, read)), call });
                    }
                    None => {
                        ask.model.count_used_try(ask.site.stage);
                        failure = Some(reader.missing.to_owned());
                    }
                },
                Err(error) => failure = Some(error.to_string()),
            }
        }
        tracing::debug!(thread = %ask.site.thread, stage = ask.site.stage, failure, "an answer was given up");
        Ok(Read { found: None, call: ask.failed(failure) })
    }
}

impl Ask<'_> {
    /// One choice of an answer to a request for several; one without a text is a try like any other.
    fn read_choice<T>(&self, answer: Option<ChatAnswer>, choice: u32, reader: &Reader<T>) -> Read<T> {
        let read = answer.and_then(|answer| Some(((reader.read)(&answer.text)?, answer)));
        let (found, call) = match read {
            Some((read, answer)) => {
                let call = self.answered(&answer);
                (Some((answer.text, read)), call)
            }
            None => {
                self.model.count_used_try(self.site.stage);
                (None, self.failed(Some(reader.missing.to_owned())))
            }
        };
        Read { found, call: ModelCall { choice, ..call } }
    }

    /// The record of a chat call whose answer was taken.
    pub(super) fn answered(&self, answer: &ChatAnswer) -> ModelCall {
        ModelCall {
            finish_reason: answer.finish_reason.clone(),
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            ..self.failed(None)
        }
    }

    /// The record of a chat call that gave nothing.
    pub(super) fn failed(&self, failure: Option<String>) -> ModelCall {
        ModelCall {
            model: self.model.model().to_owned(),
            seed: self.site.seed(),
            choice: 0,
            temperature: self.temperature,
            tries: self.site.earlier_tries + 1,
            finish_reason: None,
            prompt_tokens: 0,
            completion_tokens: 0,
            failure,
            extra: Extra::new(),
        }
    }
}

/// Keeps an error that concerns its request alone; any other ends more than the try, and is the step's error.
fn of_request(error: CallError) -> Result<CallError, StepError> {
    match error.concerns() {
        Some(Concerns::Request) => Ok(error),
        Some(Concerns::Endpoint | Concerns::Key | Concerns::Everybody) => {
            Err(StepError::Stop(error.to_string()))
        }
        None => Err(StepError::Interrupted),
    }
}

/// The dead letter of a thread that cannot go on without a call.
pub(super) fn dead_letter(error: &CallError) -> StepError {
    StepError::DeadLetter(DeadLetterCause {
        http_status: error.status(),
        model: Some(error.model.clone()),
        attempts: error.attempts,
        ..DeadLetterCause::new("refused", error.to_string())
    })
}

/// A template that cannot be rendered for a thread, which checks at start should have found.
pub(super) fn unasked(error: TemplateError) -> StepError {
    StepError::DeadLetter(DeadLetterCause::new("template", error.to_string()))
}
