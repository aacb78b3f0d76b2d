//! A simulated model cluster over real HTTP on loopback: chat completions and vLLM's `/pooling` reward, for tests,
//! benchmarks, and a first look without a GPU.
//!
//! ```text
//! connection ─▶ replica ─▶ count ─▶ fault? ─▶ chat ────▶ answer (text) ──▶ batcher (time) ─▶ response
//!                                          └▶ pooling ─▶ reward (number) ─▶ a pause ───────▶ response
//! ```
//!
//! The contract:
//!
//! - **Answers are a pure function** of the request and the cluster's seed: the same on every replica, in every
//!   run, however often asked. Only their time depends on load.
//! - **RequestCounts are exact.** A request counts when all of it has arrived, and as answered when its answer was
//!   handed to the connection (see [`RequestCounts`]). Any replica tells for the whole cluster: `GET /simulate/counts`,
//!   `GET /simulate/senders`, `GET /simulate/stats`, and `POST /simulate/reset` to start from zero.
//! - **Errors look like vLLM's**, in status and shape. What is not simulated is refused (streams) or passed over
//!   without effect (constrained output), as real servers do with what they do not know.
//! - **It costs little.** Benchmarks run it beside what they measure: requests are read without copying, and time
//!   is modelled by events, not by steps.
//!
//! Reading order: [`Options`] is what can be asked for, `batch` the model of time, `answer` and `reward` the
//! models' words, `replica` the way of a request, [`Cluster`] the outside.

mod answer;
mod batch;
mod batcher;
mod body;
mod chat;
mod cluster;
mod count;
mod draw;
mod error;
mod fault;
mod metrics;
mod options;
mod pooling;
mod prose;
mod protocol;
mod replica;
mod reward;
mod state;

pub use cluster::Cluster;
pub use count::{IdCount, RequestCounts, Senders, Stats};
pub use error::SimulateError;
pub use fault::InjectedFault;
pub use options::{FaultOptions, Latency, Options, RewardOptions, TextOptions, TimingOptions};
