//! What the coordinator knows of one stage: its partitions, what runs, and whether fetching is stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use tokio::{sync::mpsc, time::Instant};

use super::{
    BatchPolicy, CheckpointScope, EngineError, PartitionStatus, StageSpec, StageStatus, Work,
    partition::{Epoch, PartitionState, Released, StepPhase},
    pump::Order,
    sink::BatchFill,
};
use crate::{
    log::{Generation, Partition, Record},
    observe::EngineStageMetrics,
};

/// Where each discarded step is named, by stage, partition and offset.
const DISCARDED: &str = "avr::engine::discarded";

pub(super) struct StageState {
    pub(super) spec: StageSpec,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) partitions: BTreeMap<Partition, PartitionState>,
    pub(super) metrics: EngineStageMetrics,
    /// The group's generation when the latest event came: progress is committed under it.
    pub(super) generation: Generation,
    /// Steps committed, and those that ended in a dead letter.
    pub(super) steps: u64,
    pub(super) dead_letters: u64,
    pub(super) in_flight: usize,
    /// Records fetched and waiting, over all partitions.
    pub(super) waiting: usize,
    /// Bytes of the records that wait.
    waiting_bytes: usize,
    /// Where the stage's sink lets records linger: when the first of them has waited long enough.
    linger_until: Option<Instant>,
    /// Partitions to be given up, until when their steps may go on.
    pub(super) revoking: BTreeMap<Partition, Instant>,
    /// After a refused commit: what is finished stays back until the log says more, or until then.
    pub(super) refused_until: Option<Instant>,
    /// Whether the stage is paused for backpressure: nothing is fetched and no step starts.
    pub(super) paused: bool,
    /// Whether fetching is stopped for every partition.
    fetch_paused: bool,
    /// Partitions for which fetching is stopped because the next record has no room in the text of the progress.
    metadata_full: BTreeSet<Partition>,
    /// The partition that gave the latest record: the next round begins after it.
    last_taken: Option<Partition>,
}

impl StageState {
    pub(super) fn new(spec: StageSpec, orders: mpsc::Sender<Order>, metrics: EngineStageMetrics) -> Self {
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
            linger_until: None,
            revoking: BTreeMap::new(),
            refused_until: None,
            paused: false,
            fetch_paused: false,
            metadata_full: BTreeSet::new(),
            last_taken: None,
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

    fn batch_policy(&self) -> Option<BatchPolicy> {
        match self.checkpoint_scope()? {
            CheckpointScope::WholeSink => None,
            CheckpointScope::EachPartition(policy) => Some(policy),
        }
    }

    /// Whether the stage has a sink that lets records linger.
    pub(super) fn lingers(&self) -> bool {
        self.batch_policy().is_some()
    }

    /// The partition that carries a sink's one checkpoint.
    pub(super) fn checkpoint_partition(&self) -> Option<Partition> {
        let topic = *self.spec.topics.first()?;
        (self.checkpoint_scope() == Some(CheckpointScope::WholeSink)).then_some(Partition { topic, index: 0 })
    }

    /// Whether a checkpoint of the sink is committed with this partition's progress.
    pub(super) fn carries_checkpoint(&self, partition: Partition) -> bool {
        self.lingers() || self.checkpoint_partition() == Some(partition)
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
            CheckpointScope::EachPartition(policy) => {
                let waiting = BatchFill {
                    records: self.waiting,
                    bytes: self.waiting_bytes,
                    linger_until: self.linger_until,
                    more_may_come: more_may_come && self.revoking.is_empty(),
                };
                policy.is_enough(&waiting, self.spec.work.at_once(), now)
            }
        }
    }

    /// Takes what a sink is to write next.
    pub(super) fn take_batch(&mut self, now: Instant) -> Vec<(Epoch, Arc<Record>)> {
        let mut batch = Vec::new();
        while batch.len() < self.spec.work.at_once() {
            let Some((record, epoch)) = self.take() else { break };
            if let Some(state) = self.current(record.partition, epoch) {
                state.open(&record, StepPhase::Ended);
            }
            batch.push((epoch, record));
        }
        let policy = self.batch_policy().filter(|_| self.waiting > 0);
        self.linger_until = policy.map(|policy| now + policy.linger);
        batch
    }

    /// Takes back what a sink was to write. It has waited long enough.
    pub(super) fn put_back_batch(&mut self, batch: Vec<(Epoch, Arc<Record>)>) {
        batch.into_iter().for_each(|(epoch, record)| self.put_back(record, epoch));
        self.linger_until = (self.lingers() && self.waiting > 0).then(Instant::now);
    }

    /// Takes what was fetched. Gives the bytes that are free at once, because the record is not needed: its partition is
    /// another's, or it was seen before.
    pub(super) fn admit(&mut self, record: Record, now: Instant) -> usize {
        let (size, partition) = (record.size(), self.partitions.get_mut(&record.partition));
        if !partition.is_some_and(|partition| partition.admit(record)) {
            return size;
        }
        self.waiting += 1;
        self.waiting_bytes += size;
        if let Some(policy) = self.batch_policy() {
            self.linger_until.get_or_insert(now + policy.linger);
        }
        0
    }

    /// Starts nothing more of a partition that is to be given up; but what lingers for a sink is still written.
    pub(super) fn close(&mut self, partition: Partition) {
        let lingers = self.lingers();
        if let Some(state) = self.partitions.get_mut(&partition) {
            state.closing = !lingers;
        }
    }

