//! What a simulated cluster is like: every option with its default, on the command line and in code.

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use super::{SimulateError, batch::StepTimes};

/// What a simulated cluster is like. [`Options::default`] is what `avr simulate` does without arguments.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How many replicas generate text; each listens on a port of its own.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub generators: u16,

    /// How many replicas give rewards.
    #[arg(long, value_name = "M", default_value_t = 1)]
    pub rewards: u16,

    /// The first port on 127.0.0.1; the generators take it and those after it, then come the rewards.
    /// 0: any free ports.
    #[arg(long, value_name = "BASE", default_value_t = 0)]
    pub port: u16,

    /// Another seed makes all texts, rewards and faults others.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// The name under which the generators serve. The same name with `-long` behind it is served too: it gives
    /// long answers that end with a final answer.
    #[arg(long, value_name = "NAME", default_value = "simulated-chat")]
    pub generator_model: String,

    /// The name under which the rewards serve.
    #[arg(long, value_name = "NAME", default_value = "simulated-reward")]
    pub reward_model: String,

    /// Prompt and answer together are at most this many tokens; a longer prompt is refused.
    #[arg(long, value_name = "TOKENS", default_value_t = 32_768)]
    pub max_model_len: u64,

    /// Give this many choices at most, however many `n` asks for: some servers pass over it.
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    pub most_choices: u16,

    /// Refuse requests without this bearer token. It guards nothing: it is for testing that clients send theirs.
    #[arg(long, value_name = "KEY", env = "AVR_SIMULATE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// Answer 503 for this long after the start, as a server that is loading its model.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub loading_ms: u64,

    /// Count requests by id (up to a million ids). Switch it off for long runs.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub count_ids: bool,

    /// What the texts are like.
    #[command(flatten)]
    pub text: TextOptions,

    /// What the rewards are like.
    #[command(flatten)]
    pub reward: RewardOptions,

    /// How long answers take.
    #[command(flatten)]
    pub timing: TimingOptions,

    /// What goes wrong.
    #[command(flatten)]
    pub faults: FaultOptions,
}

/// What the texts are like.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Texts")]
pub struct TextOptions {
    /// Mean length of an answer; lengths are log-normal.
    #[arg(long, value_name = "TOKENS", default_value_t = 280.0, value_parser = positive)]
    pub mean_tokens: f64,

    /// Standard deviation of the length's logarithm; 0 makes all answers equally long.
    #[arg(long, value_name = "SIGMA", default_value_t = 0.5, value_parser = non_negative)]
    pub spread: f64,

    /// Let every model give long answers with a final answer, not only those whose name ends in `-long`.
    #[arg(long)]
    pub long_answers: bool,

    /// Share of answers that repeat themselves.
    #[arg(long, value_name = "RATE", default_value_t = 0.01, value_parser = rate)]
    pub redundant_rate: f64,

    /// Share of answers without any text.
    #[arg(long, value_name = "RATE", default_value_t = 0.002, value_parser = rate)]
    pub empty_rate: f64,

    /// Share of answers cut off in the middle, with `finish_reason` `length`.
    #[arg(long, value_name = "RATE", default_value_t = 0.005, value_parser = rate)]
    pub cut_off_rate: f64,

    /// Share of critiques without a rating (or verdict, or final answer) that can be read.
    #[arg(long, value_name = "RATE", default_value_t = 0.03, value_parser = rate)]
    pub malformed_rating_rate: f64,
}

/// What the rewards are like.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rewards")]
pub struct RewardOptions {
    /// Mean reward of a first answer, before any activation.
    #[arg(long, value_name = "REWARD", default_value_t = 0.0, allow_negative_numbers = true, value_parser = finite)]
    pub reward_mean: f64,

    /// Standard deviation of rewards: in equal shares of the prompt's and of the answer's.
    #[arg(long, value_name = "REWARD", default_value_t = 1.0, value_parser = non_negative)]
    pub reward_spread: f64,

    /// What a first improvement gains on average; each further one gains 0.6 of the one before it.
    #[arg(long, value_name = "REWARD", default_value_t = 0.3, allow_negative_numbers = true, value_parser = finite)]
    pub improvement_gain: f64,
}

/// How time passes for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Latency {
    /// Every answer comes at once.
    Instant,
    /// Continuous batching: a slot for each running sequence, one token a decode step.
    Batching,
}

/// How long answers take.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Time")]
pub struct TimingOptions {
    /// How time passes.
    #[arg(long, value_enum, default_value_t = Latency::Instant)]
    pub latency: Latency,

    /// Sequences that one generator decodes at the same time; more wait, first come, first served.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub slots: u32,

    /// Length of a decode step.
    #[arg(long, value_name = "MS", default_value_t = 9.0, value_parser = milliseconds)]
    pub step_ms: f64,

    /// What each running sequence adds to a decode step.
    #[arg(long, value_name = "MS", default_value_t = 0.045, value_parser = milliseconds)]
    pub step_ms_per_sequence: f64,

    /// What each prompt token adds to the step in which its sequence joins.
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = milliseconds)]
    pub prefill_ms_per_token: f64,

    /// How long a reward takes, whatever `--latency` says.
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = milliseconds)]
    pub reward_latency_ms: f64,
}

