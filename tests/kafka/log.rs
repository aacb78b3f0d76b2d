//! The suite that any log must pass, with both of Kafka's group protocols.

use avr::log::kafka::{GroupProtocol, KafkaLog};

use crate::{
    kafka_support::{Pipeline, cluster},
    log_suite::{LogUnderTest, TOPICS, log_suite},
};

/// A pipeline of its own in the cluster.
struct Kafka<const NEW_PROTOCOL: bool> {
    pipeline: Pipeline,
}

impl<const NEW_PROTOCOL: bool> LogUnderTest for Kafka<NEW_PROTOCOL> {
    type Log = KafkaLog;

    fn is_there() -> bool {
        cluster().is_some()
    }

    async fn start() -> Self {
        let cluster = cluster().expect("looked at before");
        Self { pipeline: cluster.fresh(TOPICS).await }
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
    log_suite!(Kafka<false>);
}

mod consumer {
    use super::*;
    log_suite!(Kafka<true>);
}
