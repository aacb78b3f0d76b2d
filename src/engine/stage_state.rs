//! What the owner knows of one stage: its partitions, what runs, and whether fetching is stopped.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use super::{
    EngineError, StageSpec, StageStatus, Work,
    partition::{Epoch, PartitionState, Remains},
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
    /// The partition that gave the latest record: the next round begins after it.
    turn: Option<Partition>,
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
            turn: None,
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
        if self.waiting == 0 {
            return None;
        }
        let (record, epoch) = match self.turn {
            Some(last) => take_in((Bound::Excluded(last), Bound::Unbounded), &mut self.partitions)
                .or_else(|| take_in((Bound::Unbounded, Bound::Included(last)), &mut self.partitions)),
            None => take_in((Bound::Unbounded, Bound::Unbounded), &mut self.partitions),
        }?;
        self.turn = Some(record.partition);
        self.waiting -= 1;
        Some((record, epoch))
    }

    /// Whether what is finished stays back: the log refused it and has not said why.
    pub(super) fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| until > now)
    }

    /// Takes back a record that is to be started again.
    pub(super) fn put_back(&mut self, record: Arc<Record>, epoch: Epoch) {
        let Some(state) = self.current(record.partition, epoch) else { return };
        state.put_back(record);
        self.waiting += 1;
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

    fn held(&self) -> usize {
        self.partitions.values().map(PartitionState::held_count).sum()
    }

    /// Sets the gauges of what waits.
    pub(super) fn show(&self) {
        self.metrics.waiting(self.waiting, self.held());
    }

    pub(super) fn status(&self) -> StageStatus {
        let done = |state: &PartitionState| {
            u64::try_from(state.completed.prefix() + state.completed.beyond()).unwrap_or(0)
        };
        StageStatus {
            name: self.spec.name,
            done: self.partitions.values().map(done).sum(),
            in_flight: self.in_flight,
            waiting: self.waiting,
            held: self.held(),
        }
    }

    /// What its partitions say, to be compared with the sums that are kept.
    pub(super) fn audit(&self) -> Remains {
        let mut sums = Remains::default();
        self.partitions.values().for_each(|state| sums.add(&state.remains()));
        debug_assert_eq!((sums.running, sums.waiting), (self.in_flight, self.waiting), "{}", self.spec.name);
        sums
    }
}

/// The first record that may start in a range of partitions.
fn take_in(
    range: (Bound<Partition>, Bound<Partition>),
    partitions: &mut BTreeMap<Partition, PartitionState>,
) -> Option<(Arc<Record>, Epoch)> {
    partitions.range_mut(range).find_map(|(_, state)| Some((state.take()?, state.epoch)))
}