/// What goes wrong, each with its share of requests. Which request it hits is decided by its `X-Request-Id`, so
/// the same attempt always fares the same and the next one fares anew.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Faults")]
pub struct FaultOptions {
    /// Share answered with 500.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub error_rate: f64,

    /// Share answered with 429.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub too_many_rate: f64,

    /// What `Retry-After` says on a 429.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub retry_after_s: u32,

    /// Share that never gets an answer while the connection stays open.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub hang_rate: f64,

    /// Share whose connection is closed without an answer.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub cut_rate: f64,

    /// Share whose connection is closed in the middle of the answer.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub cut_in_body_rate: f64,

    /// Share answered with 200 and JSON that ends too early.
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub malformed_json_rate: f64,
}

/// Lets [`Options::default`] and the command line share one set of defaults.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

impl Default for Options {
    fn default() -> Self {
        let parsed = CommandLine::try_parse_from(["simulate"]);
        let mut options = parsed.expect("every option has a valid default").options;
        options.api_key = None;
        options
    }
}

impl Options {
    /// Refuses options that contradict each other.
    pub(super) fn check(&self) -> Result<(), SimulateError> {
        let contradiction = if self.generators == 0 && self.rewards == 0 {
            "--generators and --rewards are both 0: ask for at least one replica"
        } else if self.port != 0
            && self.port.checked_add(self.generators.saturating_add(self.rewards)).is_none()
        {
            "--port leaves too few ports above it for all replicas: choose a lower one"
        } else if self.faults.total() > 1.0 {
            "the rates of faults add up to more than 1: lower some"
        } else if self.text.total() > 1.0 {
            "--redundant-rate, --empty-rate and --cut-off-rate add up to more than 1: lower some"
        } else {
            return Ok(());
        };
        Err(SimulateError::Options(contradiction))
    }
}

impl FaultOptions {
    fn total(&self) -> f64 {
        self.error_rate
            + self.too_many_rate
            + self.hang_rate
            + self.cut_rate
            + self.cut_in_body_rate
            + self.malformed_json_rate
    }
}

impl TextOptions {
    fn total(&self) -> f64 {
        self.redundant_rate + self.empty_rate + self.cut_off_rate
    }
}

impl TimingOptions {
    /// The pace of one replica, or `None` when answers come at once.
    pub(super) fn pace(&self) -> Option<StepTimes> {
        (self.latency == Latency::Batching).then(|| StepTimes {
            slots: self.slots as usize,
            step_ns: nanoseconds(self.step_ms),
            step_per_sequence_ns: nanoseconds(self.step_ms_per_sequence),
            prefill_per_token_ns: nanoseconds(self.prefill_ms_per_token),
        })
    }

    /// How long a reward takes.
    pub(super) fn reward_latency(&self) -> Duration {
        Duration::from_nanos(nanoseconds(self.reward_latency_ms))
    }
}

/// A float that is too large or not a number becomes the nearest value there is.
fn nanoseconds(milliseconds: f64) -> u64 {
    (milliseconds * 1e6).round() as u64
}

fn number(text: &str, valid: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if valid(value) => Ok(value),
        _ => Err(format!("expected {expected}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..=1.0).contains(&value), "a share between 0 and 1")
}

fn finite(text: &str) -> Result<f64, String> {
    number(text, f64::is_finite, "a finite number")
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, |value| value > 0.0 && value <= 1e6, "a number above 0, at most 1000000")
}

fn non_negative(text: &str) -> Result<f64, String> {
    number(text, |value| value >= 0.0 && value.is_finite(), "a number from 0 up")
}

fn milliseconds(text: &str) -> Result<f64, String> {
    number(text, |value| (0.0..=3_600_000.0).contains(&value), "milliseconds between 0 and 3600000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<(), String> {
        let arguments = ["simulate"].iter().chain(arguments);
        let parsed = CommandLine::try_parse_from(arguments).map_err(|error| error.to_string())?;
        parsed.options.check().map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_checked() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], None),
            (&["--latency", "batching", "--slots", "8", "--count-ids", "false"], None),
            (&["--error-rate", "1.5"], Some("between 0 and 1")),
            (&["--error-rate", "0.6", "--hang-rate", "0.6"], Some("more than 1")),
            (&["--redundant-rate", "0.6", "--empty-rate", "0.6"], Some("more than 1")),
            (&["--generators", "0", "--rewards", "0"], Some("at least one")),
            (&["--port", "65535", "--generators", "2"], Some("too few ports")),
            (&["--mean-tokens", "NaN"], Some("above 0")),
            (&["--slots", "0"], Some("0 is not in")),
        ];
        for (arguments, expected) in cases {
            match (parsed(arguments), expected) {
                (Ok(()), None) => {}
                (Err(message), Some(part)) => assert!(message.contains(part), "{arguments:?}: {message}"),
                (result, _) => panic!("{arguments:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn defaults_are_the_command_lines() {
        let options = Options::default();
        assert_eq!((options.generators, options.rewards, options.timing.slots), (1, 1, 256));
        assert!(options.count_ids);
    }
}
