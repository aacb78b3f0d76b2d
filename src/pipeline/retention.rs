//! Deletes what every stage is past, again and again: a cluster keeps records until it is told otherwise.
//!
//! Every worker may do it, and several at once do no harm: a record below an offset is deleted once.

use std::time::Duration;

use crate::{log::kafka::Admin, observe::Metrics, provision::delete_consumed, topic::TopicName};

/// Deletes in these topics about once an `interval`, until it is dropped. A failure is told and does not end it: nothing
/// but disks depends on it.
pub async fn keep(admin: Admin, topics: Vec<TopicName>, interval: Duration, metrics: Metrics) {
    loop {
        // Workers that were started together take turns.
        tokio::time::sleep(interval.mul_f64(0.5 + fastrand::f64())).await;
        clean(&admin, &topics, &metrics).await;
    }
}

async fn clean(admin: &Admin, topics: &[TopicName], metrics: &Metrics) {
    let result = match delete_consumed(admin, topics).await {
        Ok(gone) => {
            for (topic, offsets) in gone {
                tracing::debug!(%topic, offsets, "consumed records are deleted");
                let counter = metrics.deleted_offsets.with_label_values(&[topic.0]);
                counter.inc_by(u64::try_from(offsets).unwrap_or(0));
            }
            "done"
        }
        Err(error) => {
            tracing::warn!(%error, "consumed records could not be deleted; the next try follows");
            "failed"
        }
    };
    metrics.cleanups.with_label_values(&[result]).inc();
}
