//! What the owner knows of one stage: its partitions, what runs, and whether fetching is stopped.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use super::{
    EngineError, PartitionStatus, StageSpec, StageStatus, Work,
    partition::{Epoch, PartitionState},
    pump::Order,
};
use crate::{
    broker::{Membership, Partition, Record},
    observe::StageMetrics,
};

pub(super) struct StageState {
    pub(super) spec: StageSpec,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) partitions: BTreeMap<Partition, PartitionState>,
    pub(super) metrics: StageMetrics,
    /// What the group was when the latest event came: progress is committed under it.
    pub(super) membership: Membership,
    pub(super) in_flight: usize,
    /// Records fetched and waiting, over all partitions.
    pub(super) waiting: usize,
    /// Partitions to be given up, until when their steps may go on.
    pub(super) revoking: BTreeMap<Partition, Instant>,
    /// After a refused commit: what is finished stays back until the log says more, or until then.
    pub(super) refused_until: Option<Instant>,
    paused: bool,
    /// Where the next round over the partitions begins.
    turn: usize,
}

impl StageState {
    pub(super) fn new(spec: StageSpec, orders: mpsc::Sender<Order>, metrics: StageMetrics) -> Self {
        Self {
            spec,
            orders,
            partitions: BTreeMap::new(),
            metrics,
            membership: Membership::default(),
            in_flight: 0,
            waiting: 0,
            revoking: BTreeMap::new(),
            refused_until: None,
            paused: false,
            turn: 0,
        }
    }

    /// The partition of a step, if it is still of that assignment.
    pub(super) fn current(&mut self, partition: Partition, epoch: Epoch) -> Option<&mut PartitionState> {
        self.partitions.get_mut(&partition).filter(|state| state.epoch == epoch)
    }

    /// The partition with whose progress the sink's note is committed.
    pub(super) fn note_carrier(&self) -> Option<Partition> {
        let topic = *self.spec.topics.first()?;
        matches!(self.spec.work, Work::Sink).then_some(Partition { topic, index: 0 })
    }

    /// Whether the sink's note is committed with this partition's progress.
    pub(super) fn carries_note(&self, partition: Partition) -> bool {
        self.note_carrier() == Some(partition)
    }

    /// The next record that may start, taking partitions in turn.
    pub(super) fn take(&mut self) -> Option<(Arc<Record>, Epoch)> {
        let count = self.partitions.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let (_, state) = self.partitions.iter_mut().nth(at)?;
            if let Some(record) = state.take() {
                self.turn = at + 1;
                self.waiting -= 1;
                return Some((record, state.epoch));
            }
        }
        None
    }

    /// Takes back a record that is to be started again.
    pub(super) fn put_back(&mut self, record: Arc<Record>, epoch: Epoch) -> bool {
        let Some(state) = self.current(record.partition, epoch) else { return false };
        state.put_back(record);
        self.waiting += 1;
        true
    }

    /// Drops a partition and everything of it; returns the bytes that are free now.
    pub(super) fn drop_partition(&mut self, partition: Partition) -> usize {
        self.revoking.remove(&partition);
        let Some(state) = self.partitions.remove(&partition) else { return 0 };
        let remains = state.end();
        self.waiting -= remains.waiting;
        self.in_flight -= remains.running;
        remains.bytes
    }

    /// Stops or resumes fetching, as `full` says.
    pub(super) fn regulate(&mut self, full: bool) -> Result<(), EngineError> {
        let enough = self.spec.max_in_flight.saturating_mul(2);
        let wanted =
            if self.paused { full || self.waiting > enough / 4 } else { full || self.waiting >= enough };
        if wanted == self.paused {
            return Ok(());
        }
        self.paused = wanted;
        let partitions = self.partitions.keys().copied().collect();
        self.order(if wanted { Order::Pause(partitions) } else { Order::Resume(partitions) })
    }

    /// Newly assigned partitions wait or come as the stage does. Said in either case: an order to pause that was
    /// meant for an earlier assignment may have reached the consumer after this one.
    pub(super) fn follow(&self, partitions: &[Partition]) -> Result<(), EngineError> {
        let partitions = partitions.to_vec();
        self.order(if self.paused { Order::Pause(partitions) } else { Order::Resume(partitions) })
    }

    pub(super) fn order(&self, order: Order) -> Result<(), EngineError> {
        self.orders.try_send(order).map_err(|_| EngineError::Part("consumer"))
    }

    pub(super) fn status(&self) -> StageStatus {
        let partitions: Vec<_> = self
            .partitions
            .iter()
            .map(|(&partition, state)| {
                let done = state.completed.prefix() + state.completed.beyond();
                PartitionStatus { partition, done }
            })
            .collect();
        StageStatus {
            name: self.spec.name,
            done: partitions.iter().map(|status| u64::try_from(status.done).unwrap_or(0)).sum(),
            in_flight: self.in_flight,
            waiting: self.waiting,
            held: self.partitions.values().map(PartitionState::held_count).sum(),
            partitions,
        }
    }
}
