//! Arguments that several commands share, and the keys of the configuration that they stand for.

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use config::ValueKind;

use crate::{
    config::{self as configuration, ConfigError, InForce, Override, Settings},
    observe::LogFormat,
    terminal::ProgressMode,
};

/// Which cluster, for commands that need nothing else.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// The configuration file; by default avr.toml in this folder, if it is there.
    #[arg(long, value_name = "FILE", env = "AVR_CONFIG")]
    pub config: Option<PathBuf>,

    /// The Kafka cluster that is the log, as host:port; once for each address. Without it the embedded log is used, where
    /// the command can.
    #[arg(long, value_name = "ADDRESS")]
    pub kafka: Vec<String>,

    /// Set any key of the configuration, for instance `--set stages.improve=512`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<KeyValue>,
}

/// Which log: the one in a folder, or a cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct LogArgs {
    /// The output folder [default: out]. The embedded log lies in `.state` below it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Options that stand for keys of the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// Which log, and where files are written.
    #[command(flatten)]
    pub log: LogArgs,

    /// The recipe: stage1, stage2, long-pairs, evaluation, fusion, or one defined in the configuration [default: stage1].
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<String>,

    /// With an evaluation: one plain answer to each instruction instead of a long one.
    #[arg(long)]
    pub plain: bool,

    /// With an evaluation: a plain answer, refined for this many rounds by critique and improvement, without a reward.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,

    /// This worker's name in the cluster, of one running process at a time.
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,

    /// A server of the model that writes; once for each replica.
    #[arg(long, value_name = "URL")]
    pub generator: Vec<String>,

    /// The writing model's name, as its servers know it.
    #[arg(long, value_name = "NAME")]
    pub generator_model: Option<String>,

    /// A server of the reward model; once for each replica.
    #[arg(long, value_name = "URL")]
    pub reward: Vec<String>,

    /// The reward model's name, as its servers know it.
    #[arg(long, value_name = "NAME")]
    pub reward_model: Option<String>,

    /// Go on after the end of the input and take what is added to it; a last line without a line end is taken when that
    /// comes.
    #[arg(long)]
    pub follow: bool,

    /// Read a column of this name as the prompt, answer, id, system, context or history, in place of the names that are
    /// known, for instance `--column prompt=task --column answer=best.text`; repeatable. Dots lead into objects.
    #[arg(long, value_name = "USE=NAME")]
    pub column: Vec<KeyValue>,

    /// Stop at the first line of input that cannot be used.
    #[arg(long)]
    pub strict: bool,

    /// How progress is shown [default: auto].
    #[arg(long, value_name = "MODE")]
    pub progress: Option<ProgressMode>,

    /// How logs are written [default: human].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// A key of the configuration with its value, as `--set` takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    key: String,
    value: String,
}

impl FromStr for KeyValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
        Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl ClusterArgs {
    /// Reads the configuration with these options.
    ///
    /// # Errors
    /// Every mistake in it at once.
    pub fn load(&self) -> Result<(Settings, Vec<InForce>), ConfigError> {
        self.load_with(vec![])
    }

    /// Reads the configuration with these options and others. `--set` is the most particular and goes before them.
    fn load_with(&self, mut overrides: Vec<Override>) -> Result<(Settings, Vec<InForce>), ConfigError> {
        overrides.extend(list("kafka.bootstrap_servers", &self.kafka));
        overrides.extend(self.set.iter().map(|set| Override::new(&set.key, set.value.as_str())));
        configuration::load(self.config.as_deref(), overrides)
    }

    /// The command that sets up the topics of this cluster, to be shown where they are not as they must be.
    pub fn fix_command(&self) -> String {
        let mut words = vec!["avr topics apply".to_owned()];
        words.extend(
            self.config.iter().map(|file| format!("--config {}", shell_word(&file.to_string_lossy()))),
        );
        words.extend(self.kafka.iter().map(|address| format!("--kafka {}", shell_word(address))));
        let of_cluster = self.set.iter().filter(|set| set.key.starts_with("kafka."));
        let set = |set: &KeyValue| format!("--set {}", shell_word(&format!("{}={}", set.key, set.value)));
        words.extend(of_cluster.map(set));
        words.join(" ")
    }
}

impl LogArgs {
    /// Reads the configuration with these options.
    ///
    /// # Errors
    /// Every mistake in it at once.
    pub fn load(&self) -> Result<(Settings, Vec<InForce>), ConfigError> {
        self.load_with(vec![])
    }

    fn load_with(&self, mut overrides: Vec<Override>) -> Result<(Settings, Vec<InForce>), ConfigError> {
        overrides.extend(text("out", self.out.as_ref()));
        self.cluster.load_with(overrides)
    }
}

impl SettingsArgs {
    /// Reads the configuration with these options.
    ///
    /// # Errors
    /// Every mistake in it at once.
    pub fn load(&self) -> Result<(Settings, Vec<InForce>), ConfigError> {
        self.log.load_with(self.overrides())
    }

    fn overrides(&self) -> Vec<Override> {
        let overrides = [
            text("recipe", self.recipe.as_ref()),
            flag("evaluation.plain", self.plain),
            self.rounds.map(|rounds| Override::new("evaluation.rounds", rounds)),
            text("kafka.worker", self.worker.as_ref()),
            list("models.generator.urls", &self.generator),
            text("models.generator.model", self.generator_model.as_ref()),
            list("models.reward.urls", &self.reward),
            text("models.reward.model", self.reward_model.as_ref()),
            flag("intake.follow", self.follow),
            flag("intake.strict", self.strict),
            text("observe.progress", self.progress.map(name_of).as_ref()),
            text("observe.log_format", self.log_format.map(name_of).as_ref()),
        ];
        let columns = self.column.iter();
        let columns =
            columns.map(|set| Override::new(&format!("intake.columns.{}", set.key), set.value.as_str()));
        overrides.into_iter().flatten().chain(columns).collect()
    }
}

fn text(key: &str, value: Option<&String>) -> Option<Override> {
    value.map(|value| Override::new(key, value.as_str()))
}

fn list(key: &str, values: &[String]) -> Option<Override> {
    let all = values.iter().map(|value| config::Value::new(None, value.as_str())).collect();
    (!values.is_empty()).then(|| Override::new(key, ValueKind::Array(all)))
}

fn flag(key: &str, is_set: bool) -> Option<Override> {
    is_set.then(|| Override::new(key, true))
}

fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The command line that these arguments came from, to be shown and typed again.
pub fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    arguments.map(|argument| shell_word(&argument.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A text as one word of a shell.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let arguments = ["avr", "run", "--set", "a=1, 2", "it's.jsonl", "", "data/é-1.jsonl", "$HOME"];
        let shown = command_line(arguments.iter().map(OsString::from));
        assert_eq!(shown, r"avr run --set 'a=1, 2' 'it'\''s.jsonl' '' data/é-1.jsonl '$HOME'");
    }

    #[test]
    fn the_command_that_sets_topics_right_names_the_same_cluster() {
        let args = ClusterArgs {
            config: Some("my avr.toml".into()),
            kafka: vec!["a:9092".into(), "b:9092".into()],
            set: ["kafka.replicas=1", "out=here", " kafka.prefix = x y."]
                .map(|set| set.parse().expect("a key and a value"))
                .into(),
        };
        let expected = "avr topics apply --config 'my avr.toml' --kafka a:9092 --kafka b:9092 \
                        --set kafka.replicas=1 --set 'kafka.prefix=x y.'";
        assert_eq!(args.fix_command(), expected);
        assert_eq!(ClusterArgs::default().fix_command(), "avr topics apply");
    }
}
