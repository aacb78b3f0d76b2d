//! The section `observe` of the configuration.

use std::net::SocketAddr;

use super::Section;
use crate::{
    observe::{AdminOptions, LogFormat, LogOptions},
    terminal::ProgressMode,
};

/// How a process shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObserveSettings {
    /// The admin HTTP server: key `listen`.
    pub admin: AdminOptions,
    /// Logs: keys `log_format` and `log_filter`.
    pub log: LogOptions,
    /// The progress display: key `progress`.
    pub progress: ProgressMode,
}

pub(super) fn read(section: &mut Section<'_>) -> ObserveSettings {
    let admin = AdminOptions { listen: listen(section) };
    let log = LogOptions { format: section.choice("log_format", LogFormat::Human), filter: filter(section) };
    ObserveSettings { admin, log, progress: section.choice("progress", ProgressMode::Auto) }
}

fn listen(section: &mut Section<'_>) -> SocketAddr {
    let default = AdminOptions::default().listen;
    let text = section.text("listen", &default.to_string());
    text.parse().unwrap_or_else(|_| {
        let message =
            format!("{text:?} is not an address with a port; right is, for instance, \"{default}\"");
        section.mistake("listen", message);
        default
    })
}

fn filter(section: &mut Section<'_>) -> String {
    let filter = section.text("log_filter", LogOptions::DEFAULT_FILTER);
    if let Some(mistake) = LogOptions::mistake_in(&filter) {
        section.mistake("log_filter", mistake);
    }
    filter
}

#[cfg(test)]
mod tests {
    use config::{Config, File, FileFormat};

    use super::*;
    use crate::config::Reader;

    /// What is read, or every mistake.
    fn told(toml: &str) -> Result<ObserveSettings, Vec<String>> {
        let config = Config::builder().add_source(File::from_str(toml, FileFormat::Toml)).build();
        let mut reader = Reader::new(config.unwrap().cache);
        let settings = read(&mut reader.section("observe"));
        let texts = |mistakes: Vec<crate::config::Mistake>| {
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.key, mistake.message)).collect()
        };
        reader.finish().map(|_| settings).map_err(texts)
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(told(""), Ok(ObserveSettings::default()));
    }

    #[test]
    fn everything_can_be_said() {
        let toml = "[observe]\nlisten = \"[::1]:0\"\nlog_format = \"json\"\nlog_filter = \"debug\"\nprogress = \"none\"\n";
        let expected = ObserveSettings {
            admin: AdminOptions { listen: "[::1]:0".parse().unwrap() },
            log: LogOptions { format: LogFormat::Json, filter: "debug".into() },
            progress: ProgressMode::None,
        };
        assert_eq!(told(toml), Ok(expected));
    }

    #[test]
    fn mistakes_come_together() {
        let toml = "[observe]\nlisten = \"localhost\"\nlog_filter = \"avr=loud\"\nprogress = \"bar\"\n";
        let mistakes = told(toml).unwrap_err();
        let beginnings = [
            "observe.listen: \"localhost\" is not an address with a port",
            "observe.log_filter: \"avr=loud\" is not a filter",
            "observe.progress: \"bar\" is not known; one of",
        ];
        assert_eq!(mistakes.len(), beginnings.len(), "{mistakes:?}");
        for (mistake, beginning) in mistakes.iter().zip(beginnings) {
            assert!(mistake.starts_with(beginning), "{mistake}");
        }
    }
}
