//! Chat completions, as any OpenAI-compatible server offers them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    CallError, EndpointStatus, ModelOptions, ModelTotals, OptionsError, Priority, StopSignal,
    call_metrics::Usage,
    check,
    client::{Answered, ApiSpec, CallContext, ParsedAnswer, Protocol, RoleClient},
    failure::{AttemptFailure, FailureKind},
    usage::TokenCounts,
};
use crate::observe::Metrics;

const PATH: &str = "/v1/chat/completions";

/// What `extra` may not hold: the fields that avr sets, and those that change the answer's shape.
pub const RESERVED: &[&str] = &["model", "messages", "temperature", "top_p", "seed", "stream", "n"];

/// A model that writes text.
pub struct ChatModel(RoleClient);

/// One call. `M` is anything that serialises to a list of messages.
#[derive(Debug)]
pub struct ChatRequest<'a, M: ?Sized> {
    /// Deterministic name of the request: the same after a crash, another for another try.
    pub id: &'a str,
    /// Seed of the sampling, below 2³¹.
    pub seed: u32,
    /// Temperature of the sampling.
    pub temperature: f64,
    /// Share of the probability mass that is sampled from.
    pub top_p: f64,
    /// The conversation.
    pub messages: &'a M,
    /// Which stage calls, for metrics.
    pub stage: &'static str,
    /// How urgent the call is.
    pub priority: Priority,
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatAnswer {
    /// What the model wrote; may be empty, if that is what it wrote.
    pub text: String,
    /// Why it stopped: `stop`, `length`, …; none if the server does not say.
    pub finish_reason: Option<String>,
    /// Tokens of the prompt; 0 if the server does not say.
    pub prompt_tokens: u32,
    /// Tokens of the answer; 0 if the server does not say.
    pub completion_tokens: u32,
    /// Requests sent for it, from 1. Not a property of the answer: it differs from run to run.
    pub attempts: u32,
}

impl ChatModel {
    /// A client of the servers that `options` name. `stop` ends its waits.
    ///
    /// # Errors
    /// If the options cannot be used; see [`OptionsError`]. No server is asked yet.
    pub fn new(options: ModelOptions, stop: StopSignal, metrics: &Metrics) -> Result<Self, OptionsError> {
        options.check(RESERVED)?;
        let probe = probe(&options);
        RoleClient::new(options, ApiSpec { operation: "chat", path: PATH, probe }, stop, metrics).map(Self)
    }

    /// Asks for one answer. Failures that may pass are retried until the answer is there or the run stops;
    /// dropping the future gives the call up at any point.
    ///
    /// An answer without text (`content: null`: a refusal, or reasoning that never came to an end) is
    /// [`Unusable`](super::CallErrorKind::Unusable) and not an empty text: another try may bring one.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::concerns`] tells how much it ends.
    pub async fn chat<M: Serialize + ?Sized>(
        &self,
        request: &ChatRequest<'_, M>,
    ) -> Result<ChatAnswer, CallError> {
        let protocol = OneChoice(self.body(request, None));
        let Answered { answer, usage, attempts } = self.0.call(context(request), &protocol).await?;
        Ok(answer.into_answer(usage, attempts))
    }

    /// Asks for several answers to one request: each by the number of its choice, none for a choice without a text. A
    /// server may give fewer than were asked for; more are left out. Of all choices the first tells the tokens.
    ///
    /// # Errors
    /// As of [`Self::chat`]; an answer without any choice is
    /// [`Unusable`](super::CallErrorKind::Unusable).
    pub async fn chat_several<M: Serialize + ?Sized>(
        &self,
        request: &ChatRequest<'_, M>,
        count: u32,
    ) -> Result<Vec<Option<ChatAnswer>>, CallError> {
        let protocol = SeveralChoices { body: self.body(request, Some(count)), count };
        let Answered { answer: choices, usage, attempts } = self.0.call(context(request), &protocol).await?;
        let answer = |(number, choice): (usize, Option<ChoiceText>)| {
            let usage = if number == 0 { usage } else { Usage::default() };
            choice.map(|choice| choice.into_answer(usage, attempts))
        };
        Ok(choices.into_iter().enumerate().map(answer).collect())
    }

