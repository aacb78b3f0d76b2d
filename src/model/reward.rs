//! Rewards, as vLLM's pooling and classification endpoints give them.

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

/// What `extra` may not hold. `use_activation` may be there: it is `false` only unless it is said otherwise.
pub const RESERVED: &[&str] = &["model", "messages"];

/// Where the number is in the answer, and by default at which path it is asked for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum RewardKind {
    /// `/pooling`: `data[0].data[0]`.
    #[default]
    Pooling,
    /// `/classify`: `data[0].probs[0]`.
    Classify,
}

impl RewardKind {
    fn path(self) -> &'static str {
        match self {
            Self::Pooling => "/pooling",
            Self::Classify => "/classify",
        }
    }
}

/// A model that scores conversations.
pub struct RewardModel {
    client: RoleClient,
    kind: RewardKind,
}

/// One call. `M` is anything that serialises to a list of messages.
#[derive(Debug)]
pub struct RewardRequest<'a, M: ?Sized> {
    /// Deterministic name of the request: the same after a crash, another for another try.
    pub id: &'a str,
    /// The conversation, ending with the answer to score.
    pub messages: &'a M,
    /// Which stage calls, for metrics.
    pub stage: &'static str,
    /// How urgent the call is.
    pub priority: Priority,
}

/// A score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardAnswer {
    /// The score, bit for bit as the server wrote it; finite.
    pub reward: f64,
    /// Tokens of the conversation; 0 if the server does not say.
    pub prompt_tokens: u32,
    /// Requests sent for it, from 1.
    pub attempts: u32,
}

impl RewardModel {
    /// A client of the servers that `options` name. `stop` ends its waits.
    ///
    /// Without a word about `use_activation` in the options' extra fields it is sent as `false`: vLLM else puts
    /// the score through a sigmoid.
    ///
    /// # Errors
    /// If the options cannot be used; see [`OptionsError`]. No server is asked yet.
    pub fn new(
        mut options: ModelOptions,
        kind: RewardKind,
        stop: StopSignal,
        metrics: &Metrics,
    ) -> Result<Self, OptionsError> {
        options.check(RESERVED)?;
        options.extra.entry("use_activation").or_insert(Value::Bool(false));
        let probe = probe(&options);
        let api = ApiSpec { operation: "pooling", path: kind.path(), probe };
        Ok(Self { client: RoleClient::new(options, api, stop, metrics)?, kind })
    }

    /// Asks for one score. Failures that may pass are retried until it is there or the run stops; dropping
    /// the future gives the call up at any point.
    ///
    /// # Errors
    /// See [`CallError`]. A score that is not finite is [`Unusable`](super::CallErrorKind::Unusable); more than one
    /// number, which no other request will change, concerns the endpoint.
    pub async fn reward<M: Serialize + ?Sized>(
        &self,
        request: &RewardRequest<'_, M>,
    ) -> Result<RewardAnswer, CallError> {
        let options = &self.client.options;
        let protocol = RewardProtocol {
            kind: self.kind,
            body: RewardBody { model: &options.model, messages: request.messages, extra: &options.extra },
        };
        let context = CallContext { id: request.id, stage: request.stage, priority: request.priority };
        let Answered { answer, usage, attempts } = self.client.call(context, &protocol).await?;
        Ok(RewardAnswer { reward: answer, prompt_tokens: usage.prompt_tokens, attempts })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.client.options.model
    }

    /// Asks each server how it is.
    pub async fn check(&self) -> Vec<EndpointStatus> {
        check::all(&self.client.pool, &self.client.options.model).await
    }

    /// What the calls so far came to.
    pub fn totals(&self) -> ModelTotals {
        self.client.metrics.totals()
    }
}

/// A request for the reward of one word.
fn probe(options: &ModelOptions) -> Map<String, Value> {
    let mut body = options.extra.clone();
    let turn = |role: &str| json!({"role": role, "content": "Hello"});
    body.insert("model".to_owned(), options.model.as_str().into());
    body.insert("messages".to_owned(), json!([turn("user"), turn("assistant")]));
    body
}

struct RewardProtocol<'a, M: ?Sized> {
    kind: RewardKind,
    body: RewardBody<'a, M>,
}

#[derive(Serialize)]
struct RewardBody<'a, M: ?Sized> {
    model: &'a str,
    messages: &'a M,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

#[derive(Deserialize)]
struct Scores {
    data: Vec<Score>,
    usage: Option<TokenCounts>,
}

