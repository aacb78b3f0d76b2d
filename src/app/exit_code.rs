//! What the exit code of a process says, and which error ends it with which.

use std::fmt;

use crate::{
    engine::EngineError,
    export::ExportError,
    intake::IntakeError,
    log::{LogError, LogErrorKind},
    pipeline::claims::ClaimError,
    provision::ProvisionError,
};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// What was asked for is done.
    Done = 0,
    /// It failed; what was committed is complete.
    Failed = 1,
    /// The command line or the configuration is wrong, or does not fit what is there.
    WrongUsage = 2,
    /// A line of input cannot be used, and `--strict` asks to stop there.
    Strict = 3,
    /// Another process has the output folder.
    InUse = 4,
    /// It was told to stop, and the log did not take the last results.
    NotTaken = 5,
    /// It was told to stop before all was done.
    Interrupted = 130,
}

/// The codes, as `avr --help` explains them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    every prompt is accounted for; of a worker (--kafka): it was told to stop, and what it did is committed
  1    the run failed; what was committed is complete, and the same command carries on
  2    the command line or the configuration is wrong, or does not fit what the output folder was begun with
  3    --strict: a line of input cannot be used
  4    another process has the output folder; it is not harmed, try again when it has ended
  5    it was told to stop, and the log did not take the last results in time; what was committed is complete, and
       the results that it lacks are made again by whoever carries on
  130  interrupted by Ctrl-C or SIGTERM (a worker: by a second signal); what was done is committed, and the same
       command carries on";

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// An error that can end a process.
pub trait HasExitCode: fmt::Display {
    /// What the process ends with.
    fn exit_code(&self) -> ExitCode;
}

impl HasExitCode for LogError {
    fn exit_code(&self) -> ExitCode {
        match self.cause {
            LogErrorKind::Locked => ExitCode::InUse,
            _ => ExitCode::Failed,
        }
    }
}

impl HasExitCode for EngineError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotTaken { .. } => ExitCode::NotTaken,
            _ => ExitCode::Failed,
        }
    }
}

impl HasExitCode for IntakeError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Strict { .. } => ExitCode::Strict,
            Self::Log(error) => error.exit_code(),
            Self::Source(_) | Self::Stopped => ExitCode::Failed,
        }
    }
}

impl HasExitCode for ClaimError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::RecipeChanged(_) | Self::OtherModels(_) => ExitCode::WrongUsage,
            Self::Intake(error) => error.exit_code(),
            Self::Log(error) => error.exit_code(),
        }
    }
}

impl HasExitCode for ExportError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::OtherFormats { .. } | Self::Foreign(_) => ExitCode::WrongUsage,
            Self::Locked(_) => ExitCode::InUse,
            _ => ExitCode::Failed,
        }
    }
}

impl HasExitCode for ProvisionError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotReady { .. } => ExitCode::WrongUsage,
            Self::Log(error) => error.exit_code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_in_the_help_and_in_the_read_me() {
        use ExitCode::*;
        let read_me = include_str!("../../README.md");
        for code in [Done, Failed, WrongUsage, Strict, InUse, NotTaken, Interrupted] {
            let number = code as u8;
            assert!(EXIT_CODES.contains(&format!("\n  {number:<3}  ")), "{code:?}");
            assert!(read_me.contains(&format!("\n| {number} | ")), "{code:?}");
        }
    }
}