    fn body<'a, M: ?Sized>(&'a self, request: &'a ChatRequest<'_, M>, n: Option<u32>) -> ChatBody<'a, M> {
        let ChatRequest { messages, temperature, top_p, seed, .. } = *request;
        let ModelOptions { model, extra, .. } = &self.0.options;
        ChatBody { model, messages, temperature, top_p, seed, n, extra }
    }

    /// How many answers may be asked for in one request.
    pub fn samples_per_request(&self) -> u32 {
        self.0.options.samples_per_request
    }

    /// Counts a try that was spent on an answer without the form that the method needs.
    pub fn count_used_try(&self, stage: &'static str) {
        self.0.metrics.try_used(stage);
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.0.options.model
    }

    /// Asks each server how it is.
    pub async fn check(&self) -> Vec<EndpointStatus> {
        check::all(&self.0.pool, &self.0.options.model).await
    }

    /// What the calls so far came to.
    pub fn totals(&self) -> ModelTotals {
        self.0.metrics.totals()
    }
}

fn context<'a, M: ?Sized>(request: &'a ChatRequest<'_, M>) -> CallContext<'a> {
    CallContext { id: request.id, stage: request.stage, priority: request.priority }
}

/// A request for one token.
fn probe(options: &ModelOptions) -> Map<String, Value> {
    let mut body = options.extra.clone();
    if !body.contains_key("max_completion_tokens") {
        body.insert("max_tokens".to_owned(), 1.into());
    }
    body.insert("model".to_owned(), options.model.as_str().into());
    body.insert("messages".to_owned(), json!([{"role": "user", "content": "Hello"}]));
    body
}

/// The body of a request. There is no `max_tokens`: a model may use all of its context.
#[derive(Serialize)]
struct ChatBody<'a, M: ?Sized> {
    model: &'a str,
    messages: &'a M,
    temperature: f64,
    top_p: f64,
    seed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

/// A request for one answer.
struct OneChoice<'a, M: ?Sized>(ChatBody<'a, M>);

/// A request for several.
struct SeveralChoices<'a, M: ?Sized> {
    body: ChatBody<'a, M>,
    count: u32,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<TokenCounts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    message: AnswerMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct AnswerMessage {
    content: Option<String>,
    refusal: Option<String>,
}

/// A choice that has a text.
struct ChoiceText {
    text: String,
    finish_reason: Option<String>,
}

impl ChoiceText {
    fn into_answer(self, usage: Usage, attempts: u32) -> ChatAnswer {
        ChatAnswer {
            text: self.text,
            finish_reason: self.finish_reason,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens.unwrap_or_default(),
            attempts,
        }
    }
}

impl<M: Serialize + ?Sized> Protocol for OneChoice<'_, M> {
    type Answer = ChoiceText;

    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.0)
    }

    fn read(&self, body: &[u8]) -> Result<ParsedAnswer<ChoiceText>, AttemptFailure> {
        let (choices, usage) = read(body)?;
        Ok(ParsedAnswer { usage, answer: text_of(choices.into_iter().next()) })
    }
}

impl<M: Serialize + ?Sized> Protocol for SeveralChoices<'_, M> {
    type Answer = Vec<Option<ChoiceText>>;

    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.body)
    }

    fn read(&self, body: &[u8]) -> Result<ParsedAnswer<Self::Answer>, AttemptFailure> {
        let (mut choices, usage) = read(body)?;
        choices.sort_by_key(|choice| choice.index);
        choices.truncate(self.count as usize);
        let answer = match choices.is_empty() {
            true => text_of(None).map(|_| vec![]),
            false => Ok(choices.into_iter().map(|choice| text_of(Some(choice)).ok()).collect()),
        };
        Ok(ParsedAnswer { usage, answer })
    }
}

/// The choices of an answer, and what they cost together.
fn read(body: &[u8]) -> Result<(Vec<Choice>, Usage), AttemptFailure> {
    let Completion { choices, usage } = serde_json::from_slice(body)
        .map_err(|error| unreadable(format!("it is not a chat completion: {error}")))?;
    let counts = usage.unwrap_or_default();
    let usage = Usage {
        prompt_tokens: counts.prompt_tokens,
        completion_tokens: Some(counts.completion_tokens),
        cut_off: choices.iter().any(|choice| choice.finish_reason.as_deref() == Some("length")),
    };
    Ok((choices, usage))
}

