//! Opens the log of a process: the embedded one in the output folder, or a Kafka cluster.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Broken, ExitCode, HasExitCode};
use crate::{
    config::{KafkaSettings, LogSettings},
    log::{
        LogError,
        embedded::{EmbeddedLog, TopicSpec},
        kafka::{Admin, KafkaLog, KafkaOptions},
    },
    provision::{self, ProvisionError},
    topic::{PartitionCount, TopicInfo, TopicName, catalogue},
};

/// Where the embedded log lies, below the output folder.
pub const STATE: &str = ".state";

/// How long a cluster is waited for that does not answer, and the pause between two tries.
const PATIENCE: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

/// Why there is no log to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The folder of the embedded log cannot be made.
    #[error("{}: {cause}; choose another folder with --out", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The topics of the cluster are not as they must be.
    #[error(transparent)]
    Topics(ProvisionError),
    /// The log cannot be opened, or the cluster does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What opens the log panicked.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<ProvisionError> for OpenLogError {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Log(error) => Self::Log(error),
            wrong => Self::Topics(wrong),
        }
    }
}

impl HasExitCode for OpenLogError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Topics(error) => error.exit_code(),
            Self::Log(error) => error.exit_code(),
            Self::Folder { .. } | Self::Broken(_) => ExitCode::Failed,
        }
    }
}

/// Opens the embedded log in a folder, which is made if it is not there.
pub(crate) async fn open_folder(folder: PathBuf, log: LogSettings) -> Result<EmbeddedLog, OpenLogError> {
    let opened = tokio::task::spawn_blocking(move || {
        make_folder(&folder)?;
        Ok(EmbeddedLog::open(&folder, &topic_specs(&log), log.options)?)
    });
    opened.await.map_err(|_| Broken("log"))?
}

fn make_folder(folder: &Path) -> Result<(), OpenLogError> {
    std::fs::create_dir_all(folder).map_err(|cause| OpenLogError::Folder { folder: folder.to_owned(), cause })
}

/// Connects to the cluster, whatever its topics are like.
pub(crate) async fn connect(kafka: &KafkaOptions) -> Result<KafkaLog, LogError> {
    announce(kafka);
    KafkaLog::connect(kafka.clone()).await
}

/// A client of the cluster for what concerns its topics.
pub(crate) fn connect_admin(kafka: &KafkaOptions) -> Result<Admin, LogError> {
    announce(kafka);
    Admin::new(kafka)
}

fn announce(kafka: &KafkaOptions) {
    tracing::info!(brokers = kafka.bootstrap_servers.join(","), "connecting to the cluster");
}

/// Connects to the cluster, and makes sure that its topics are as they must be for these stages. `fix_command` is shown
/// where they are not.
pub(crate) async fn open_cluster(
    kafka: &KafkaSettings,
    stages: &[&str],
    fix_command: &str,
) -> Result<KafkaLog, OpenLogError> {
    announce(&kafka.options);
    try_cluster(kafka, stages, fix_command).await
}

/// As [`open_cluster`], for a process that comes to stay: it asks again for a while where no broker answers.
pub(crate) async fn await_cluster(
    kafka: &KafkaSettings,
    stages: &[&str],
    fix_command: &str,
) -> Result<KafkaLog, OpenLogError> {
    let begun = Instant::now();
    announce(&kafka.options);
    loop {
        match try_cluster(kafka, stages, fix_command).await {
            Err(OpenLogError::Log(error)) if begun.elapsed() < PATIENCE => {
                tracing::warn!(%error, "the cluster does not answer; asking again");
                tokio::time::sleep(AGAIN).await;
            }
            opened => return opened,
        }
    }
}

async fn try_cluster(
    kafka: &KafkaSettings,
    stages: &[&str],
    fix_command: &str,
) -> Result<KafkaLog, OpenLogError> {
    provision::check(&Admin::new(&kafka.options)?, &kafka.topics, stages, fix_command).await?;
    Ok(KafkaLog::connect(kafka.options.clone()).await?)
}

/// The topics of the catalogue, as the embedded log wants to know them.
fn topic_specs(log: &LogSettings) -> Vec<TopicSpec> {
    let spec = |(name, info): &(TopicName, TopicInfo)| TopicSpec {
        name: *name,
        partitions: match info.partitions {
            PartitionCount::Stages => log.partitions,
            PartitionCount::One => 1,
        },
        retention: info.retention.with_replay(log.keep_for_replay),
    };
    catalogue().iter().map(spec).collect()
}
