//! Why a call gave no answer: its place in a struct, its cause in a kind, and whom it concerns.

use std::fmt;

/// A call without an answer. Failures that may pass are not among them: they are retried until the process stops.
#[derive(Debug, thiserror::Error)]
pub struct CallError {
    /// The model asked.
    pub model: String,
    /// The server asked last; empty where none was.
    pub endpoint: String,
    /// Requests sent for the call, those among them that failed in a way that may pass.
    pub attempts: u32,
    /// What happened.
    pub kind: CallErrorKind,
}

/// What happened to a call without an answer.
#[derive(Debug)]
pub enum CallErrorKind {
    /// A server refused.
    Refused(Refusal),
    /// An answer came that holds nothing usable; another seed may do better.
    Unusable {
        /// What is wrong with it.
        message: String,
    },
    /// The server failed on this request again and again while it answered others.
    GaveUp {
        /// How often it failed while the server answered others.
        failures: u32,
        /// What came the last time.
        message: String,
    },
    /// The request could not be written as JSON, so it was never sent.
    Unwritable(serde_json::Error),
    /// The process drains or stops; the call was not finished, and is made again by the next run.
    Stopped,
}

/// A server's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whom it concerns.
    pub concerns: Concerns,
    /// What it means.
    pub reason: RefusalReason,
    /// The HTTP status; none where the answer was a 200.
    pub status: Option<u16>,
    /// The server's own words.
    pub message: String,
}

/// Whom a failure concerns, and so what it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concerns {
    /// This request alone: the same one need not be sent again, and others may be answered. It uses a try.
    Request,
    /// Whatever is sent to this endpoint.
    Endpoint,
    /// Whatever is sent with this key.
    Key,
    /// Whatever is sent for this role.
    Everybody,
}

/// What a refusal means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The server does not like the request.
    Request,
    /// The server wants another key, or none of us.
    Unauthorised,
    /// The server does not have the model, but those that it lists.
    UnknownModel {
        /// The models that it has, as far as it tells.
        known: Vec<String>,
    },
    /// The server does not have the path.
    UnknownRoute {
        /// The path.
        path: String,
    },
    /// No answer of this server can be used.
    WrongServer,
    /// The servers refused every request so far, of which this is one.
    RefusesAll,
}

impl CallError {
    /// Whom the error concerns; nobody where the process was told to stop.
    pub fn concerns(&self) -> Option<Concerns> {
        match &self.kind {
            CallErrorKind::Refused(refusal) => Some(refusal.concerns),
            CallErrorKind::Unusable { .. } | CallErrorKind::GaveUp { .. } | CallErrorKind::Unwritable(_) => {
                Some(Concerns::Request)
            }
            CallErrorKind::Stopped => None,
        }
    }

    /// The HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match &self.kind {
            CallErrorKind::Refused(refusal) => refusal.status,
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, endpoint, .. } = self;
        match &self.kind {
            CallErrorKind::Refused(refusal) => refusal.write(f, model, endpoint),
            CallErrorKind::Unusable { message } => {
                write!(f, "the answer of {model} at {endpoint} cannot be used: {message}")
            }
            CallErrorKind::GaveUp { failures, message } => write!(
                f,
                "{model} at {endpoint} failed on the request {failures} times while it answered others, the last \
                 time so: {message} (models.*.max_retries_while_healthy)"
            ),
            CallErrorKind::Unwritable(error) => write!(f, "the request cannot be written as JSON: {error}"),
            CallErrorKind::Stopped => f.write_str("the run is stopping"),
        }
    }
}

impl Refusal {
    fn write(&self, f: &mut fmt::Formatter<'_>, model: &str, endpoint: &str) -> fmt::Result {
        let Self { reason, status, message, .. } = self;
        let status = status.unwrap_or(200);
        let asked = format_args!("{model} at {endpoint}");
        match reason {
            RefusalReason::Request => {
                write!(f, "{asked} refused the request with status {status}: {message}")
            }
            RefusalReason::Unauthorised => write!(
                f,
                "{asked}: access was refused with status {status} ({message}); check the API key and what it may be \
                 used for"
            ),
            RefusalReason::UnknownModel { known } if known.is_empty() => write!(
                f,
                "{asked}: the server does not have the model ({message}); correct the model's name, or the URL"
            ),
            RefusalReason::UnknownModel { known } => write!(
                f,
                "{asked}: the server does not have the model ({message}); correct the model's name; the server has: {}",
                known.join(", ")
            ),
            RefusalReason::UnknownRoute { path } => write!(
                f,
                "{asked}: nothing answers at {path} (status {status}: {message}); check the URL, and that the server \
                 serves this kind of model"
            ),
            RefusalReason::WrongServer => write!(
                f,
                "{asked}: {message}; a reward model gives one number: start vLLM with `--runner pooling --convert \
                 classify` on a model with one label, or choose another kind of answer"
            ),
            RefusalReason::RefusesAll => write!(
                f,
                "{asked}: it refused every request so far, this one with status {status} ({message}); look at what is \
                 asked of it, then start again; what went to the dead letters meanwhile can be sent back"
            ),
        }
    }
}
