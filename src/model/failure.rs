//! Failed attempts sorted by what to do next: retry, give the request up, or end more than it.
//!
//! | what came | kind | what follows |
//! |---|---|---|
//! | no connection, time-out, connection cut | `Connect`, `Timeout`, `Cut` | retried |
//! | 408, 425, 429, any 5xx | `Busy`, `Server`, `Timeout` (504) | retried; see [`retry`](super::retry) |
//! | 200 that is no JSON of the API's shape (a proxy's page) | `Unreadable` | retried, up to [`MAX_UNREADABLE`] in a row |
//! | 200 of the right shape without the thing asked for | `Unusable` | final for the request |
//! | 401, 403 | `Unauthorised` | final for the key |
//! | 404, 405, 3xx | `UnknownModel`, `UnknownRoute` | final for the endpoint |
//! | 200 of a server of another kind | `WrongServer` | final for the endpoint |
//! | any other 4xx | `Refused` | final for the request |

use std::{error::Error as _, time::Duration};

use serde::Deserialize;

use super::schedule::{EndpointFault, HealthSignal};

/// Unreadable answers in a row after which a request is given up.
pub(super) const MAX_UNREADABLE: u32 = 5;

/// The longest part of a server's message that is passed on, in bytes.
const MAX_MESSAGE: usize = 2000;

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttemptFailure {
    /// The sort of failure.
    pub(super) kind: FailureKind,
    /// The HTTP status; none where no answer came.
    pub(super) status: Option<u16>,
    /// What happened: the server's own words where it had any.
    pub(super) message: String,
    /// How long the server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Sorts of failure, as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum FailureKind {
    /// No connection came about.
    Connect,
    /// The connection broke.
    Cut,
    /// The answer took too long, for us or for a proxy (504).
    Timeout,
    /// 429 and 503, and whatever comes with a time to wait.
    Busy,
    /// 408, 425 and other 5xx.
    #[strum(serialize = "server_error")]
    Server,
    /// A 200 that cannot be read.
    Unreadable,
    /// The server did not like the request.
    Refused,
    /// The answer has the API's shape, but not the thing asked for.
    #[strum(serialize = "malformed")]
    Unusable,
    /// The server wants another key, or none of us.
    Unauthorised,
    /// The server does not have the model.
    UnknownModel,
    /// The server does not have the path.
    UnknownRoute,
    /// No answer of this server can be used.
    WrongServer,
}

impl FailureKind {
    /// The name in metrics.
    pub(super) fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the same request may well be answered the next time.
    pub(super) fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Connect | Self::Cut | Self::Timeout | Self::Busy | Self::Server | Self::Unreadable
        )
    }

    /// Whether the request may be the cause: a server that is away or has too much to do fails on any.
    pub(super) fn may_be_the_request(self) -> bool {
        matches!(self, Self::Cut | Self::Timeout | Self::Server)
    }

    /// Whether it is a reason to ask for something small: that a server has time for that says nothing of its load.
    pub(super) fn wants_probe(self) -> bool {
        matches!(self, Self::Cut | Self::Server)
    }
}

impl AttemptFailure {
    /// A failure without an answer, or of an answer that was a 200.
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, message: shortened(message.into()), retry_after: None }
    }

    /// Sorts an answer whose status is not 200.
    pub(super) fn of_status(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let ServerMessage { message, names_model } = server_message(status, body);
        let kind = match status {
            429 | 503 => FailureKind::Busy,
            408 | 425 | 500.. if retry_after.is_some() => FailureKind::Busy,
            504 => FailureKind::Timeout,
            408 | 425 | 500.. => FailureKind::Server,
            401 | 403 => FailureKind::Unauthorised,
            404 if names_model => FailureKind::UnknownModel,
            0..=399 | 404 | 405 => FailureKind::UnknownRoute,
            _ => FailureKind::Refused,
        };
        Self { kind, status: Some(status), message, retry_after }
    }

    /// What happened, in words that do not need the kind.
    pub(super) fn words(&self) -> String {
        match self.status {
            Some(status) if self.kind.is_transient() => format!("status {status}: {}", self.message),
            _ => self.message.clone(),
        }
    }

    /// What it tells of the endpoint.
    pub(super) fn health(&self) -> HealthSignal {
        match self.kind {
            _ if !self.kind.is_transient() => HealthSignal::Answered,
            FailureKind::Connect => HealthSignal::Failed(EndpointFault::Unreachable),
            _ => HealthSignal::Failed(self.retry_after.map_or(EndpointFault::Error, EndpointFault::Busy)),
        }
    }

    /// How the attempt ended, for the counter of attempts.
    pub(super) fn result(&self) -> &'static str {
        match self.kind {
            kind if kind.is_transient() => "transient",
            FailureKind::Refused | FailureKind::Unusable => self.kind.as_str(),
            _ => "fatal",
        }
    }
}

/// The server's own words, and whether they are about the model's name.
struct ServerMessage {
    message: String,
    names_model: bool,
}

