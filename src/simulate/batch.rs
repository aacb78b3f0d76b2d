//! Continuous batching as a pure model: no clock, no task, no lock.
//!
//! A replica decodes in steps. A step makes one token for every running sequence and lasts
//! `step + step_per_sequence × running`, and longer by the prefill of those that joined just before it.
//! Sequences join at the boundary between two steps, while there are free slots, first come, first served.
//! A sequence of *t* tokens leaves after *t* steps.
//!
//! Between two events (a sequence finishes, one can join) all steps last the same, so they are run in bulk:
//! the work is in the number of sequences, not in the number of steps. Times are nanoseconds since a start
//! that the caller chooses, and never go back.

use std::collections::{BTreeSet, VecDeque};

/// Names one sequence of a [`DecodeBatch`].
pub(super) type SequenceId = u64;

/// How long things take, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepTimes {
    /// Sequences that run at the same time.
    pub(super) slots: usize,
    /// A decode step, whatever runs.
    pub(super) step_ns: u64,
    /// What each running sequence adds to a step.
    pub(super) step_per_sequence_ns: u64,
    /// What each prompt token of a joining sequence adds to its first step.
    pub(super) prefill_per_token_ns: u64,
}

/// One sequence to decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// Its name.
    pub(super) id: SequenceId,
    /// Tokens to make; 0 counts as 1.
    pub(super) tokens: u64,
    /// Tokens of its prompt.
    pub(super) prompt_tokens: u64,
}

/// The sequences of one replica: running, waiting and finished.
#[derive(Debug)]
pub(super) struct DecodeBatch {
    pace: StepTimes,
    /// The last boundary between steps that was reached.
    clock_ns: u64,
    /// Steps done so far.
    steps: u64,
    /// Prefill that the next step does.
    prefill_ns: u64,
    /// By the step that ends them.
    running: BTreeSet<(u64, SequenceId)>,
    waiting: VecDeque<Sequence>,
    finished: Vec<SequenceId>,
    busy_slot_ns: u128,
}

impl DecodeBatch {
    /// An idle replica.
    pub(super) fn new(pace: StepTimes) -> Self {
        Self {
            pace,
            clock_ns: 0,
            steps: 0,
            prefill_ns: 0,
            running: BTreeSet::new(),
            waiting: VecDeque::new(),
            finished: Vec::new(),
            busy_slot_ns: 0,
        }
    }

    /// Sequences that hold a slot.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait for a slot or for the next boundary.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The integral of running sequences over time up to `now_ns`, in slot-nanoseconds.
    pub(super) fn busy_slot_ns(&mut self, now_ns: u64) -> u128 {
        self.advance(now_ns);
        self.busy_slot_ns + self.slots_for(now_ns.saturating_sub(self.clock_ns))
    }

    /// Takes a sequence in. It joins at once when nothing runs, else at the next boundary with a free slot.
    pub(super) fn arrive(&mut self, now_ns: u64, sequence: Sequence) {
        self.advance(now_ns);
        self.catch_up(now_ns);
        self.waiting.push_back(sequence);
        if self.running.is_empty() {
            self.clock_ns = self.clock_ns.max(now_ns);
            self.join();
        }
    }

    /// Forgets a sequence whose asker has gone; its slot is free from the next boundary.
    pub(super) fn leave(&mut self, now_ns: u64, id: SequenceId) {
        self.advance(now_ns);
        self.catch_up(now_ns);
        self.waiting.retain(|sequence| sequence.id != id);
        self.running.retain(|(_, running)| *running != id);
        self.finished.retain(|finished| *finished != id);
        if self.running.is_empty() {
            self.clock_ns = self.clock_ns.max(now_ns);
            self.join();
        }
    }

    /// Runs every step that ends at or before `now_ns` and matters to somebody.
    pub(super) fn advance(&mut self, now_ns: u64) {
        while let Some(event_ns) = self.next_event_ns()
            && event_ns <= now_ns
        {
            self.run(self.steps_to_event());
        }
    }

    /// When to call [`advance`](Self::advance) next: no sequence finishes earlier. `None` while nothing runs.
    ///
    /// Those that join before then can only slow the others down, so that nobody has to wake for their joining.
    pub(super) fn next_finish_ns(&self) -> Option<u64> {
        let (last_step, _) = self.running.first()?;
        let free = self.pace.slots.saturating_sub(self.running.len());
        let joining = self.waiting.iter().take(free).map(|sequence| 1 + sequence.tokens.max(1));
        let steps = joining.fold(last_step - self.steps, u64::min);
        Some(self.clock_ns.saturating_add(self.duration_ns(steps)))
    }

    /// When a sequence finishes or can join; `None` while nothing runs.
    fn next_event_ns(&self) -> Option<u64> {
        self.running.first()?;
        Some(self.clock_ns.saturating_add(self.duration_ns(self.steps_to_event())))
    }

    /// The sequences that finished since the last call, in the order in which they did.
    pub(super) fn take_finished(&mut self) -> Vec<SequenceId> {
        std::mem::take(&mut self.finished)
    }

    /// Steps until a sequence finishes or a waiting one can join.
    fn steps_to_event(&self) -> u64 {
        let can_join = !self.waiting.is_empty() && self.running.len() < self.pace.slots;
        match self.running.first() {
            Some((last_step, _)) if !can_join => last_step - self.steps,
            _ => 1,
        }
    }

    fn step_ns(&self) -> u64 {
        // A step of no time at all would let `catch_up` divide by zero.
        (self.pace.step_ns + self.pace.step_per_sequence_ns * self.running.len() as u64).max(1)
    }

    fn duration_ns(&self, steps: u64) -> u64 {
        self.step_ns().saturating_mul(steps).saturating_add(self.prefill_ns)
    }

