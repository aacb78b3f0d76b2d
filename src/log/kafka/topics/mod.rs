//! The topics of a pipeline in a cluster: what they should be, what they are, and how the one becomes the other.
//!
//! ```text
//!   topics/*.toml + configuration ─▶ wanted ─┐
//!                                            ├─▶ differences ─▶ apply ─▶ the cluster
//!                       the cluster ─▶ found ┘
//!   committed offsets ─▶ missing starts (before a group's first record) · consumed (what may be deleted)
//! ```
//!
//! What differs and what to do about it is decided by functions from values to values (`wanted`, `difference`, `starts`,
//! `consumed`); [`Admin`](super::Admin) asks the cluster and tells it.

mod apply;
mod consumed;
mod difference;
mod starts;
mod survey;
mod wanted;

pub use apply::{Applied, Change, apply};
pub use consumed::consumed;
pub use difference::{Difference, FoundTopic, Remedy, differences};
pub use starts::{FoundPartition, LostStart, MissingStart, missing_start, missing_starts};
pub use survey::{FoundGroup, Survey, TopicsError, check, delete_consumed, survey};
pub use wanted::{TopicDemands, WantedTopic};
