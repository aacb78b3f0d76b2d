//! `avr run`: puts the parts together, watches over them, and says what came of it.
//!
//! ```text
//!   Settings ─▶ log · models · engine · intake · admin ─▶ supervise ─▶ drain ─▶ summary
//! ```

mod assemble;
pub mod cleanup;
mod lag;
mod models;
mod signals;
mod summarise;
mod supervise;

use std::path::PathBuf;

pub use assemble::STATE;
pub(crate) use assemble::{definition, open_state};
pub(crate) use signals::Signals;
pub(crate) use summarise::{replay_summary, write_card, write_outputs};
pub use supervise::run;

use crate::{
    broker::LogError, engine::EngineError, intake::IntakeError, model::OptionsError, observe::Summary,
    simulate::SimulateError, source::SourceError,
};

/// What to run, beside the settings.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Files to read, `-` for standard input. None: carry on with what was taken in before.
    pub files: Vec<String>,
    /// Start a simulated model cluster and use it.
    pub simulate: bool,
    /// The command that carries on, to be shown when the run is interrupted.
    pub resume: String,
}

/// A run that ended by itself or was told to.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What came of it.
    pub summary: Summary,
    /// Whether it was told to stop before everything was done.
    pub interrupted: bool,
}

/// Why a run could not begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No server was named for a role.
    #[error(
        "no {role} is configured: name its servers with --{role} URL and its model with --{role}-model NAME (or in \
         avr.toml under [models.{role}]), or try it out with --simulate"
    )]
    NoModel {
        /// The role.
        role: &'static str,
    },
    /// A model's options do not fit.
    #[error("models.{role}: {cause}")]
    Model {
        /// The role.
        role: &'static str,
        /// What does not fit.
        cause: OptionsError,
    },
    /// The simulated cluster did not start.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// Files cannot be read.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Sources(Vec<SourceError>),
    /// The output folder cannot be made or written.
    #[error("{}: {cause}; choose another folder with --out", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine ended.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The intake ended.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// There is nothing to do.
    #[error(
        "nothing to do: name at least one FILE (or - for standard input); this output folder has nothing to carry on with"
    )]
    Nothing,
    /// Nothing could tell the run to stop.
    #[error("signals cannot be heard: {0}")]
    Signals(std::io::Error),
    /// A part of the run broke.
    #[error("the {0} broke in a way that it did not foresee")]
    Broken(&'static str),
}
