//! What a command has to say when it has ended.

use crate::{
    app::{ExitCode, HasExitCode},
    terminal::Report,
};

/// What a command that came to its end has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// For standard output.
    pub text: String,
    /// What could not be done, a line each for standard error.
    pub problems: Vec<String>,
    /// What the process ends with.
    pub code: ExitCode,
}

impl CommandOutput {
    /// All was done.
    pub fn done(text: String) -> Self {
        Self { text, problems: vec![], code: ExitCode::Done }
    }

    /// Its report, of all that was to be done or of what was done before it was told to stop.
    pub fn report(report: &impl Report, json: bool, interrupted: bool) -> Self {
        let text = if json { report.json() } else { report.text() };
        let code = if interrupted { ExitCode::Interrupted } else { ExitCode::Done };
        Self { code, ..Self::done(text) }
    }

    /// It was told to stop before there was anything to say.
    pub fn interrupted() -> Self {
        Self { code: ExitCode::Interrupted, ..Self::done(String::new()) }
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError {
    /// What happened, and what to do.
    pub message: String,
    /// What the process ends with.
    pub code: ExitCode,
}

impl CommandError {
    /// The command line or the configuration is wrong.
    pub fn wrong_usage(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: ExitCode::WrongUsage }
    }

    /// The system did not give what a process needs.
    pub fn failed(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: ExitCode::Failed }
    }
}

impl From<CommandError> for CommandOutput {
    fn from(CommandError { message, code }: CommandError) -> Self {
        Self { text: String::new(), problems: vec![message], code }
    }
}

impl<E: HasExitCode> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}