    fn slots_for(&self, duration_ns: u64) -> u128 {
        u128::from(duration_ns) * self.running.len() as u128
    }

    /// Runs the whole steps that end by `now_ns` though none of them is an event.
    fn catch_up(&mut self, now_ns: u64) {
        let behind_ns = now_ns.saturating_sub(self.clock_ns).saturating_sub(self.prefill_ns);
        let steps = behind_ns / self.step_ns();
        if steps > 0 && !self.running.is_empty() {
            self.run(steps);
        }
    }

    fn run(&mut self, steps: u64) {
        let duration_ns = self.duration_ns(steps);
        self.busy_slot_ns += self.slots_for(duration_ns);
        self.clock_ns = self.clock_ns.saturating_add(duration_ns);
        self.steps += steps;
        self.prefill_ns = 0;
        while let Some((last_step, id)) = self.running.first().copied()
            && last_step <= self.steps
        {
            self.running.pop_first();
            self.finished.push(id);
        }
        self.join();
    }

    fn join(&mut self) {
        while self.running.len() < self.pace.slots {
            let Some(sequence) = self.waiting.pop_front() else { break };
            self.prefill_ns += self.pace.prefill_per_token_ns * sequence.prompt_tokens;
            self.running.insert((self.steps + sequence.tokens.max(1), sequence.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_NS: u64 = 100;
    const PER_SEQUENCE_NS: u64 = 10;

    fn batch(slots: usize, prefill_per_token_ns: u64) -> DecodeBatch {
        DecodeBatch::new(StepTimes {
            slots,
            step_ns: STEP_NS,
            step_per_sequence_ns: PER_SEQUENCE_NS,
            prefill_per_token_ns,
        })
    }

    /// Arrivals as `(at, tokens)`; the answer is when each finished, in the order of arrival.
    fn finishes(mut batch: DecodeBatch, arrivals: &[(u64, u64)]) -> Vec<u64> {
        let mut finished = vec![0; arrivals.len()];
        let mut coming = arrivals.iter().enumerate().peekable();
        loop {
            let arrival_ns = coming.peek().map(|(_, (at, _))| *at);
            let (Some(now), arrives) = (match (arrival_ns, batch.next_finish_ns()) {
                (Some(arrival), Some(event)) if event < arrival => (Some(event), false),
                (Some(arrival), _) => (Some(arrival), true),
                (None, event) => (event, false),
            }) else {
                return finished;
            };
            if arrives && let Some((index, (_, tokens))) = coming.next() {
                let sequence = Sequence { id: index as u64, tokens: *tokens, prompt_tokens: 7 };
                batch.arrive(now, sequence);
            }
            batch.advance(now);
            for id in batch.take_finished() {
                finished[id as usize] = now;
            }
        }
    }

    /// A name, slots, prefill a token, arrivals as `(at, tokens)`, and when each finishes.
    type Case<'a> = (&'a str, usize, u64, &'a [(u64, u64)], &'a [u64]);

    #[test]
    fn sequences_finish_when_the_model_says() {
        let cases: &[Case<'_>] = &[
            ("alone", 4, 0, &[(5, 10)], &[5 + 10 * 110]),
            ("no tokens is one step", 4, 0, &[(0, 0)], &[110]),
            ("the second joins after the first step", 4, 0, &[(0, 3), (0, 2)], &[110 + 240, 110 + 240]),
            ("a late one joins at the next boundary", 4, 0, &[(0, 10), (150, 1)], &[220 + 120 + 770, 340]),
            ("beyond the slots, first come first served", 1, 0, &[(0, 2), (1, 1), (2, 1)], &[220, 330, 440]),
            ("prefill lengthens the first step", 4, 3, &[(0, 2)], &[220 + 21]),
            ("idle time costs nothing", 4, 0, &[(0, 1), (10_000, 1)], &[110, 10_110]),
        ];
        for (name, slots, prefill, arrivals, expected) in cases {
            assert_eq!(finishes(batch(*slots, *prefill), arrivals), *expected, "{name}");
        }
    }

    #[test]
    fn thousands_of_steps_are_one_event() {
        let mut batch = batch(256, 0);
        for id in 0..256 {
            batch.arrive(0, Sequence { id, tokens: 5000 - id % 2, prompt_tokens: 0 });
        }
        let mut events = 0;
        while let Some(finish_ns) = batch.next_finish_ns() {
            batch.advance(finish_ns);
            events += 1;
        }
        assert!(events <= 4, "{events} events");
        assert_eq!(batch.take_finished().len(), 256);
    }

    #[test]
    fn who_leaves_frees_the_slot_and_never_finishes() {
        let mut batch = batch(1, 0);
        batch.arrive(0, Sequence { id: 0, tokens: 1000, prompt_tokens: 0 });
        batch.arrive(1, Sequence { id: 1, tokens: 1, prompt_tokens: 0 });
        assert_eq!((batch.running(), batch.waiting()), (1, 1));
        batch.leave(50, 0);
        batch.advance(10_000);
        assert_eq!(batch.take_finished(), [1]);
        assert_eq!((batch.running(), batch.waiting()), (0, 0));
    }

    #[test]
    fn busy_slots_are_the_integral_of_running_sequences() {
        let mut batch = batch(4, 0);
        batch.arrive(0, Sequence { id: 0, tokens: 2, prompt_tokens: 0 });
        assert_eq!(batch.busy_slot_ns(60), 60);
        batch.arrive(60, Sequence { id: 1, tokens: 1, prompt_tokens: 0 });
        assert_eq!(batch.busy_slot_ns(110), 110);
        assert_eq!(batch.busy_slot_ns(100_000), 110 + 2 * 120);
    }
}
