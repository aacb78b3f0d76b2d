//! What the owner knows of one stage: its partitions, what runs, and whether fetching is stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    EngineError, PartitionStatus, StageSpec, StageStatus, Work,
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
    /// Steps committed, and those that ended in a dead letter.
    pub(super) steps: u64,
    pub(super) dead_letters: u64,
    pub(super) in_flight: usize,
    /// Records fetched and waiting, over all partitions.
    pub(super) waiting: usize,
    /// Partitions to be given up, until when their steps may go on.
    pub(super) revoking: BTreeMap<Partition, Instant>,
    /// After a refused commit: what is finished stays back until the log says more, or until then.
    pub(super) refused_until: Option<Instant>,
    /// Whether the gate before it is closed: nothing is fetched and no step starts.
    pub(super) closed: bool,
    /// Whether fetching is stopped for every partition.
    paused: bool,
    /// Partitions for which it is stopped because their next record has no room in the progress.
    crowded: BTreeSet<Partition>,
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
            steps: 0,
            dead_letters: 0,
            in_flight: 0,
            waiting: 0,
            revoking: BTreeMap::new(),
            refused_until: None,
            closed: false,
            paused: false,
            crowded: BTreeSet::new(),
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

    /// The state of that partition, while it is assigned.
    pub(super) fn note_holder(&mut self) -> Option<&mut PartitionState> {
        let carrier = self.note_carrier()?;
        self.partitions.get_mut(&carrier)
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
        self.crowded.remove(&partition);
        let Some(state) = self.partitions.remove(&partition) else { return 0 };
        let remains = state.end();
        self.waiting -= remains.waiting;
        self.in_flight -= remains.running;
        remains.bytes
    }

    /// Stops or resumes fetching: of everything, as `stop` and what waits say, and of each partition that waits
    /// for room in its progress, so that what it has fetched keeps no other waiting.
    pub(super) fn regulate(&mut self, stop: bool) -> Result<(), EngineError> {
        let crowded = self.partitions.iter().filter(|(_, state)| state.crowded);
        let (crowded, stuck): (BTreeSet<Partition>, Vec<usize>) =
            crowded.map(|(partition, state)| (*partition, state.waiting_count())).unzip();
        let waiting = self.waiting - stuck.iter().sum::<usize>();
        let enough = self.spec.max_in_flight.saturating_mul(2);
        let paused = stop || if self.paused { waiting > enough / 4 } else { waiting >= enough };
        if (paused, &crowded) == (self.paused, &self.crowded) {
            return Ok(());
        }
        let was = |partition: &Partition| self.paused || self.crowded.contains(partition);
        let is = |partition: &Partition| paused || crowded.contains(partition);
        let changed = self.partitions.keys().copied().filter(|partition| was(partition) != is(partition));
        let (pause, resume): (Vec<Partition>, Vec<Partition>) = changed.partition(is);
        (self.paused, self.crowded) = (paused, crowded);
        self.order_some(Order::Pause, pause)?;
        self.order_some(Order::Resume, resume)
    }

    fn order_some(
        &self,
        order: impl Fn(Vec<Partition>) -> Order,
        partitions: Vec<Partition>,
    ) -> Result<(), EngineError> {
        if partitions.is_empty() { Ok(()) } else { self.order(order(partitions)) }
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
            steps: self.steps,
            dead_letters: self.dead_letters,
            in_flight: self.in_flight,
            waiting: self.waiting,
            held: self.held(),
            partitions,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::{Completed, partition::Phase},
        observe::Metrics,
        topic::PROMPTS,
    };

    fn partition(index: i32) -> Partition {
        Partition { topic: PROMPTS.name, index }
    }

    fn admit(stage: &mut StageState, index: i32, offset: i64) {
        let (partition, headers) = (partition(index), vec![]);
        let record = Record { partition, offset, timestamp_ms: 0, key: None, value: None, headers };
        let state = stage.partitions.get_mut(&partition).expect("assigned");
        assert!(state.admit(Arc::new(record)));
        stage.waiting += 1;
    }

    /// A stage that wants two at once, with two partitions. In the first every second record is done and all others
    /// are open, until there is no room for the next.
    fn stage() -> (StageState, mpsc::Receiver<Order>) {
        let (orders, told) = mpsc::channel(8);
        let spec = StageSpec::sink("stage", vec![PROMPTS.name], 2);
        let mut stage = StageState::new(spec, orders, StageMetrics::new(&Metrics::new(), "stage"));
        let mut every_second = Completed::default();
        (0..16_000).for_each(|n| every_second.insert(n * 2 + 1));
        for (index, completed) in [(0, every_second), (1, Completed::default())] {
            let state = PartitionState::new(Epoch(1), completed, String::new());
            stage.partitions.insert(partition(index), state);
        }
        for offset in (0..32_000).step_by(2) {
            admit(&mut stage, 0, offset);
            let Some((record, epoch)) = stage.take() else { break };
            stage.current(partition(0), epoch).expect("assigned").open(&record, Phase::Ended);
        }
        assert_eq!(stage.waiting, 1, "the last has no room");
        (0..9).for_each(|n| admit(&mut stage, 0, 32_000 + n));
        (stage, told)
    }

    #[test]
    fn a_partition_without_room_is_paused_alone() {
        let (mut stage, mut told) = stage();
        stage.regulate(false).expect("it listens");
        assert!(matches!(told.try_recv(), Ok(Order::Pause(paused)) if paused == [partition(0)]));
        stage.regulate(false).expect("it listens");
        assert!(told.try_recv().is_err(), "said once");
        (0..4).for_each(|offset| admit(&mut stage, 1, offset));
        stage.regulate(false).expect("it listens");
        assert!(
            matches!(told.try_recv(), Ok(Order::Pause(paused)) if paused == [partition(1)]),
            "enough waits"
        );
        (0..4).for_each(|offset| assert_eq!(stage.take().map(|(record, _)| record.offset), Some(offset)));
        stage.regulate(false).expect("it listens");
        assert!(matches!(told.try_recv(), Ok(Order::Resume(resumed)) if resumed == [partition(1)]));
    }
}
