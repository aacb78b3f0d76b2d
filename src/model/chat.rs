//! Chat completions, as any OpenAI-compatible server offers them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    CallError, EndpointStatus, ModelOptions, ModelTotals, OptionsError, Priority, Stop,
    caller::{Caller, Exchange, Reading, Subject},
    check,
    failure::{Failure, shortened},
    meter::Usage,
};
use crate::observe::Metrics;

const PATH: &str = "/v1/chat/completions";

/// What `extra` may not hold: the fields that avr sets, and those that change the answer's shape.
const RESERVED: &[&str] = &["model", "messages", "temperature", "top_p", "seed", "stream", "n"];

/// A model that writes text.
pub struct ChatModel(Caller);

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
    /// The stage's rank.
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
    pub sends: u32,
}

impl ChatModel {
    /// A client of the servers that `options` name. `stop` ends its waits.
    ///
    /// # Errors
    /// If the options cannot be used; see [`OptionsError`]. No server is asked yet.
    pub fn new(options: ModelOptions, stop: Stop, metrics: &Metrics) -> Result<Self, OptionsError> {
        options.check(RESERVED)?;
        Caller::new(options, "chat", PATH, stop, metrics).map(Self)
    }

    /// Asks for one answer. Failures that may pass are repeated until the answer is there or the run stops;
    /// dropping the future gives the call up at any point.
    ///
    /// An answer without text (`content: null`: a refusal, or reasoning that never came to an end) is
    /// [`CallError::Malformed`] and not an empty text: another try may bring one.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::scope`] tells how much it ends.
    pub async fn chat<M: Serialize + ?Sized>(
        &self,
        request: &ChatRequest<'_, M>,
    ) -> Result<ChatAnswer, CallError> {
        let options = &self.0.options;
        let exchange = ChatExchange { model: &options.model, extra: &options.extra, request };
        let subject = Subject { id: request.id, stage: request.stage, priority: request.priority };
        let (choice, usage, sends) = self.0.call(subject, &exchange).await?;
        Ok(ChatAnswer {
            text: choice.text,
            finish_reason: choice.finish_reason,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens.unwrap_or_default(),
            sends,
        })
    }

    /// Counts a try that was spent on an answer without the form that the method needs.
    pub fn count_used_try(&self, stage: &'static str) {
        self.0.meter.try_used(stage);
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.0.options.model
    }

    /// Asks each server how it is.
    pub async fn check(&self) -> Vec<EndpointStatus> {
        check::all(&self.0).await
    }

    /// What the calls so far came to.
    pub fn totals(&self) -> ModelTotals {
        self.0.meter.totals.snapshot()
    }
}

struct ChatExchange<'a, M: ?Sized> {
    model: &'a str,
    extra: &'a Map<String, Value>,
    request: &'a ChatRequest<'a, M>,
}

/// The body of a request. There is no `max_tokens`: a model may use all of its context.
#[derive(Serialize)]
struct ChatBody<'a, M: ?Sized> {
    model: &'a str,
    messages: &'a M,
    temperature: f64,
    top_p: f64,
    seed: u32,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<TokenCounts>,
}

#[derive(Deserialize)]
struct Choice {
    message: AnswerMessage,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct AnswerMessage {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize, Default)]
struct TokenCounts {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

/// A choice that has a text.
struct Text {
    text: String,
    finish_reason: Option<String>,
}

impl<M: Serialize + ?Sized> Exchange for ChatExchange<'_, M> {
    type Answer = Text;

    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        let ChatRequest { messages, temperature, top_p, seed, .. } = *self.request;
        serde_json::to_vec(&ChatBody {
            model: self.model,
            messages,
            temperature,
            top_p,
            seed,
            extra: self.extra,
        })
    }

    fn read(&self, body: &[u8]) -> Result<Reading<Text>, Failure> {
        read(body)
    }
}

fn read(body: &[u8]) -> Result<Reading<Text>, Failure> {
    let completion: Completion = serde_json::from_slice(body)
        .map_err(|error| Failure::unreadable(format!("it is not a chat completion: {error}")))?;
    let choice = completion.choices.into_iter().next();
    let counts = completion.usage.unwrap_or_default();
    let usage = Usage {
        prompt_tokens: counts.prompt_tokens,
        completion_tokens: Some(counts.completion_tokens),
        cut_off: choice.as_ref().is_some_and(|choice| choice.finish_reason.as_deref() == Some("length")),
    };
    Ok(Reading { usage, answer: text_of(choice) })
}

fn text_of(choice: Option<Choice>) -> Result<Text, Failure> {
    let Some(Choice { message, finish_reason }) = choice else {
        return Err(Failure::Unusable("it has no choices".to_owned()));
    };
    match (message.content, message.refusal) {
        (Some(text), _) => Ok(Text { text, finish_reason }),
        (None, Some(refusal)) => {
            Err(Failure::Unusable(format!("the model refused: {}", shortened(&refusal))))
        }
        (None, None) => {
            let reason = finish_reason.as_deref().unwrap_or("not given");
            Err(Failure::Unusable(format!("it has no text (finish reason: {reason})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> String {
        match read(body.as_bytes()).and_then(|reading| reading.answer) {
            Ok(Text { text, finish_reason }) => format!("{text} ({})", finish_reason.unwrap_or_default()),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn only_text_counts_as_an_answer() {
        let cases = [
            (r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#, "a (stop)"),
            (r#"{"choices":[{"message":{"content":""}}],"usage":null}"#, " ()"),
            (r#"{"choices":[]}"#, r#"Unusable("it has no choices")"#),
            (
                r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#,
                r#"Unusable("the model refused: no")"#,
            ),
            (
                r#"{"choices":[{"message":{"content":null,"reasoning":"hm"},"finish_reason":"length"}]}"#,
                r#"Unusable("it has no text (finish reason: length)")"#,
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
        let messages = [crate::record::Message::user("x")];
        let request = ChatRequest {
            id: "i",
            seed: 7,
            temperature: 0.7,
            top_p: 0.8,
            messages: &messages,
            stage: "draft",
            priority: Priority(0),
        };
        let body = ChatExchange { model: "m", extra: &options.extra, request: &request }.write();
        assert_eq!(
            String::from_utf8(body.expect("it can be written")).expect("UTF-8"),
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":0.7,"top_p":0.8,"seed":7,"top_k":5}"#
        );
    }
}
