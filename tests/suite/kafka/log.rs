//! The suite that any log must pass, with both of Kafka's group protocols.

use avr::log::kafka::{GroupProtocol, KafkaLog};

use super::cluster::{self, Pipeline};
use crate::log_suite::{LogUnderTest, TOPICS, log_suite};

/// A pipeline of its own in the cluster.
struct Kafka<const NEW_PROTOCOL: bool> {
    pipeline: Pipeline,
}

impl<const NEW_PROTOCOL: bool> LogUnderTest for Kafka<NEW_PROTOCOL> {
    type Log = KafkaLog;

    async fn start() -> Self {
        Self { pipeline: cluster::shared().fresh(TOPICS).await }
    }

    async fn process(&self) -> KafkaLog {
        let protocol = if NEW_PROTOCOL { GroupProtocol::Consumer } else { GroupProtocol::Classic };
        self.pipeline.process(self.pipeline.options(protocol)).await
    }

    async fn reopened(self) -> Self {
        self
    }
}

mod classic {
    use super::*;
    log_suite!(Kafka<false>, [ignore = "needs a Kafka cluster: scripts/test starts one"]);
}

mod consumer {
    use super::*;
    log_suite!(Kafka<true>, [ignore = "needs a Kafka cluster: scripts/test starts one"]);
}
