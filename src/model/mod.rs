//! Clients of model servers: chat completions and rewards.
//!
//! ```text
//!  ChatModel::chat ───┐                    ┌─▶ queue by priority ─▶ endpoint with the fewest in flight
//!                     ├─▶ caller ─▶ pool ──┤
//!  RewardModel::reward┘     ▲              └─▶ rest and probe of endpoints that fail
//!                           │ repeat
//!                  transport and failure: every failure is one of three
//! ```
//!
//! The contract of a call:
//!
//! - It ends with an answer, with a [`CallError`] that says how much it ends, or when its future is dropped.
//! - Whatever may pass (no connection, time-outs, 429, 5xx) is repeated with jittered exponential back-off until the
//!   run [stops](Stop), however long an outage lasts. It never uses a try (the paper's released code spends one; our
//!   choice) and never makes a dead letter; only a request on which a server fails again and again while it answers
//!   others is given up (`patience`). Where few calls fail and nothing else is answered, it is asked for something small
//!   in between, so that the last requests of a run cannot keep it for ever; a list of models would prove nothing,
//!   because a server whose engine is gone, and a proxy, still give one. Where many calls fail, or calls time out,
//!   nothing small is asked: that is an outage, even if a server would have an answer to what is small.
//! - Where a role's servers refuse every request from the start, the run stops before all of them are used up.
//! - A request that is repeated is the same request, byte for byte; only its `X-Request-Id` counts up:
//!   the id, a dot, and the number of the sending from 1.
//! - Calls that wait for a place hold no text, and those of stages nearer the end are served first.
//!
//! Reading order: `schedule` (the policy, pure), `pool` (its shell), `failure` and `patience` (what to do next, pure),
//! `caller` (one call), `chat`, `reward`. Deliberately absent: streaming, since a step needs the whole answer.

mod caller;
mod chat;
mod check;
mod endpoint;
mod error;
mod failure;
mod meter;
mod options;
mod patience;
mod pool;
mod retry_after;
mod reward;
mod schedule;
mod secret;
mod stop;
mod totals;
mod transport;

pub use chat::{ChatAnswer, ChatModel, ChatRequest, RESERVED as CHAT_RESERVED};
pub use check::{EndpointState, EndpointStatus};
pub use error::{CallError, Scope};
pub use options::{ModelOptions, OptionsError};
pub use reward::{RESERVED as REWARD_RESERVED, RewardAnswer, RewardKind, RewardModel, RewardRequest};
pub use schedule::Priority;
pub use secret::{Secret, SecretError};
pub use stop::Stop;
pub use totals::ModelTotals;
