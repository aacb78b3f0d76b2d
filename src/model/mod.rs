//! Clients of model servers: chat completions and rewards.
//!
//! ```text
//!  ChatModel::chat ────┐                    ┌─▶ queue by priority ─▶ endpoint with the fewest in flight
//!                      ├─▶ client ─▶ pool ──┤
//!  RewardModel::reward ┘   ▲   │            └─▶ cooldown and trial of endpoints that fail
//!                    retry │   ▼
//!                  attempt: transport ─▶ failure, of a kind ─▶ retry decides
//! ```
//!
//! ## Words
//!
//! - A **call** is what a stage makes: one request that wants one answer.
//! - An **attempt** is one HTTP request that is sent for a call. Those after the first are **retries**: the same
//!   request, byte for byte, whose `X-Request-Id` alone counts up (the id, a dot, and the attempt's number from 1).
//! - A **try** is the method's word ([METHOD](crate::method)): a call that ended with an answer or with a refusal that
//!   is final for its request. A recipe says how many tries a critique has until it has a rating; each is another
//!   call, with an id and a seed of its own. Attempts that fail in a way that may pass never use a try (the paper's
//!   released code spends one; our choice).
//! - A **slot** is the right to have one request in flight at an endpoint; a call that has one holds a *permit*.
//! - An endpoint that fails **cools down**; it is then **half-open**, and one request goes there as a **trial**.
//! - A **probe** is a request for something small that tells whether a server works.
//!
//! ## The contract of a call
//!
//! - It ends with an answer, with a [`CallError`] that says whom it concerns, or when its future is dropped.
//! - Whatever may pass (no connection, time-outs, 429, 5xx) is retried with jittered exponential back-off until the
//!   process [stops](StopSignal), however long an outage lasts, and never makes a dead letter; only a request on which
//!   a server fails again and again while it answers others is given up (`retry`). Where few calls fail and nothing
//!   else is answered a probe is sent in between, so that the last requests of a run cannot keep it for ever; a list
//!   of models would prove nothing, because a server whose engine is gone, and a proxy, still give one. Where many calls
//!   fail, or calls time out, no probe is sent: that is an outage, even if a server would have an answer to a probe.
//! - Where a role's servers refuse every request from the start, that concerns everybody.
//! - Calls that wait for a slot hold no text, and those of stages nearer the end are served first.
//!
//! Reading order: `schedule` (the policy of slots, pure), `pool` (its shell), `failure` and `retry` (what to do next,
//! pure), `client` (one call), `chat`, `reward`. Deliberately absent: streaming, since a step needs the whole answer.

mod backoff;
mod call_metrics;
mod chat;
mod check;
mod client;
mod endpoint;
mod error;
mod failure;
mod options;
mod pool;
mod retry;
mod retry_after;
mod reward;
mod schedule;
mod secret;
mod stop;
mod transport;
mod usage;

pub use backoff::Backoff;
pub use call_metrics::ModelTotals;
pub use chat::{ChatAnswer, ChatModel, ChatRequest, RESERVED as CHAT_RESERVED};
pub use check::{EndpointState, EndpointStatus};
pub use error::{CallError, CallErrorKind, Concerns, Refusal, RefusalReason};
pub use options::{ModelOptions, OptionsError};
pub use reward::{RESERVED as REWARD_RESERVED, RewardAnswer, RewardKind, RewardModel, RewardRequest};
pub use schedule::Priority;
pub use secret::{Secret, SecretError};
pub use stop::StopSignal;