fn unreadable(message: String) -> AttemptFailure {
    AttemptFailure::new(FailureKind::Unreadable, message)
}

fn unusable(message: impl Into<String>) -> AttemptFailure {
    AttemptFailure::new(FailureKind::Unusable, message)
}

fn text_of(choice: Option<Choice>) -> Result<ChoiceText, AttemptFailure> {
    let Some(Choice { message, finish_reason, .. }) = choice else {
        return Err(unusable("it has no choices"));
    };
    match (message.content, message.refusal) {
        (Some(text), _) => Ok(ChoiceText { text, finish_reason }),
        (None, Some(refusal)) => Err(unusable(format!("the model refused: {refusal}"))),
        (None, None) => {
            let reason = finish_reason.as_deref().unwrap_or("not given");
            Err(unusable(format!("it has no text (finish reason: {reason})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        match read(body.as_bytes()).and_then(|(choices, _)| text_of(choices.into_iter().next())) {
            Ok(ChoiceText { text, finish_reason }) => {
                format!("{text} ({})", finish_reason.unwrap_or_default())
            }
            Err(AttemptFailure { kind, message, .. }) => format!("{kind:?}: {message}"),
        }
    }

    fn request(messages: &[crate::record::Message]) -> ChatRequest<'_, [crate::record::Message]> {
        ChatRequest {
            id: "i",
            seed: 7,
            temperature: 0.7,
            top_p: 0.8,
            messages,
            stage: "draft",
            priority: Priority(0),
        }
    }

    fn model(options: ModelOptions) -> ChatModel {
        ChatModel::new(options, StopSignal::new(), &Metrics::new()).expect("a model")
    }

    #[test]
    fn only_text_counts_as_an_answer() {
        let cases = [
            (r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#, "a (stop)"),
            (r#"{"choices":[{"message":{"content":""}}],"usage":null}"#, " ()"),
            (r#"{"choices":[]}"#, "Unusable: it has no choices"),
            (
                r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#,
                "Unusable: the model refused: no",
            ),
            (
                r#"{"choices":[{"message":{"content":null,"reasoning":"hm"},"finish_reason":"length"}]}"#,
                "Unusable: it has no text (finish reason: length)",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(text(body), expected, "{body}");
        }
        assert!(text("<html>").contains("Unreadable"));
        assert!(text(r#"{"error":{"message":"x"}}"#).contains("Unreadable"));
    }

    #[test]
    fn extra_fields_follow_and_no_max_tokens_is_sent() {
        let mut options = ModelOptions::new("generator", &["http://localhost:1"], "m");
        options.extra.insert("top_k".to_owned(), 5.into());
        let (model, messages) = (model(options), [crate::record::Message::user("x")]);
        let body = |n| serde_json::to_string(&model.body(&request(&messages), n)).expect("it can be written");
        let start = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.7,"top_p":0.8,"seed":7,"#;
        assert_eq!(body(None), format!(r#"{start}"top_k":5}}"#));
        assert_eq!(body(Some(3)), format!(r#"{start}"n":3,"top_k":5}}"#));
    }

    #[test]
    fn several_answers_stand_in_the_order_of_their_choices() {
        let (model, messages) = (
            model(ModelOptions::new("generator", &["http://localhost:1"], "m")),
            [crate::record::Message::user("x")],
        );
        let several = |count, body: &str| {
            let request = request(&messages);
            let protocol = SeveralChoices { body: model.body(&request, Some(count)), count };
            let answer = protocol.read(body.as_bytes()).and_then(|parsed| parsed.answer);
            answer.map(|texts| texts.into_iter().map(|text| text.map(|text| text.text)).collect::<Vec<_>>())
        };
        let body = r#"{"choices":[{"index":1,"message":{"content":null}},{"index":0,"message":{"content":"a"}},
                       {"index":2,"message":{"content":"c"}}]}"#;
        assert_eq!(several(3, body).expect("read"), [Some("a".to_owned()), None, Some("c".to_owned())]);
        assert_eq!(several(2, body).expect("read"), [Some("a".to_owned()), None]);
        assert!(several(2, r#"{"choices":[]}"#).is_err());
    }
}
