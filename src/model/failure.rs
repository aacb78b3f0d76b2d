//! Failures sorted by what to do next: repeat, give the request up, or end the run.
//!
//! | what came | class |
//! |---|---|
//! | no connection, time-out, connection cut | repeated |
//! | 408, 425, 429, any 5xx | repeated; see [`patience`](super::patience) |
//! | 200 that is no JSON of the API's shape (a proxy's page) | repeated, up to [`MAX_UNREADABLE`] in a row |
//! | 200 of the right shape without the thing asked for | final for the request |
//! | 401, 403, 404, 405, 3xx | final for the run |
//! | any other 4xx | final for the request |

use std::time::Duration;

use serde::Deserialize;

use super::schedule::{Fault, Outcome};

/// Unreadable answers in a row after which a request is given up.
pub(super) const MAX_UNREADABLE: u32 = 5;

/// The longest part of a server's message that is passed on, in bytes.
const MAX_MESSAGE: usize = 2000;

/// Why one request failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may well work the next time.
    Transient { class: Class, message: String, fault: Fault },
    /// The server did not like the request.
    Refused { status: u16, message: String },
    /// The answer has the API's shape, but not the thing asked for.
    Unusable(String),
    /// The server wants another key, or none of us.
    Unauthorised { status: u16, message: String },
    /// The server does not have the model.
    UnknownModel(String),
    /// The server does not have the path.
    UnknownRoute { status: u16, message: String },
    /// No answer of this server can be used.
    WrongServer(String),
}

/// Sorts of transient failure, as metrics name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// No connection came about.
    Connect,
    /// The connection broke.
    Cut,
    /// The answer took too long, for us or for a proxy (504).
    Timeout,
    /// 429 and 503, and whatever comes with a time to wait.
    Busy,
    /// 408, 425 and other 5xx.
    Server,
    /// A 200 that cannot be read.
    Unreadable,
}

impl Class {
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Server => "server_error",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the request may be the cause: a server that is away or has too much to do fails on any.
    pub(super) fn may_be_the_request(self) -> bool {
        matches!(self, Self::Cut | Self::Timeout | Self::Server)
    }

    /// Whether it is a reason to ask for something small: that a server has time for that says nothing of its load.
    pub(super) fn wants_proof(self) -> bool {
        matches!(self, Self::Cut | Self::Server)
    }
}

impl Failure {
    /// An answer that is not of the API's shape.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        let message = shortened(&message.into());
        Self::Transient { class: Class::Unreadable, message, fault: Fault::Error }
    }

    /// Sorts an answer whose status is not 200.
    pub(super) fn of_status(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let ServerMessage { message, names_model } = server_message(status, body);
        match status {
            408 | 425 | 429 | 500.. => {
                let busy = matches!(status, 429 | 503) || retry_after.is_some();
                let class = match status {
                    _ if busy => Class::Busy,
                    504 => Class::Timeout,
                    _ => Class::Server,
                };
                let fault = retry_after.map_or(Fault::Error, Fault::Busy);
                Self::Transient { class, message: format!("status {status}: {message}"), fault }
            }
            401 | 403 => Self::Unauthorised { status, message },
            404 if names_model => Self::UnknownModel(message),
            0..=399 | 404 | 405 => Self::UnknownRoute { status, message },
            _ => Self::Refused { status, message },
        }
    }

    /// What happened, in words.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Transient { message, .. }
            | Self::Refused { message, .. }
            | Self::Unauthorised { message, .. }
            | Self::UnknownRoute { message, .. }
            | Self::Unusable(message)
            | Self::UnknownModel(message)
            | Self::WrongServer(message) => message,
        }
    }

    /// What it tells of the endpoint.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Transient { fault, .. } => Outcome::Failed(*fault),
            _ => Outcome::Answered,
        }
    }

    /// How the request ended, for the counter of requests sent.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Transient { .. } => "transient",
            Self::Refused { .. } => "refused",
            Self::Unusable(_) => "malformed",
            _ => "fatal",
        }
    }

    /// The sort of error, for metrics.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Transient { class, .. } => class.as_str(),
            Self::Refused { .. } => "refused",
            Self::Unusable(_) => "malformed",
            Self::Unauthorised { .. } => "unauthorised",
            Self::UnknownModel(_) => "unknown_model",
            Self::UnknownRoute { .. } => "unknown_route",
            Self::WrongServer(_) => "wrong_server",
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
    ServerMessage { message: text.map_or_else(|| plain(status, body), |text| shortened(&text)), names_model }
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
        text => shortened(text),
    }
}

/// A message of bounded length: it goes into log lines and headers of dead letters.
pub(super) fn shortened(message: &str) -> String {
    let longest = message.len().min(MAX_MESSAGE);
    let end = (0..=longest).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    if end == message.len() { message.to_owned() } else { format!("{}…", &message[..end]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_and_text(status: u16, body: &str) -> (&'static str, String) {
        let failure = Failure::of_status(status, body.as_bytes(), None);
        (failure.class(), failure.message().to_owned())
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
            assert_eq!(class_and_text(*status, body), (*class, (*message).to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn a_time_to_wait_rests_the_endpoint() {
        let wait = Duration::from_secs(7);
        assert_eq!(Failure::of_status(429, b"", Some(wait)).outcome(), Outcome::Failed(Fault::Busy(wait)));
        assert_eq!(Failure::of_status(429, b"", None).outcome(), Outcome::Failed(Fault::Error));
        assert_eq!(Failure::of_status(400, b"", None).outcome(), Outcome::Answered);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let (_, message) = class_and_text(400, &"é".repeat(3000));
        assert!(message.len() <= MAX_MESSAGE + '…'.len_utf8() && message.ends_with('…'));
    }
}
