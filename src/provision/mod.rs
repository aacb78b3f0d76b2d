//! Sets a cluster up for a pipeline: what its topics and groups should be, what they are, and how the one becomes the
//! other.
//!
//! ```text
//!   topics/*.toml + configuration ─▶ desired ─┐
//!                                             ├─▶ drift ────────────────▶ apply ─▶ the cluster
//!                 the cluster ─▶ descriptions ┘
//!           committed offsets ─┬─▶ missing start offsets (before a group's first record) ─▶ apply
//!                              └─▶ consumed (what may be deleted)
//! ```
//!
//! What differs and what to do about it is decided by functions from values to values (`desired`, `drift`, `consumed`, and
//! the log's own rule of where a group begins); [`Admin`](crate::log::kafka::Admin) asks the cluster and tells it.

mod apply;
mod audit;
mod consumed;
mod desired;
mod drift;

pub use apply::{Applied, Change, apply};
pub use audit::{Audit, ProvisionError, audit, check};
pub use consumed::{consumed, delete_consumed};
pub use desired::{DesiredTopic, TopicOverrides};
pub use drift::{Drift, Remedy, compare};
