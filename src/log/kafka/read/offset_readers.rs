//! Clients that read offsets and join no group.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::{CLUSTER_TIMEOUT, PATIENCE, committed, watermarks};
use crate::{
    log::{
        GroupName, LogError, Partition, Progress,
        kafka::{KafkaOptions, error, reporter::Reporter},
        lock,
    },
    topic::TopicName,
};

/// The clients of one process that read offsets; those of groups are made when they are first needed.
pub(crate) struct OffsetReaders {
    options: Arc<KafkaOptions>,
    /// Sees every record that is written, decided or not.
    topics: BaseConsumer<Reporter>,
    groups: Mutex<BTreeMap<GroupName, Arc<BaseConsumer<Reporter>>>>,
}

impl OffsetReaders {
    /// Makes the clients and reaches for the cluster.
    pub(crate) fn connect(options: Arc<KafkaOptions>) -> Result<Self, LogError> {
        let context = format!("connecting to {}", options.bootstrap_servers.join(","));
        let readers = Self::unconnected(options)?;
        let answer = readers.topics.fetch_metadata(Some(&readers.options.name("-")), CLUSTER_TIMEOUT);
        answer.map_err(|error| error::log_error(context, &error))?;
        Ok(readers)
    }

    /// Makes the clients, which reach for the cluster when they are first asked.
    pub(super) fn unconnected(options: Arc<KafkaOptions>) -> Result<Self, LogError> {
        let topics = options.offset_reader_config().create_with_context(Reporter::new("offset reader"));
        let topics = topics.map_err(|error| error::log_error("making a client for the cluster", &error))?;
        Ok(Self { options, topics, groups: Mutex::default() })
    }

    /// The end of every partition of a topic, decided or not.
    pub(crate) fn end_offsets(
        &self,
        topic: TopicName,
        gives_up: impl Fn() -> bool,
    ) -> Result<Vec<(Partition, i64)>, LogError> {
        watermarks::end_offsets(&self.topics, &self.options.prefix, topic, gives_up)
    }

    /// The committed progress of a group's partitions, in the order asked for; none where nothing is committed.
    pub(crate) fn committed(
        &self,
        group: GroupName,
        partitions: &[Partition],
    ) -> Result<Vec<Option<Progress>>, LogError> {
        let context = format!("reading the progress of {group}");
        let reader = self.of_group(group)?;
        let begun = Instant::now();
        let gives_up = || begun.elapsed() > PATIENCE;
        committed::read(&reader, &self.options.prefix, partitions, &context, gives_up)
    }

    fn of_group(&self, group: GroupName) -> Result<Arc<BaseConsumer<Reporter>>, LogError> {
        let mut groups = lock(&self.groups);
        if let Some(reader) = groups.get(&group) {
            return Ok(Arc::clone(reader));
        }
        let mut config = self.options.consumer_config(group.0);
        // What is decided by now is enough for one who looks on: it does not wait for a commit under way.
        config.set("isolation.level", "read_uncommitted");
        let name = format!("offset reader of {group}");
        let reader = config.create_with_context(Reporter::new(&name));
        let reader =
            Arc::new(reader.map_err(|error| error::log_error(format!("making the {name}"), &error))?);
        groups.insert(group, Arc::clone(&reader));
        Ok(reader)
    }
}
