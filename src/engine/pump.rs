//! Moves events from one consumer to the engine and orders from the engine to the consumer, so that the
//! consumer is polled at all times and the engine never waits for one.

use tokio::sync::mpsc;

use crate::log::{Consumer, Event, Generation, LogError, Partition};

/// What the engine tells a consumer.
#[derive(Debug)]
pub(super) enum Order {
    Pause(Vec<Partition>),
    Resume(Vec<Partition>),
    Release(Vec<Partition>),
}

/// What a consumer tells the engine.
#[derive(Debug)]
pub(super) struct ConsumerReport {
    /// Which stage's consumer, by its place in the dataflow.
    pub(super) stage: usize,
    /// What the member knew of its group with it.
    pub(super) generation: Generation,
    pub(super) event: Result<Event, LogError>,
}

/// Runs until the engine drops its end of `orders`, then leaves the group.
pub(super) async fn pump<C: Consumer>(
    stage: usize,
    mut consumer: C,
    reports: mpsc::Sender<ConsumerReport>,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), LogError> {
    let mut pending: Option<ConsumerReport> = None;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(order) => obey(&mut consumer, order).await?,
                None => return consumer.leave().await,
            },
            permit = reports.reserve(), if pending.is_some() => match (permit, pending.take()) {
                (Ok(permit), Some(report)) => permit.send(report),
                _ => return consumer.leave().await,
            },
            event = consumer.next(), if pending.is_none() => {
                pending = Some(ConsumerReport { stage, generation: consumer.generation(), event });
            }
        }
    }
}

async fn obey<C: Consumer>(consumer: &mut C, order: Order) -> Result<(), LogError> {
    match order {
        Order::Pause(partitions) => consumer.pause(&partitions),
        Order::Resume(partitions) => consumer.resume(&partitions),
        Order::Release(partitions) => consumer.release(&partitions).await,
    }
}