    /// The next record that may start, taking partitions in turn.
    pub(super) fn take(&mut self) -> Option<(Arc<Record>, Epoch)> {
        if self.waiting == 0 {
            return None;
        }
        let (record, epoch) = match self.last_taken {
            Some(last) => take_in((Bound::Excluded(last), Bound::Unbounded), &mut self.partitions)
                .or_else(|| take_in((Bound::Unbounded, Bound::Included(last)), &mut self.partitions)),
            None => take_in((Bound::Unbounded, Bound::Unbounded), &mut self.partitions),
        }?;
        self.last_taken = Some(record.partition);
        self.waiting -= 1;
        self.waiting_bytes -= record.size();
        Some((record, epoch))
    }

    /// Whether results stay back: the log refused them and has not said why.
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

    /// Partitions to be given up now: those in which nothing is left to do, and, while no commit is under way, those
    /// whose grace is over.
    pub(super) fn ready_to_release(&self, now: Instant, no_commit: bool) -> Vec<Partition> {
        let is_quiet = |partition| self.partitions.get(partition).is_none_or(PartitionState::is_quiet);
        let revoking = self.revoking.iter();
        let ready =
            revoking.filter(|(partition, until)| is_quiet(partition) || (no_commit && **until <= now));
        ready.map(|(partition, _)| *partition).collect()
    }

    /// When something is to be done without an event.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> + '_ {
        self.revoking.values().copied().chain(self.refused_until).chain(self.linger_until)
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
        tracing::warn!(stage, %partition, steps, "steps are discarded and will be made again: {why}");
        self.name_discarded(partition, offsets);
    }

    /// Names every one of these steps, whose calls are made again, for those who count calls.
    pub(super) fn name_discarded(&self, partition: Partition, offsets: &[i64]) {
        tracing::debug!(target: DISCARDED, "{} {partition} {offsets:?}", self.spec.name);
    }

    /// Tells of every step that still runs: the process gives them all up.
    pub(super) fn tell_running_discarded(&self) {
        for (partition, state) in &self.partitions {
            self.tell_discarded(*partition, &state.running(), "the grace for a stop is over");
        }
    }

    /// Tells of every result that waits in vain for its commit, or for the answer to it; gives how many there are.
    pub(super) fn tell_results_discarded(&self) -> usize {
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
        let paused = stop || if self.fetch_paused { waiting > enough / 4 } else { waiting >= enough };
        if (paused, &metadata_full) == (self.fetch_paused, &self.metadata_full) {
            return Ok(());
        }
        let was = |partition: &Partition| self.fetch_paused || self.metadata_full.contains(partition);
        let is = |partition: &Partition| paused || metadata_full.contains(partition);
        let changed = self.partitions.keys().copied().filter(|partition| was(partition) != is(partition));
        let (pause, resume): (Vec<Partition>, Vec<Partition>) = changed.partition(is);
        (self.fetch_paused, self.metadata_full) = (paused, metadata_full);
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
        self.order(if self.fetch_paused { Order::Pause(partitions) } else { Order::Resume(partitions) })
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

    /// Bytes of everything that was fetched and not committed. What the partitions say is compared with the sums that
    /// are kept.
    pub(super) fn audit(&self) -> usize {
        let mut sums = Released::default();
        self.partitions.values().for_each(|state| sums.add(&state.outstanding()));
        let kept = (self.in_flight, self.waiting, self.waiting_bytes);
        debug_assert_eq!((sums.running, sums.waiting, sums.waiting_bytes), kept, "{}", self.spec.name);
        sums.bytes
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
        assert_eq!(stage.admit(record, Instant::now()), 0, "it is needed");
    }

    /// A stage that wants two at once, with two partitions. In the first every second record is done and all others
    /// are open, until there is no room for the next.
    fn stage() -> (StageState, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(8);
        let spec = StageSpec::sink("stage", vec![PROMPTS.name], 2, CheckpointScope::WholeSink);
        let mut stage = StageState::new(spec, orders, EngineStageMetrics::new(&Metrics::new(), "stage"));
        let mut every_second = Completed::default();
        (0..16_000).for_each(|n| every_second.insert(n * 2 + 1));
        for (index, completed) in [(0, every_second), (1, Completed::default())] {
            let state = PartitionState::new(Epoch(1), completed, String::new());
            stage.partitions.insert(partition(index), state);
        }
        for offset in (0..32_000).step_by(2) {
            admit(&mut stage, 0, offset);
            let Some((record, epoch)) = stage.take() else { break };
            stage.current(partition(0), epoch).expect("assigned").open(&record, StepPhase::Ended);
        }
        assert_eq!(stage.waiting, 1, "the last has no room");
        (0..9).for_each(|n| admit(&mut stage, 0, 32_000 + n));
        (stage, received)
    }

    #[test]
    fn a_partition_without_room_is_paused_alone() {
        let (mut stage, mut orders) = stage();
        stage.regulate(false).expect("it listens");
        assert!(matches!(orders.try_recv(), Ok(Order::Pause(paused)) if paused == [partition(0)]));
        stage.regulate(false).expect("it listens");
        assert!(orders.try_recv().is_err(), "said once");
        (0..4).for_each(|offset| admit(&mut stage, 1, offset));
        stage.regulate(false).expect("it listens");
        assert!(
            matches!(orders.try_recv(), Ok(Order::Pause(paused)) if paused == [partition(1)]),
            "enough waits"
        );
        (0..4).for_each(|offset| assert_eq!(stage.take().map(|(record, _)| record.offset), Some(offset)));
        stage.regulate(false).expect("it listens");
        assert!(matches!(orders.try_recv(), Ok(Order::Resume(resumed)) if resumed == [partition(1)]));
    }
}
