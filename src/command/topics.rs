//! `avr topics`: what the topics of a cluster are to be, what they are, and how the one becomes the other.

use clap::{Args, Subcommand, ValueEnum};

use super::{args::ClusterArgs, output::CommandOutput};
use crate::{
    app::{self, ExitCode, HasExitCode, Shutdown},
    config::{KafkaSettings, Settings},
    log::{
        LogError,
        kafka::{Admin, LostStart},
    },
    provision::{self, TopicOverrides},
    terminal::topics as shown,
    topic::{catalogue, schema},
};

const EXIT_CODES: &str = "\
Exit codes:
  0    the cluster's topics are as they should be
  1    they are not: something differs (diff), or is left to be done (apply)
  2    the command line or the configuration is wrong, or the cluster does not answer
  130  interrupted by Ctrl-C or SIGTERM: see by diff what was done";

/// What `avr topics` takes.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct TopicsArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub action: TopicsAction,
}

/// What can be done with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// Show every topic: what is in it, how long it stays, who reads it. Needs no cluster.
    List(ClusterArgs),
    /// Show in what the topics of the cluster differ from what they should be.
    #[command(after_help = EXIT_CODES)]
    Diff(ClusterArgs),
    /// Create what is missing, alter what is wrong, and commit where each group begins.
    Apply(ApplyArgs),
    /// Print the JSON Schema of a topic's payload. Needs no cluster.
    Schema {
        /// The topic, without the prefix: scored, for instance.
        topic: String,
    },
}

/// What `avr topics apply` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Partitions are only added, and replicas of a topic that is there are not changed. What an operator may choose (more \
partitions or replicas, larger messages, another compression, settings that avr does not name) stays as it is. Twice \
does nothing twice.

A group that has no offsets for a topic with records is either new or lost them: a cluster forgets the offsets of a \
group that was idle for a week (offsets.retention.minutes). Where it begins is for you to say, with \
--start-lost-groups-at.

Exit codes: 0 all is as it should be, 1 something is left to be done, 2 the command line or the configuration is \
wrong, or the cluster does not answer.

Examples:
  avr topics apply --kafka broker1:9092
  avr topics apply --kafka localhost:9092 --set kafka.replicas=1 --set kafka.partitions=4
  avr topics apply --config avr.toml --dry-run")]
pub struct ApplyArgs {
    /// Only show what would be done.
    #[arg(long)]
    pub dry_run: bool,

    /// Where groups begin that have no offsets for a topic with records.
    #[arg(long, value_name = "PLACE")]
    pub start_lost_groups_at: Option<Place>,

    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Where a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// At the first record that is still there: all are done again, and what was made of them before is there twice.
    Earliest,
    /// After the last record that is there: none is done, and threads that wait there never come out.
    Latest,
}

impl From<Place> for LostStart {
    fn from(place: Place) -> Self {
        match place {
            Place::Earliest => Self::Earliest,
            Place::Latest => Self::Latest,
        }
    }
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum TopicsCommandError {
    /// Nobody said which cluster.
    #[error("no Kafka cluster is named: say --kafka host:port, or kafka.bootstrap_servers in avr.toml")]
    NoCluster,
    /// There is no such topic.
    #[error("there is no topic {asked}; the topics are {known}")]
    NoTopic {
        /// What was asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// The cluster cannot be asked.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl TopicsArgs {
    /// The options that stand for keys of the configuration.
    pub fn cluster(&self) -> ClusterArgs {
        match &self.action {
            TopicsAction::List(cluster) | TopicsAction::Diff(cluster) => cluster.clone(),
            TopicsAction::Apply(apply) => apply.cluster.clone(),
            TopicsAction::Schema { .. } => ClusterArgs::default(),
        }
    }
}

impl HasExitCode for TopicsCommandError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::WrongUsage
    }
}

/// Does what the arguments say.
///
/// # Errors
/// See [`TopicsCommandError`].
pub async fn run(
    args: &TopicsArgs,
    settings: &Settings,
    shutdown: &Shutdown,
) -> Result<CommandOutput, TopicsCommandError> {
    let done = match &args.action {
        TopicsAction::List(_) => return Ok(CommandOutput::done(list(settings.kafka.as_ref()))),
        TopicsAction::Schema { topic } => return Ok(CommandOutput::done(schema_of(topic)?)),
        TopicsAction::Diff(cluster) => shutdown.unless_asked(diff(cluster, settings)).await,
        TopicsAction::Apply(apply) if apply.dry_run => {
            shutdown.unless_asked(diff(&apply.cluster, settings)).await
        }
        TopicsAction::Apply(args) => shutdown.unless_asked(apply(args, settings)).await,
    };
    done.unwrap_or_else(|| Ok(CommandOutput::interrupted()))
}

async fn diff(args: &ClusterArgs, settings: &Settings) -> Result<CommandOutput, TopicsCommandError> {
    let (admin, overrides) = cluster(settings)?;
    let audit = provision::audit(&admin, &overrides).await?;
    let text = shown::drift(&audit, &|ours| admin.name(ours), &args.fix_command());
    Ok(CommandOutput { code: code(audit.is_clean()), ..CommandOutput::done(text) })
}

async fn apply(args: &ApplyArgs, settings: &Settings) -> Result<CommandOutput, TopicsCommandError> {
    let (admin, overrides) = cluster(settings)?;
    let lost = args.start_lost_groups_at.map(LostStart::from);
    let applied = provision::apply(&admin, &overrides, lost).await?;
    let text = shown::changes(&applied, &|ours| admin.name(ours));
    Ok(CommandOutput { code: code(applied.is_complete()), ..CommandOutput::done(text) })
}

/// Whether the cluster is as it should be.
fn code(is_fit: bool) -> ExitCode {
    if is_fit { ExitCode::Done } else { ExitCode::Failed }
}

fn cluster(settings: &Settings) -> Result<(Admin, TopicOverrides), TopicsCommandError> {
    let kafka = settings.kafka.as_ref().ok_or(TopicsCommandError::NoCluster)?;
    Ok((app::connect_admin(&kafka.options)?, kafka.topics))
}

fn list(kafka: Option<&KafkaSettings>) -> String {
    let overrides = kafka.map_or_else(TopicOverrides::default, |kafka| kafka.topics);
    let prefix = kafka.map_or("", |kafka| &kafka.options.prefix);
    shown::list(&overrides, prefix)
}

fn schema_of(asked: &str) -> Result<String, TopicsCommandError> {
    let Some((_, info)) = catalogue().iter().find(|(name, _)| name.0 == asked) else {
        let known: Vec<&str> = catalogue().iter().map(|(name, _)| name.0).collect();
        return Err(TopicsCommandError::NoTopic { asked: asked.to_owned(), known: known.join(", ") });
    };
    let any = "{\n  \"description\": \"Any bytes: what a stage could not handle.\"\n}\n";
    Ok(schema(&info.payload).unwrap_or(any).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_a_schema_to_print() {
        for (name, _) in catalogue() {
            let text = schema_of(name.0).expect("the topic is known");
            assert!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON").is_object(), "{name}");
        }
        let error = schema_of("promts").expect_err("there is none");
        assert!(error.to_string().contains("prompts, drafted"), "{error}");
    }

    #[test]
    fn the_list_names_every_topic_and_who_reads_it() {
        let listed = list(None);
        for (name, info) in catalogue() {
            let line = listed.lines().find(|line| line.starts_with(&format!("{name} "))).expect(name.0);
            assert!(line.contains(&info.read_by.join(", ")) && line.contains(&info.purpose), "{line}");
        }
    }
}
