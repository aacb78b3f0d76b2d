//! What librdkafka is told for each kind of client: our defaults, then what the user set, then what must hold.

use rdkafka::ClientConfig;

use super::{GroupProtocol, KafkaOptions};

impl KafkaOptions {
    /// The name of a topic or group of ours in the cluster.
    pub(super) fn name(&self, ours: &str) -> String {
        format!("{}{ours}", self.prefix)
    }

    /// For clients that look, create and alter.
    pub(super) fn admin_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "avr");
        config.extend(self.client.clone());
        config.set("bootstrap.servers", self.bootstrap_servers.join(","));
        config
    }

    /// For a member of the group called `group`, or for a reader that joins none.
    pub(super) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.admin_config();
        config.extend(self.consumer.clone());
        config.set("group.id", self.name(group));
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_committed");
        config.set("auto.offset.reset", "error");
        match self.group_protocol {
            GroupProtocol::Classic => config.set("partition.assignment.strategy", "cooperative-sticky"),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        config
    }
}
