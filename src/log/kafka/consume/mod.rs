//! The side that reads as a member of a group.
//!
//! ```text
//!   KafkaConsumer ◀─ EventQueue ─── Poller (an OS thread) ◀─▶ librdkafka ◀─▶ group coordinator, leaders of partitions
//!                 ── CommandQueue ─▶   │
//!                                      ├─ PrefetchBuffer    records that were fetched and are not wanted yet
//!                                      └─ OwnedPartitions   whose a partition is, for the committer
//! ```
//!
//! `consumer` and `poller` are the two ends, `queues` lies between them; `callbacks` is what librdkafka says of the group;
//! `start_offsets` tells where an assignment begins; `registry` is how the committer finds a member.

mod callbacks;
mod consumer;
mod member;
mod owned;
mod poller;
mod prefetch;
mod queues;
mod registry;
mod start_offsets;

pub use consumer::KafkaConsumer;
pub(super) use member::GroupMember;
pub(super) use registry::GroupRegistry;
pub use start_offsets::{GroupOffsets, LostStart, MissingStart, PartitionOffsets};
