//! What the owner knows of one stage: its partitions, what runs, and whether fetching is stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    BatchPolicy, CheckpointScope, EngineError, PartitionStatus, StageSpec, StageStatus, Work,
    partition::{Epoch, PartitionState, Phase, Released},
    pump::Order,
    sink::Gathered,
};
use crate::{
    log::{Generation, Partition, Record},
    observe::StageMetrics,
};

/// Where each dropped step is told, by stage, partition and offset.
const DISCARDED: &str = "avr::engine::discarded";

pub(super) struct StageState {
    pub(super) spec: StageSpec,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) partitions: BTreeMap<Partition, PartitionState>,
    pub(super) metrics: StageMetrics,
    /// What the group was when the latest event came: progress is committed under it.
    pub(super) generation: Generation,
    /// Steps committed, and those that ended in a dead letter.
    pub(super) steps: u64,
    pub(super) dead_letters: u64,
    pub(super) in_flight: usize,
    /// Records fetched and waiting, over all partitions.
    pub(super) waiting: usize,
    /// Bytes of those.
    waiting_bytes: usize,
    /// Where the stage's sink gathers: when the first of what waits has waited long enough.
    pub(super) gathered_by: Option<Instant>,
    /// Partitions to be given up, until when their steps may go on.
    pub(super) revoking: BTreeMap<Partition, Instant>,
    /// After a refused commit: what is finished stays back until the log says more, or until then.
    pub(super) refused_until: Option<Instant>,
    /// Whether the gate before it is closed: nothing is fetched and no step starts.
    pub(super) closed: bool,
    /// Whether fetching is stopped for every partition.
    paused: bool,
    /// Partitions for which it is stopped because their next record has no room in the progress.
    metadata_full: BTreeSet<Partition>,
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
            generation: Generation::default(),
            steps: 0,
            dead_letters: 0,
            in_flight: 0,
            waiting: 0,
            waiting_bytes: 0,
            gathered_by: None,
            revoking: BTreeMap::new(),
            refused_until: None,
            closed: false,
            paused: false,
            metadata_full: BTreeSet::new(),
            turn: None,
        }
    }

    /// The partition of a step, if it is still of that assignment.
    pub(super) fn current(&mut self, partition: Partition, epoch: Epoch) -> Option<&mut PartitionState> {
        self.partitions.get_mut(&partition).filter(|state| state.epoch == epoch)
    }

    fn checkpoint_scope(&self) -> Option<CheckpointScope> {
        match self.spec.work {
            Work::Steps { .. } => None,
            Work::Sink { scope, .. } => Some(scope),
        }
    }

    fn gathering(&self) -> Option<BatchPolicy> {
        match self.checkpoint_scope()? {
            CheckpointScope::WholeSink => None,
            CheckpointScope::EachPartition(policy) => Some(policy),
        }
    }

    /// Whether the stage has a sink that lets records gather.
    pub(super) fn gathers(&self) -> bool {
        self.gathering().is_some()
    }

    /// The partition that carries a sink's one checkpoint.
    pub(super) fn checkpoint_partition(&self) -> Option<Partition> {
        let topic = *self.spec.topics.first()?;
        (self.checkpoint_scope() == Some(CheckpointScope::WholeSink)).then_some(Partition { topic, index: 0 })
    }

    /// Whether a checkpoint of the sink is committed with this partition's progress.
    pub(super) fn carries_checkpoint(&self, partition: Partition) -> bool {
        self.gathers() || self.checkpoint_partition() == Some(partition)
    }

    /// Keeps a checkpoint that is committed.
    pub(super) fn keep_checkpoint(&mut self, partition: Partition, checkpoint: String) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.checkpoint = checkpoint;
        }
    }

    /// Whether the sink must have its one checkpoint committed before it may write.
    pub(super) fn sink_begins(&self) -> bool {
        let carrier = self.checkpoint_partition().and_then(|carrier| self.partitions.get(&carrier));
        carrier.is_some_and(|state| state.checkpoint.is_empty())
    }

    /// Whether the stage has a sink that has work for a commit now. Without the partition that carries its one checkpoint
    /// it may not write: another process has the files.
    pub(super) fn sink_takes_part(&self, more_may_come: bool, now: Instant) -> bool {
        let Some(scope) = self.checkpoint_scope().filter(|_| !self.is_refused(now)) else { return false };
        match scope {
            CheckpointScope::WholeSink => {
                let has_it = self.checkpoint_partition().is_some_and(|it| self.partitions.contains_key(&it));
                has_it && self.revoking.is_empty() && (self.waiting > 0 || self.sink_begins())
            }
            CheckpointScope::EachPartition(gathering) => {
                let waiting = Gathered {
                    records: self.waiting,
                    bytes: self.waiting_bytes,
                    due: self.gathered_by,
                    more_may_come: more_may_come && self.revoking.is_empty(),
                };
                gathering.is_enough(&waiting, self.spec.work.at_once(), now)
            }
        }
    }

    /// Takes what a sink is to write next.
    pub(super) fn take_batch(&mut self, now: Instant) -> Vec<(Epoch, Arc<Record>)> {
        let mut batch = Vec::new();
        while batch.len() < self.spec.work.at_once() {
            let Some((record, epoch)) = self.take() else { break };
            if let Some(state) = self.current(record.partition, epoch) {
                state.open(&record, Phase::Ended);
            }
            batch.push((epoch, record));
        }
        let gathering = self.gathering().filter(|_| self.waiting > 0);
        self.gathered_by = gathering.map(|gathering| now + gathering.linger);
        batch
    }

    /// Takes back what a sink was to write. It has waited long enough.
    pub(super) fn put_back_batch(&mut self, batch: Vec<(Epoch, Arc<Record>)>) {
        batch.into_iter().for_each(|(epoch, record)| self.put_back(record, epoch));
        self.gathered_by = (self.gathers() && self.waiting > 0).then(Instant::now);
    }

    /// Takes what was fetched; gives its bytes where it was not seen before.
    pub(super) fn admit(&mut self, record: Arc<Record>, now: Instant) -> Option<usize> {
        let state = self.partitions.get_mut(&record.partition)?;
        let size = record.size();
        if !state.admit(record) {
            return None;
        }
        self.waiting += 1;
        self.waiting_bytes += size;
        if let Some(gathering) = self.gathering() {
            self.gathered_by.get_or_insert(now + gathering.linger);
        }
        Some(size)
    }

    /// Starts nothing more of a partition that is to be given up; but what a sink has gathered it still writes.
    pub(super) fn close(&mut self, partition: Partition) {
        let gathers = self.gathers();
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.closed = !gathers;
        }
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
        self.waiting_bytes -= record.size();
        Some((record, epoch))
    }

    /// Whether what is finished stays back: the log refused it and has not said why.
    pub(super) fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| until > now)
    }

    /// Takes back a record that is to be started again.
    pub(super) fn put_back(&mut self, record: Arc<Record>, epoch: Epoch) {
        let size = record.size();
        let Some(state) = self.current(record.partition, epoch) else { return };
        state.put_back(record);
        self.waiting += 1;
        self.waiting_bytes += size;
    }

    /// Drops a partition and everything of it; returns the bytes that are free now.
    pub(super) fn drop_partition(&mut self, partition: Partition) -> usize {
        self.revoking.remove(&partition);
        self.metadata_full.remove(&partition);
        let Some(state) = self.partitions.remove(&partition) else { return 0 };
        let unfinished = [state.running(), state.uncommitted()].concat();
        self.tell_discarded(partition, &unfinished, "their partition is given up");
        let released = state.end();
        self.waiting -= released.waiting;
        self.waiting_bytes -= released.waiting_bytes;
        self.in_flight -= released.running;
        released.bytes
    }

    /// These steps were begun in vain: whoever has the partition next makes their calls again.
    fn tell_discarded(&self, partition: Partition, offsets: &[i64], why: &str) {
        if offsets.is_empty() {
            return;
        }
        let (stage, steps) = (self.spec.name, offsets.len());
        self.metrics.discarded(steps);
        tracing::warn!(stage, %partition, steps, "steps are dropped and will be made again: {why}");
        self.tell_discarded_each(partition, offsets);
    }

    /// Tells every one of these steps, whose calls are made again, for those who count calls.
    pub(super) fn tell_discarded_each(&self, partition: Partition, offsets: &[i64]) {
        tracing::debug!(target: DISCARDED, "{} {partition} {offsets:?}", self.spec.name);
    }

    /// Tells of every step that still runs: the process gives them all up.
    pub(super) fn tell_all_discarded(&self) {
        for (partition, state) in &self.partitions {
            self.tell_discarded(*partition, &state.running(), "the grace for a stop is over");
        }
    }

    /// Tells of every result that waits in vain for its commit, or for the answer to it; gives how many there are.
    pub(super) fn tell_all_untaken(&self) -> usize {
        let untaken = |(partition, state): (&Partition, &PartitionState)| {
            let offsets = state.uncommitted();
            self.tell_discarded(*partition, &offsets, "the log did not take their results in time");
            offsets.len()
        };
        self.partitions.iter().map(untaken).sum()
    }

    /// Stops or resumes fetching: of everything, as `stop` and what waits say, and of each partition that waits
    /// for room in its progress, so that what it has fetched keeps no other waiting.
    pub(super) fn regulate(&mut self, stop: bool) -> Result<(), EngineError> {
        let metadata_full = self.partitions.iter().filter(|(_, state)| state.metadata_full);
        let (metadata_full, stuck): (BTreeSet<Partition>, Vec<usize>) =
            metadata_full.map(|(partition, state)| (*partition, state.waiting_count())).unzip();
        let waiting = self.waiting - stuck.iter().sum::<usize>();
        let enough = self.spec.work.at_once().saturating_mul(2);
        let paused = stop || if self.paused { waiting > enough / 4 } else { waiting >= enough };
        if (paused, &metadata_full) == (self.paused, &self.metadata_full) {
            return Ok(());
        }
        let was = |partition: &Partition| self.paused || self.metadata_full.contains(partition);
        let is = |partition: &Partition| paused || metadata_full.contains(partition);
        let changed = self.partitions.keys().copied().filter(|partition| was(partition) != is(partition));
        let (pause, resume): (Vec<Partition>, Vec<Partition>) = changed.partition(is);
        (self.paused, self.metadata_full) = (paused, metadata_full);
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

    fn parked(&self) -> usize {
        self.partitions.values().map(PartitionState::parked_count).sum()
    }

    /// Sets the gauges of what waits.
    pub(super) fn show(&self) {
        self.metrics.waiting(self.waiting, self.parked());
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
            parked: self.parked(),
            partitions,
        }
    }

    /// What its partitions say, to be compared with the sums that are kept.
    pub(super) fn audit(&self) -> Released {
        let mut sums = Released::default();
        self.partitions.values().for_each(|state| sums.add(&state.outstanding()));
        let kept = (self.in_flight, self.waiting, self.waiting_bytes);
        debug_assert_eq!((sums.running, sums.waiting, sums.waiting_bytes), kept, "{}", self.spec.name);
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
    use crate::{engine::Completed, observe::Metrics, topic::PROMPTS};

    fn partition(index: i32) -> Partition {
        Partition { topic: PROMPTS.name, index }
    }

    fn admit(stage: &mut StageState, index: i32, offset: i64) {
        let (partition, headers) = (partition(index), vec![]);
        let record = Record { partition, offset, timestamp_ms: 0, key: None, value: None, headers };
        assert!(stage.admit(Arc::new(record), Instant::now()).is_some());
    }

    /// A stage that wants two at once, with two partitions. In the first every second record is done and all others
    /// are open, until there is no room for the next.
    fn stage() -> (StageState, mpsc::Receiver<Order>) {
        let (orders, told) = mpsc::channel(8);
        let spec = StageSpec::sink("stage", vec![PROMPTS.name], 2, CheckpointScope::WholeSink);
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