/// The bodies that servers send with an error: `{"error": {"message", "code", …}}` (OpenAI, vLLM, llama.cpp),
/// `{"error": "…"}` (Ollama), `{"message"}` (older vLLM), `{"detail"}` (FastAPI).
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<ErrorField>,
    message: Option<String>,
    detail: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorField {
    Object { message: String, code: Option<serde_json::Value>, param: Option<serde_json::Value> },
    Text(String),
}

fn server_message(status: u16, body: &[u8]) -> ServerMessage {
    let parsed = serde_json::from_slice(body).ok();
    let Some(ErrorBody { error, message, detail }) = parsed else {
        return ServerMessage { message: plain(status, body), names_model: false };
    };
    let (text, about_model) = match error {
        Some(ErrorField::Object { message, code, param }) => {
            let tagged = |value: Option<serde_json::Value>, tag| value.is_some_and(|value| value == tag);
            (Some(message), tagged(code, "model_not_found") || tagged(param, "model"))
        }
        Some(ErrorField::Text(text)) => (Some(text), false),
        None => (message, false),
    };
    let names_model = about_model || text.as_ref().is_some_and(|text| text.to_lowercase().contains("model"));
    let text = text.or_else(|| detail.map(|detail| unquoted(&detail)));
    ServerMessage { message: text.map_or_else(|| plain(status, body), shortened), names_model }
}

fn unquoted(detail: &serde_json::Value) -> String {
    detail.as_str().map_or_else(|| detail.to_string(), str::to_owned)
}

fn plain(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2 * MAX_MESSAGE)]);
    match text.trim() {
        "" => {
            let status = reqwest::StatusCode::from_u16(status).ok();
            status.and_then(|status| status.canonical_reason()).unwrap_or("no message").to_owned()
        }
        text => shortened(text.to_owned()),
    }
}

/// A message of bounded length: it goes into log lines and headers of dead letters.
pub(super) fn shortened(mut message: String) -> String {
    let longest = message.len().min(MAX_MESSAGE);
    let end = (0..=longest).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
    if end < message.len() {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// An error with its causes, but without the URL, which may hold a password.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = match cause {
        Some(_) => String::new(),
        None if error.is_timeout() => "it took too long".to_owned(),
        None => "the request failed".to_owned(),
    };
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_and_words(status: u16, body: &str) -> (&'static str, String) {
        let failure = AttemptFailure::of_status(status, body.as_bytes(), None);
        (failure.kind.as_str(), failure.words())
    }

    #[test]
    fn statuses_and_bodies_are_sorted() {
        let cases: &[(u16, &str, &str, &str)] = &[
            (
                400,
                r#"{"error":{"message":"too long","type":"t","param":"input_tokens","code":400}}"#,
                "refused",
                "too long",
            ),
            (
                400,
                r#"{"object":"error","message":"old shape","type":"BadRequestError"}"#,
                "refused",
                "old shape",
            ),
            (413, "Request Entity Too Large", "refused", "Request Entity Too Large"),
            (422, r#"{"detail":[{"loc":["body"]}]}"#, "refused", r#"[{"loc":["body"]}]"#),
            (401, r#"{"error":{"message":"wrong key"}}"#, "unauthorised", "wrong key"),
            (403, r#"{"error":"Forbidden"}"#, "unauthorised", "Forbidden"),
            (404, r#"{"detail":"Not Found"}"#, "unknown_route", "Not Found"),
            (
                404,
                r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#,
                "unknown_route",
                "File Not Found",
            ),
            (
                404,
                r#"{"error":{"message":"The model `m` does not exist."}}"#,
                "unknown_model",
                "The model `m` does not exist.",
            ),
            (
                404,
                r#"{"error":{"message":"no such thing","code":"model_not_found"}}"#,
                "unknown_model",
                "no such thing",
            ),
            (404, "", "unknown_route", "Not Found"),
            (405, r#"{"detail":"Method Not Allowed"}"#, "unknown_route", "Method Not Allowed"),
            (301, "", "unknown_route", "Moved Permanently"),
            (429, "slow down", "busy", "status 429: slow down"),
            (408, "", "server_error", "status 408: Request Timeout"),
            (500, "{}", "server_error", "status 500: {}"),
            (503, r#"{"error":{"message":"Loading model","code":503}}"#, "busy", "status 503: Loading model"),
            (599, "", "server_error", "status 599: no message"),
        ];
        for (status, body, class, message) in cases {
            assert_eq!(kind_and_words(*status, body), (*class, (*message).to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn a_time_to_wait_cools_the_endpoint_down() {
        let wait = Duration::from_secs(7);
        let health = |status, wait| AttemptFailure::of_status(status, b"", wait).health();
        assert_eq!(health(429, Some(wait)), HealthSignal::Failed(EndpointFault::Busy(wait)));
        assert_eq!(health(429, None), HealthSignal::Failed(EndpointFault::Error));
        assert_eq!(health(400, None), HealthSignal::Answered);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let (_, message) = kind_and_words(400, &"é".repeat(3000));
        assert!(message.len() <= MAX_MESSAGE + '…'.len_utf8() && message.ends_with('…'));
    }
}
