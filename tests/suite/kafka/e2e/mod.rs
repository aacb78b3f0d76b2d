//! A pipeline over a real Kafka cluster, end to end: worker processes, submits and status, with real signals, against a
//! simulated model cluster in a process of its own.

mod assignments;
mod cleanup;
mod dead_letter_command;
mod dead_letters;
mod deaths;
mod exporters;
mod foreign_records;
mod growth;
mod kills;
mod membership;
mod models;
pub(crate) mod pipeline;
mod protocol;
mod raw;
mod recipes;
mod result;
mod retries;
mod submits;
mod workers;
