//! What a client of one role's servers must know.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Backoff, Secret};

/// The servers of one role, all with the same model, and how to treat them.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// What the model is for, as metrics and messages call it: `generator`, `reward`.
    pub role: String,
    /// One URL a server. With or without `/v1` or a slash at the end.
    pub urls: Vec<String>,
    /// The model's name, as the servers know it.
    pub model: String,
    /// What each request calls its sender, as `User-Agent`; characters that a header cannot carry are replaced.
    pub agent: String,
    /// Sent as a bearer token.
    pub api_key: Option<Secret>,
    /// Where to post, instead of the API's own path; it is put behind the URL as that was given.
    pub path: Option<String>,
    /// Fields added to each request's body.
    pub extra: Map<String, Value>,
    /// Answers asked for in one request at most, where several to one conversation are wanted.
    pub samples_per_request: u32,
    /// Requests in flight at one server, at most.
    pub max_in_flight: usize,
    /// How long a request may take, from its sending to the last byte of its answer.
    pub timeout: Duration,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// The largest answer that is read, in bytes.
    pub max_answer_bytes: usize,
    /// How often a request may fail while its server answers others, before it is given up.
    pub max_retries_while_healthy: u32,
    /// Requests refused, with none answered yet, at which the run stops; 0 for never.
    pub stop_after_refusals: u32,
    /// Waits of one call before its retries.
    pub retry_backoff: Backoff,
    /// Cooldowns of an endpoint that fails.
    pub cooldown: Backoff,
}

impl ModelOptions {
    /// Options for `model` at `urls`, everything else as it is by default.
    pub fn new(role: &str, urls: &[&str], model: &str) -> Self {
        Self {
            role: role.to_owned(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            model: model.to_owned(),
            agent: concat!("avr/", env!("CARGO_PKG_VERSION")).to_owned(),
            api_key: None,
            path: None,
            extra: Map::new(),
            samples_per_request: 1,
            max_in_flight: 256,
            timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(10),
            max_answer_bytes: 16 << 20,
            max_retries_while_healthy: 20,
            stop_after_refusals: 50,
            retry_backoff: Backoff { first: Duration::from_millis(250), most: Duration::from_secs(30) },
            cooldown: Backoff { first: Duration::from_millis(500), most: Duration::from_secs(30) },
        }
    }

    /// Checks what can be checked without a server; `reserved` are the fields that `extra` may not hold.
    pub(super) fn check(&self, reserved: &[&str]) -> Result<(), OptionsError> {
        let role = || self.role.clone();
        if self.urls.is_empty() {
            return Err(OptionsError::NoUrl { role: role() });
        }
        if self.max_in_flight == 0 {
            return Err(OptionsError::NoSlot { role: role() });
        }
        match reserved.iter().find(|field| self.extra.contains_key(**field)) {
            Some(field) => Err(OptionsError::Reserved { role: role(), field: (*field).to_owned() }),
            None => Ok(()),
        }
    }
}

/// Options that no client can be made of.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// There is no server.
    #[error("the {role} has no URL; name at least one server")]
    NoUrl {
        /// The role.
        role: String,
    },
    /// Nothing could ever be sent.
    #[error("the {role} may have no request in flight; let it have at least one")]
    NoSlot {
        /// The role.
        role: String,
    },
    /// A field of the request is set twice.
    #[error("the {role}'s extra field `{field}` is set by avr itself; remove it")]
    Reserved {
        /// The role.
        role: String,
        /// The field.
        field: String,
    },
    /// A server's URL cannot be used.
    #[error("`{url}` is not the URL of a server ({problem}); write it like http://host:port")]
    Url {
        /// The URL without name and password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The key cannot be sent in a header.
    #[error("the {role}'s API key has characters that no HTTP header can carry; check its source")]
    Key {
        /// The role.
        role: String,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client for {url} cannot be set up: {cause}")]
    Client {
        /// The server.
        url: String,
        /// Why.
        cause: String,
    },
}
