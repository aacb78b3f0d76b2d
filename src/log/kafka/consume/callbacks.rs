//! What librdkafka calls back about a group. The callbacks only take down what is asked; the poller answers.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};

use crate::log::{kafka::reporter::Reporter, lock};

/// A partition under the cluster's name of its topic.
pub(super) type ClusterPartition = (String, i32);

/// A change of the group's assignment that librdkafka waits to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rebalance {
    /// These partitions are to be this member's.
    Assign(Vec<ClusterPartition>),
    /// These partitions are to be given up.
    Revoke(Vec<ClusterPartition>),
    /// These partitions are another member's already.
    Lose(Vec<ClusterPartition>),
}

/// The callbacks of one member's consumer.
#[derive(Debug)]
pub(crate) struct GroupCallbacks {
    pub(super) reporter: Reporter,
    rebalances: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

/// The librdkafka consumer behind a member.
pub(crate) type GroupClient = BaseConsumer<GroupCallbacks>;

impl GroupCallbacks {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self { reporter, rebalances: Mutex::default(), closing: AtomicBool::new(false) }
    }

    /// The oldest rebalance that is not answered yet.
    pub(super) fn next_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    /// From now on rebalances are answered at once, without the engine: it does not listen any more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl ClientContext for GroupCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reporter.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reporter.error(error, reason);
    }
}

impl ConsumerContext for GroupCallbacks {
    /// Only takes the rebalance down. The answer, `incremental_assign` or `incremental_unassign`, is given when the
    /// engine has seen to it; librdkafka waits for the answer and says nothing more of the group until then.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigns = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_closing() {
            let answer =
                if assigns { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answer {
                self.reporter.warn("close", &error.to_string());
            }
            return;
        }
        let partitions = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let rebalance = match assigns {
            true => Rebalance::Assign(partitions),
            false if consumer.assignment_lost() => Rebalance::Lose(partitions),
            false => Rebalance::Revoke(partitions),
        };
        lock(&self.rebalances).push_back(rebalance);
    }
}
