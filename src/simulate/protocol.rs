//! The bodies that go over the wire, as vLLM writes them: chat completions, `/pooling`, and errors.
//!
//! Requests are read into structs that borrow from the body, and unknown fields are passed over: at the rates of a
//! benchmark most of a replica's time would else go into building values that nobody reads.

use std::borrow::Cow;

use http_body_util::LengthLimitError;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// One turn of a conversation.
#[derive(Deserialize)]
pub(super) struct WireMessage<'a> {
    /// `system`, `user` or `assistant`.
    #[serde(borrow)]
    pub(super) role: Cow<'a, str>,
    /// The text. Lists of parts are not simulated.
    #[serde(borrow)]
    pub(super) content: Cow<'a, str>,
}

/// What a chat completion reads of its request.
#[derive(Deserialize)]
pub(super) struct WireChatRequest<'a> {
    /// The model asked for; the server's own when absent.
    pub(super) model: Option<Cow<'a, str>>,
    /// The conversation.
    #[serde(borrow)]
    pub(super) messages: Option<Vec<WireMessage<'a>>>,
    /// Sampling temperature, 1 when absent.
    pub(super) temperature: Option<f64>,
    /// Nucleus sampling; checked and otherwise without effect.
    pub(super) top_p: Option<f64>,
    /// Wide enough for every integer that a server refuses.
    pub(super) seed: Option<i128>,
    /// How many choices.
    pub(super) n: Option<i64>,
    /// Limit on the tokens of the answer, by its older name.
    pub(super) max_tokens: Option<i64>,
    /// The same by its newer name.
    pub(super) max_completion_tokens: Option<i64>,
    /// Streams are not simulated.
    #[serde(default)]
    pub(super) stream: Option<bool>,
}

/// What a reward reads of its request.
#[derive(Deserialize)]
pub(super) struct WirePoolingRequest<'a> {
    /// The model asked for; the server's own when absent.
    pub(super) model: Option<Cow<'a, str>>,
    /// The conversation.
    #[serde(borrow)]
    pub(super) messages: Option<Vec<WireMessage<'a>>>,
    /// Whether a sigmoid is applied; vLLM does unless told not to.
    pub(super) use_activation: Option<bool>,
}

/// Why a request is refused, in words and with the status of a real server.
#[derive(Debug, PartialEq)]
pub(super) struct ErrorReply {
    /// The HTTP status.
    pub(super) status: StatusCode,
    /// What is wrong.
    pub(super) message: String,
    /// The kind of error, as vLLM names it.
    pub(super) kind: &'static str,
    /// The parameter at fault.
    pub(super) parameter: Option<&'static str>,
}

#[derive(Serialize)]
struct WireError<'a> {
    error: WireErrorDetail<'a>,
}

#[derive(Serialize)]
struct WireErrorDetail<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: u16,
}

impl ErrorReply {
    /// A value that the server cannot work with.
    pub(super) fn bad_request(parameter: Option<&'static str>, message: impl Into<String>) -> Self {
        let (status, message) = (StatusCode::BAD_REQUEST, message.into());
        Self { status, message, kind: "BadRequestError", parameter }
    }

    /// A body that has not the form of a request.
    pub(super) fn schema(error: &serde_json::Error) -> Self {
        let message = format!("1 validation error:\n  {{'type': 'json_invalid', 'msg': '{error}'}}");
        Self { status: StatusCode::BAD_REQUEST, message, kind: "Bad Request", parameter: None }
    }

    /// A field that must be there or must be within bounds.
    pub(super) fn validation(parameter: &'static str, kind: &str, message: &str) -> Self {
        let message =
            format!("1 validation error:\n  {{'type': '{kind}', 'loc': '{parameter}', 'msg': '{message}'}}");
        let status = StatusCode::BAD_REQUEST;
        Self { status, message, kind: "Bad Request", parameter: Some(parameter) }
    }

