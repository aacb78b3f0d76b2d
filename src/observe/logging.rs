//! Logs: `tracing` events as lines, for people or for machines.
//!
//! Which events are written is a filter of `tracing` directives, for instance `warn,avr=debug`. The
//! environment variable `RUST_LOG` goes before the configuration, so that one run can be looked at more closely.

use std::env;

use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::{SubscriberInitExt, TryInitError},
};

/// The environment variable that goes before the configured filter.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// What a log line looks like.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum LogFormat {
    /// Time, level, target, message and fields, for people.
    #[default]
    Human,
    /// One JSON object with `timestamp`, `level`, `target`, `fields` and the innermost `span`.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// What a line looks like.
    pub format: LogFormat,
    /// Directives of `tracing`: which targets at which level.
    pub filter: String,
}

impl LogOptions {
    /// What is wrong with a filter, and what would be right; nothing if it can be used.
    pub fn mistake_in(filter: &str) -> Option<String> {
        parse(filter).err()
    }

    /// Warnings of the libraries, and what avr itself has to say. The Kafka client's messages come by way of avr; its
    /// wrapper says some of them again, and complains at each clean stop.
    pub const DEFAULT_FILTER: &str = "warn,avr=info,rdkafka=off";
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: Self::DEFAULT_FILTER.to_owned() }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("{origin}: {mistake}")]
    Filter {
        /// Where the filter comes from.
        origin: &'static str,
        /// What is wrong with it, and what would be right.
        mistake: String,
    },
    /// Somebody set logging up before.
    #[error("logging is set up once a process: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Sends the events of the whole process to `lines`, one write each; for people in colour, if `colour` says so.
///
/// # Errors
/// [`LoggingError`] when the filter cannot be read, or logging was set up before.
pub fn init<W>(options: &LogOptions, lines: W, colour: bool) -> Result<(), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = filter(&options.filter, env::var(FILTER_VARIABLE).ok())?;
    Ok(subscriber(options.format, filter, lines, colour).try_init()?)
}

/// The filter in force: the environment's, or else the configured one.
fn filter(configured: &str, environment: Option<String>) -> Result<Targets, LoggingError> {
    let (origin, text) = match environment.filter(|text| !text.is_empty()) {
        Some(text) => (FILTER_VARIABLE, text),
        None => ("observe.log_filter", configured.to_owned()),
    };
    parse(&text).map_err(|mistake| LoggingError::Filter { origin, mistake })
}

fn parse(filter: &str) -> Result<Targets, String> {
    filter.parse::<Targets>().map_err(|cause| {
        format!(
            "{filter:?} is not a filter of log lines: {cause}; right is, for instance, \"warn,avr=debug\""
        )
    })
}

fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    lines: W,
    colour: bool,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(lines);
    let lines = match format {
        LogFormat::Human => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines.json().with_ansi(false).with_span_list(false).boxed(),
    };
    Registry::default().with(filter).with(lines)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read as _, Seek as _},
        sync::Arc,
    };

    use serde_json::Value;

    use super::*;

    /// What an info and a debug event of this module look like.
    fn logged(format: LogFormat, directives: &str, environment: Option<&str>) -> String {
        let mut lines: File = tempfile::tempfile().unwrap();
        let writer = Arc::new(lines.try_clone().unwrap());
        let filter = filter(directives, environment.map(str::to_owned)).unwrap();
        tracing::subscriber::with_default(subscriber(format, filter, writer, false), || {
            let _span = tracing::info_span!("step", stage = "draft").entered();
            tracing::info!(thread = "stage1:7", tokens = 12, "answered \"well\"");
            tracing::debug!("details");
        });
        lines.rewind().unwrap();
        let mut text = String::new();
        lines.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_line_for_people() {
        let text = logged(LogFormat::Human, LogOptions::DEFAULT_FILTER, None);
        assert_eq!(text.lines().count(), 1, "{text}");
        let (_, rest) = text.split_once(' ').expect("the time comes first");
        let expected = " INFO step{stage=\"draft\"}: avr::observe::logging::tests: answered \"well\" \
                        thread=\"stage1:7\" tokens=12\n";
        assert_eq!(rest, expected);
    }

    #[test]
    fn a_line_for_machines() {
        let text = logged(LogFormat::Json, "debug", None);
        assert_eq!(text.lines().count(), 2, "{text}");
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "avr::observe::logging::tests");
        let fields = serde_json::json!({"message": "answered \"well\"", "thread": "stage1:7", "tokens": 12});
        assert_eq!(line["fields"], fields);
        assert_eq!(line["span"]["stage"], "draft");
    }

    #[test]
    fn the_environment_goes_first() {
        assert_eq!(logged(LogFormat::Human, "off", Some("debug")).lines().count(), 2);
        assert_eq!(logged(LogFormat::Human, "info", Some("")).lines().count(), 1);
        assert_eq!(logged(LogFormat::Human, "info", Some("error")), "");
    }

    #[test]
    fn a_wrong_filter_is_told_with_its_origin() {
        for (environment, origin) in [(None, "observe.log_filter: "), (Some("avr=loud"), "RUST_LOG: ")] {
            let error = filter("avr=loud", environment.map(str::to_owned)).unwrap_err().to_string();
            assert!(error.starts_with(origin), "{error}");
        }
    }
}
