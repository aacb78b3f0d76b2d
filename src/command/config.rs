//! `avr config`: the configuration that is in force.

use super::{args::SettingsArgs, output::CommandOutput};
use crate::config::{ConfigError, InForce, passed_over_variables};

/// Shows every key with its value and where that comes from.
///
/// # Errors
/// Every mistake in the configuration at once.
pub fn run(args: &SettingsArgs) -> Result<CommandOutput, ConfigError> {
    let (_, in_force) = args.load()?;
    let text = in_force.iter().map(line).collect();
    Ok(CommandOutput { problems: passed_over_variables(), ..CommandOutput::done(text) })
}

fn line(entry: &InForce) -> String {
    format!("{} = {}  # {}\n", entry.key, entry.value, entry.origin)
}