#[derive(Deserialize)]
struct Score {
    data: Option<Value>,
    probs: Option<Value>,
}

impl<M: Serialize + ?Sized> Protocol for RewardProtocol<'_, M> {
    type Answer = f64;

    fn write(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&self.body)
    }

    fn read(&self, body: &[u8]) -> Result<ParsedAnswer<f64>, AttemptFailure> {
        read(self.kind, body)
    }
}

fn read(kind: RewardKind, body: &[u8]) -> Result<ParsedAnswer<f64>, AttemptFailure> {
    let scores: Scores = serde_json::from_slice(body).map_err(|error| unreadable(body, &error))?;
    let prompt_tokens = scores.usage.map_or(0, |usage| usage.prompt_tokens);
    let usage = Usage { prompt_tokens, ..Usage::default() };
    Ok(ParsedAnswer { usage, answer: number(kind, scores.data) })
}

/// Python writes numbers that JSON does not have; they are an answer, though of no use.
fn unreadable(body: &[u8], error: &serde_json::Error) -> AttemptFailure {
    let names = |word: &str| body.windows(word.len()).any(|window| window == word.as_bytes());
    if names("NaN") || names("Infinity") || error.to_string().starts_with("number out of range") {
        return not_finite();
    }
    AttemptFailure::new(FailureKind::Unreadable, format!("it is not a list of scores: {error}"))
}

fn not_finite() -> AttemptFailure {
    AttemptFailure::new(FailureKind::Unusable, "the reward is not a finite number")
}

fn wrong_server(message: String) -> AttemptFailure {
    AttemptFailure::new(FailureKind::WrongServer, message)
}

fn number(kind: RewardKind, scores: Vec<Score>) -> Result<f64, AttemptFailure> {
    let count = scores.len();
    let Some(score) = scores.into_iter().next() else {
        return Err(AttemptFailure::new(FailureKind::Unusable, "it has no scores"));
    };
    if count > 1 {
        return Err(wrong_server(format!("it gives {count} scores for one conversation")));
    }
    let (field, value) = match kind {
        RewardKind::Pooling => ("data", score.data),
        RewardKind::Classify => ("probs", score.probs),
    };
    let Some(Value::Array(numbers)) = value else {
        return Err(wrong_server(format!("its score has no list of numbers called `{field}`")));
    };
    one_of(&numbers)
}

fn one_of(numbers: &[Value]) -> Result<f64, AttemptFailure> {
    match numbers {
        [Value::Null] => Err(not_finite()),
        [number] if number.is_number() => {
            number.as_f64().filter(|number| number.is_finite()).ok_or_else(not_finite)
        }
        [other] => Err(wrong_server(format!("its score is not a number but {other}"))),
        _ => Err(wrong_server(format!("its score is {} numbers", numbers.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(data: &str) -> String {
        let body = format!(r#"{{"data":[{{"index":0,"data":{data}}}],"usage":{{"prompt_tokens":3}}}}"#);
        match read(RewardKind::Pooling, body.as_bytes()).and_then(|parsed| parsed.answer) {
            Ok(number) => format!("{:x}", number.to_bits()),
            Err(AttemptFailure { kind, message, .. }) => format!("{kind:?}: {message}"),
        }
    }

    #[test]
    fn one_number_is_read_bit_for_bit() {
        for number in [0.14793455600738525_f64, -1.6131350994110107, 5e-324, 0.1 + 0.2, -0.0] {
            assert_eq!(pooled(&format!("[{number:?}]")), format!("{:x}", number.to_bits()));
        }
        assert_eq!(pooled("[3]"), format!("{:x}", 3f64.to_bits()));
    }

    #[test]
    fn anything_else_is_no_reward() {
        for data in ["[null]", "[NaN]", "[-Infinity]", "[1e999]"] {
            assert_eq!(pooled(data), "Unusable: the reward is not a finite number", "{data}");
        }
        for (data, problem) in [
            ("[1.0,2.0]", "its score is 2 numbers"),
            ("[]", "its score is 0 numbers"),
            ("[[1.0],[2.0]]", "its score is 2 numbers"),
            ("[[1.0]]", "its score is not a number but [1.0]"),
            (r#""WXMJPw==""#, "its score has no list of numbers called `data`"),
        ] {
            let text = pooled(data);
            assert!(text.contains("WrongServer") && text.contains(problem), "{data}: {text}");
        }
        assert!(pooled("[").contains("Unreadable"));
    }
}
