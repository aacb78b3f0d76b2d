//! The command line: a file for each command, with its arguments and what it does.

pub mod args;
pub mod config;
pub mod dead_letters;
pub mod output;
pub mod replay;
pub mod run;
pub mod simulate;
pub mod status;
pub mod submit;
pub mod topics;

use clap::{Parser, Subcommand};

use self::{
    args::SettingsArgs, dead_letters::DeadLettersArgs, replay::ReplayArgs, run::RunArgs,
    simulate::SimulateArgs, status::StatusArgs, submit::SubmitArgs, topics::TopicsArgs,
};
use crate::app::EXIT_CODES;

/// A streaming refinery for LLM training data: Alignment via Refinement (arXiv 2506.06009) as a dataflow.
///
/// Prompts are answered, criticised, improved and scored; what gained becomes training records, exactly once.
#[derive(Debug, Parser)]
#[command(name = "avr", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Refine prompts into training records.
    Run(Box<RunArgs>),
    /// Set up the topics of a Kafka cluster, and compare them with what they should be.
    Topics(TopicsArgs),
    /// Select from the finished threads of a run again, with other thresholds and without one model call.
    Replay(Box<ReplayArgs>),
    /// Start a cluster of simulated model servers on this machine.
    Simulate(Box<SimulateArgs>),
    /// Give prompts to a pipeline over a Kafka cluster, from anywhere.
    Submit(Box<SubmitArgs>),
    /// Show how far a pipeline over a Kafka cluster is, or wait until nothing is left to do.
    Status(Box<StatusArgs>),
    /// Look at the records that a stage could not handle, send them back, or give them up.
    DeadLetters(DeadLettersArgs),
    /// Print the configuration that is in force and where each value comes from; secrets are masked.
    Config(Box<SettingsArgs>),
}
