//! Where configuration comes from: a file, the environment, the command line.

use std::path::Path;

use config::{Config, Environment, File, FileFormat, Value};

use super::{InForce, Mistake, Reader, Settings};

/// The file that is read if it is there and no other is named.
const DEFAULT_FILE: &str = "avr.toml";

/// The variables that stand for options of the command line.
const OPTIONS: [&str; 2] = ["AVR_CONFIG", "AVR_SIMULATE_API_KEY"];

/// One value from the command line: the key, with dots between its parts, and the value.
#[derive(Clone, Debug)]
pub struct Override {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
}

impl Override {
    /// An override of `key`.
    pub fn new(key: &str, value: impl Into<config::ValueKind>) -> Self {
        Self { key: key.to_owned(), value: Value::new(None, value) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The named file is not there.
    #[error("{0}: no such file; name the configuration with --config, or leave that out to go without")]
    NoFile(String),
    /// A file is not TOML, or cannot be read.
    #[error("{0}")]
    Unreadable(#[from] config::ConfigError),
    /// The values are wrong.
    #[error("{}", list(.0))]
    Mistakes(Vec<Mistake>),
}

/// Reads the configuration: `file`, or `avr.toml` in this folder if there is one; then variables of the
/// environment that begin with `AVR__`, parts of a key separated by `__`; then the command line.
///
/// # Errors
/// Every mistake at once.
pub fn load(file: Option<&Path>, overrides: Vec<Override>) -> Result<(Settings, Vec<InForce>), ConfigError> {
    if let Some(file) = file.filter(|file| !file.exists()) {
        return Err(ConfigError::NoFile(file.display().to_string()));
    }
    let file = match file {
        Some(file) => File::from(file).format(FileFormat::Toml),
        None => File::new(DEFAULT_FILE, FileFormat::Toml).required(false),
    };
    let environment = Environment::with_prefix("AVR").prefix_separator("__").separator("__");
    let mut builder = Config::builder().add_source(file).add_source(environment);
    for Override { key, value } in overrides {
        builder = builder.set_override(key, value)?;
    }
    let mut reader = Reader::new(builder.build()?.cache);
    let settings = Settings::read(&mut reader);
    match (reader.finish(), settings) {
        (Ok(in_force), Some(settings)) => Ok((settings, in_force)),
        (Err(mistakes), _) => Err(ConfigError::Mistakes(mistakes)),
        (Ok(_), None) => Err(ConfigError::Mistakes(vec![])),
    }
}

/// Variables of the environment that look as if they were meant for avr and are not read, each with what to write.
pub fn passed_over_variables() -> Vec<String> {
    passed_over(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()))
}

fn passed_over(names: impl Iterator<Item = String>) -> Vec<String> {
    let is_passed_over = |name: &String| {
        name.starts_with("AVR_") && !name.starts_with("AVR__") && !OPTIONS.contains(&name.as_str())
    };
    let advice = |name: String| {
        let key = name.trim_start_matches("AVR_").replace('_', "__");
        format!(
            "{name} is not read: two underscores stand before and between the parts of a key, as in AVR__{key}"
        )
    };
    let mut found: Vec<String> = names.filter(is_passed_over).map(advice).collect();
    found.sort_unstable();
    found
}

fn list(mistakes: &[Mistake]) -> String {
    let count = mistakes.len();
    let lines: Vec<String> = mistakes.iter().map(|mistake| format!("\n  {mistake}")).collect();
    format!("the configuration has {count} mistake{}:{}", if count == 1 { "" } else { "s" }, lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_with_one_underscore_are_told() {
        let names = ["AVR_STAGES_IMPROVE", "AVR__STAGES__IMPROVE", "AVR_CONFIG", "PATH", "AVRIL"];
        let found = passed_over(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("AVR_STAGES_IMPROVE is not read") && found[0].contains("AVR__STAGES__IMPROVE")
        );
    }
}