    /// A model that is not served here.
    pub(super) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("The model `{asked}` does not exist. Valid aliases: {served}.");
        let status = StatusCode::NOT_FOUND;
        Self { status, message, kind: "NotFoundError", parameter: Some("model") }
    }

    /// A prompt that fills the context.
    pub(super) fn too_long(max_model_len: u64) -> Self {
        let least = max_model_len.saturating_add(1);
        let message = format!(
            "This model's maximum context length is {max_model_len} tokens. However, your prompt contains at \
             least {least} input tokens, which exceeds this limit even without any output tokens. Please \
             reduce the length of the input prompt. (parameter=input_tokens, value={least})"
        );
        Self::bad_request(Some("input_tokens"), message)
    }

    /// A failure of the server's own.
    pub(super) fn server(status: StatusCode, message: &str, kind: &'static str) -> Self {
        Self { status, message: message.to_owned(), kind, parameter: None }
    }

    /// A body that could not be read whole, because it is too large; other failures have nobody to tell.
    pub(super) fn unreadable(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        error.is::<LengthLimitError>().then(|| {
            let message = "the request is too large; send at most 64 MiB";
            Self::server(StatusCode::PAYLOAD_TOO_LARGE, message, "BadRequestError")
        })
    }

    /// The body of the response.
    pub(super) fn body(&self) -> Vec<u8> {
        let (message, code) = (&*self.message, self.status.as_u16());
        let error = WireErrorDetail { message, r#type: self.kind, param: self.parameter, code };
        to_json(&WireError { error })
    }
}

/// A chat completion.
#[derive(Serialize)]
pub(super) struct WireChatCompletion<'a> {
    /// `chatcmpl-` and the request's id.
    pub(super) id: &'a str,
    /// Always `chat.completion`.
    pub(super) object: &'a str,
    /// When the server started, in seconds since 1970, so that answers repeat byte for byte.
    pub(super) created: u64,
    /// The model asked for.
    pub(super) model: &'a str,
    /// One for each of `n`.
    pub(super) choices: Vec<WireChoice<'a>>,
    /// Tokens read and made.
    pub(super) usage: WireUsage,
}

/// One of a completion's choices.
#[derive(Serialize)]
pub(super) struct WireChoice<'a> {
    /// Its place.
    pub(super) index: usize,
    /// The text.
    pub(super) message: WireAnswer<'a>,
    /// Never computed.
    pub(super) logprobs: Option<()>,
    /// `stop` or `length`.
    pub(super) finish_reason: &'a str,
    /// Never set.
    pub(super) stop_reason: Option<()>,
}

/// The turn that a choice adds.
#[derive(Serialize)]
pub(super) struct WireAnswer<'a> {
    /// Always `assistant`.
    pub(super) role: &'a str,
    /// The text.
    pub(super) content: &'a str,
    /// Never set.
    pub(super) refusal: Option<()>,
    /// Never set.
    pub(super) reasoning: Option<()>,
}

/// A reward.
#[derive(Serialize)]
pub(super) struct WirePooling<'a> {
    /// `pooling-` and the request's id.
    pub(super) id: &'a str,
    /// Always `list`.
    pub(super) object: &'a str,
    /// As in [`WireChatCompletion`].
    pub(super) created: u64,
    /// The model asked for.
    pub(super) model: &'a str,
    /// One entry.
    pub(super) data: [WirePoolingEntry<'a>; 1],
    /// Tokens read.
    pub(super) usage: WireUsage,
}

/// The one entry of a reward.
#[derive(Serialize)]
pub(super) struct WirePoolingEntry<'a> {
    /// Always 0.
    pub(super) index: usize,
    /// Always `pooling`.
    pub(super) object: &'a str,
    /// One number.
    pub(super) data: [f64; 1],
}

/// Tokens of one request.
#[derive(Clone, Copy, Serialize)]
pub(super) struct WireUsage {
    /// Tokens read.
    pub(super) prompt_tokens: u64,
    /// Both together.
    pub(super) total_tokens: u64,
    /// Tokens made, by all choices.
    pub(super) completion_tokens: u64,
}

impl WireUsage {
    /// The sum is made here.
    pub(super) fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self { prompt_tokens, total_tokens: prompt_tokens + completion_tokens, completion_tokens }
    }
}

/// Encodes a value of this simulation, which always can be.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the simulation's values have string keys and finite numbers")
}
