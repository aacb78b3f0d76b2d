//! Secrets: values that reach the request that needs them and nothing else.

use std::{fmt, fs, path::Path};

/// A text that neither `Debug` nor a log line ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Reads the environment variable called `name`; white space at the end is dropped.
    ///
    /// # Errors
    /// If the variable is not set, is not UTF-8, or holds nothing.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let value =
            std::env::var(name).map_err(|cause| SecretError::Variable { name: name.to_owned(), cause })?;
        Self::filled(&value).ok_or_else(|| SecretError::EmptyVariable(name.to_owned()))
    }

    /// Reads the file at `path`; white space at the end, such as the newline that editors add, is dropped.
    ///
    /// # Errors
    /// If the file cannot be read, is not UTF-8, or holds nothing.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let file = || path.display().to_string();
        let value = fs::read_to_string(path).map_err(|cause| SecretError::File { path: file(), cause })?;
        Self::filled(&value).ok_or_else(|| SecretError::EmptyFile(file()))
    }

    /// The hidden text, for the request that needs it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    fn filled(value: &str) -> Option<Self> {
        let value = value.trim_end();
        (!value.is_empty()).then(|| Self(value.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that cannot be had. No message holds any part of a value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment lacks the variable.
    #[error("environment variable {name} cannot be read ({}); set it, or name another", kind(cause))]
    Variable {
        /// The variable.
        name: String,
        /// Why it cannot be read; its own message would show a value that is not Unicode.
        cause: std::env::VarError,
    },
    /// The variable holds nothing.
    #[error("environment variable {0} is empty; put the key in it")]
    EmptyVariable(String),
    /// The file cannot be read.
    #[error("the key file {path} cannot be read: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The file holds nothing.
    #[error("the key file {0} is empty; put the key in it")]
    EmptyFile(String),
}

fn kind(cause: &std::env::VarError) -> &'static str {
    match cause {
        std::env::VarError::NotPresent => "it is not set",
        std::env::VarError::NotUnicode(_) => "its value is not UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn from_file(content: &[u8]) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("it can be written");
        Secret::from_file(file.path())
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn files_lose_the_newline_at_their_end() {
        assert_eq!(from_file(b"sk-1\n"), Ok("sk-1".into()));
        assert_eq!(from_file(b"sk-1\r\n"), Ok("sk-1".into()));
        assert_eq!(from_file(b" \n"), Err("the key file FILE is empty; put the key in it".into()));
        assert!(from_file(b"\xff").is_err_and(|error| error.starts_with("the key file FILE cannot be read")));
    }

    #[test]
    fn errors_name_what_is_missing() {
        let error = Secret::from_env("AVR_NO_SUCH_VARIABLE").expect_err("it is not set");
        assert_eq!(
            error.to_string(),
            "environment variable AVR_NO_SUCH_VARIABLE cannot be read (it is not set); set it, or name another"
        );
    }

    #[test]
    fn nothing_shows() {
        assert_eq!(format!("{:?}", Secret::new("sk-1")), "Secret(…)");
    }
}
