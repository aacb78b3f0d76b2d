//! The command line: what can be said, and what it means for the configuration.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};
use config::ValueKind;

use crate::{
    command::{
        dead_letters::DeadLettersArgs, replay::ReplayArgs, status::StatusArgs, submit::SubmitArgs,
        topics::TopicsArgs,
    },
    config::Override,
    observe::LogFormat,
    simulate::SimulateArgs,
    terminal::ProgressMode,
};

const EXIT_CODES: &str = "\
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

/// What `avr run` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Input is JSON Lines, a JSON array or Parquet, plain, gzip or zstd, told apart by content. A line is known by its \
columns: prompt; messages; instruction, input, output; conversations; or UltraFeedback's. A line that cannot be used \
goes to rejects.jsonl, and the run goes on.

Run the same command again to carry on after an interruption: nothing is made twice, and no model call of a step that \
was committed is made again.

Examples:
  avr run --simulate examples/prompts.jsonl
  avr run --simulate --recipe stage2 --out long answered.jsonl
  avr run --generator http://gpu1:8000 --generator http://gpu2:8000 --generator-model llama \\
          --reward http://gpu3:8000 --reward-model armo --out data prompts.jsonl.zst
  zcat prompts.gz | avr run --config avr.toml -

With --kafka it is a worker of a cluster: it takes no files (see avr submit), runs until it is told to stop, and connects \
to the models that its stages ask:
  avr run --kafka broker1:9092 --stage critique --stage improve --generator http://gpu1:8000 --generator-model llama
  avr run --kafka broker1:9092 --stage select --stage export --out data")]
pub struct RunArgs {
    /// Files of prompts; `-` is standard input. Without any, the run carries on with what was taken in before.
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,

    /// With --kafka: the stages that this worker runs, one an option [default: all]. They are draft, critique, improve,
    /// score, select and export; each is a consumer group that shares its work out among all workers that run it.
    #[arg(long, value_name = "NAME")]
    pub stage: Vec<String>,

    /// Use simulated models: a look at the whole flow without a GPU. The records are good for nothing else.
    #[arg(long, conflicts_with_all = ["generator", "generator_model", "reward", "reward_model"])]
    pub simulate: bool,

    /// Print the summary as JSON on standard output.
    #[arg(long)]
    pub json: bool,

    /// What else may be set.
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Options of commands that only talk to the cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// The configuration file; by default avr.toml in this folder, if it is there.
    #[arg(long, value_name = "FILE", env = "AVR_CONFIG")]
    pub config: Option<PathBuf>,

    /// The Kafka cluster, as host:port; once for each address.
    #[arg(long, value_name = "ADDRESS")]
    pub kafka: Vec<String>,

    /// Set any key of the configuration, for instance `--set kafka.prefix=team.`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl From<ClusterArgs> for SettingsArgs {
    fn from(ClusterArgs { config, kafka, set }: ClusterArgs) -> Self {
        Self { config, kafka, set, ..Self::default() }
    }
}

impl From<&SettingsArgs> for ClusterArgs {
    fn from(SettingsArgs { config, kafka, set, .. }: &SettingsArgs) -> Self {
        Self { config: config.clone(), kafka: kafka.clone(), set: set.clone() }
    }
}

/// Options that stand for keys of the configuration.
#[derive(Debug, Default, Args)]
pub struct SettingsArgs {
    /// The configuration file; by default avr.toml in this folder, if it is there.
    #[arg(long, value_name = "FILE", env = "AVR_CONFIG")]
    pub config: Option<PathBuf>,

    /// The output folder [default: out]. The embedded log lies in `.state` below it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<String>,

    /// The recipe: stage1, stage2, long-pairs, evaluation, fusion, or one defined in the configuration [default: stage1].
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<String>,

    /// With an evaluation: one plain answer to each instruction instead of a long one.
    #[arg(long)]
    pub plain: bool,

    /// With an evaluation: a plain answer, refined for this many rounds by critique and improvement, without a reward.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u64>,

    /// A Kafka cluster to be the log, as host:port; once for each address. Without it the embedded log is used.
    #[arg(long, value_name = "ADDRESS")]
    pub kafka: Vec<String>,

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

    /// Stop at the first line of input that cannot be used.
    #[arg(long)]
    pub strict: bool,

    /// How progress is shown [default: auto].
    #[arg(long, value_name = "MODE")]
    pub progress: Option<ProgressMode>,

    /// How logs are written [default: human].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Set any key of the configuration, for instance `--set stages.improve=512`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// The options as values that go before the file and the environment.
    ///
    /// # Errors
    /// A `--set` without `=`.
    pub fn overrides(&self) -> Result<Vec<Override>, String> {
        let mut overrides = Vec::new();
        let mut put = |key: &str, value: ValueKind| overrides.push(Override::new(key, value));
        let texts = [
            ("out", self.out.clone()),
            ("recipe", self.recipe.clone()),
            ("kafka.worker", self.worker.clone()),
            ("models.generator.model", self.generator_model.clone()),
            ("models.reward.model", self.reward_model.clone()),
            ("observe.progress", self.progress.map(name_of)),
            ("observe.log_format", self.log_format.map(name_of)),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                put(key, ValueKind::String(value));
            }
        }
        let lists = [
            ("kafka.bootstrap_servers", &self.kafka),
            ("models.generator.urls", &self.generator),
            ("models.reward.urls", &self.reward),
        ];
        for (key, urls) in lists {
            if !urls.is_empty() {
                let urls = urls.iter().map(|url| config::Value::new(None, url.as_str())).collect();
                put(key, ValueKind::Array(urls));
            }
        }
        let flags = [
            ("intake.follow", self.follow),
            ("intake.strict", self.strict),
            ("evaluation.plain", self.plain),
        ];
        for (key, flag) in flags {
            if flag {
                put(key, ValueKind::Boolean(true));
            }
        }
        if let Some(rounds) = self.rounds {
            put("evaluation.rounds", ValueKind::U64(rounds));
        }
        for set in &self.set {
            let (key, value) = set.split_once('=').ok_or_else(|| format!("--set {set}: write KEY=VALUE"))?;
            put(key.trim(), ValueKind::String(value.trim().to_owned()));
        }
        Ok(overrides)
    }
}

fn name_of(value: impl Into<&'static str>) -> String {
    value.into().to_owned()
}

/// The command line that these arguments came from, to be shown and typed again.
pub fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    arguments.map(|argument| shell_word(&argument.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// A text as one word of a shell.
pub(crate) fn shell_word(text: &str) -> String {
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
}
