//! All that a log in memory knows, behind one lock. Nothing here waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use avr::{
    log::{
        CommitError, Event, GroupName, GroupProgress, LogError, LogErrorKind, MAX_PROGRESS_TEXT, Output,
        Partition, Progress, Record,
    },
    topic::TopicName,
};
use tokio::time::Instant;

use super::{
    Options,
    group::{Group, MemberId, Notice, Terms},
    topics::Topics,
};

/// One life of a process.
pub(super) type ProcessId = u64;

/// A process, alive or not.
#[derive(Debug)]
struct Process {
    name: String,
    lives: bool,
    /// The steps until it dies, where that is planned.
    steps_left: Option<u64>,
}

/// Who commits.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) process: ProcessId,
    pub(super) name: String,
    /// Which of all committers of that name it is.
    pub(super) epoch: u64,
}

/// A transaction whose committer does not know how it ended, and which has not ended yet.
#[derive(Debug)]
struct Undecided {
    outputs: Vec<Output>,
    progress: Vec<GroupProgress>,
    /// How it will end.
    written: bool,
    /// When it ends although its committer never comes back.
    until: Instant,
}

/// The state of a log.
#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) rng: fastrand::Rng,
    pub(super) topics: Topics,
    /// Bytes of records given to members, by group.
    pub(super) handed_out: BTreeMap<GroupName, usize>,
    groups: BTreeMap<GroupName, Group>,
    progress: BTreeMap<(GroupName, Partition), Progress>,
    /// The latest epoch of each name of a committer.
    epochs: BTreeMap<String, u64>,
    undecided: BTreeMap<String, Undecided>,
    processes: BTreeMap<ProcessId, Process>,
    numbers: u64,
    /// Whether nobody becomes a committer.
    pub(super) is_away: bool,
    /// Whether somebody who waits should look again.
    pub(super) changed: bool,
}

impl State {
    pub(super) fn new(topics: &[(TopicName, i32)], options: Options) -> Self {
        Self {
            options,
            rng: fastrand::Rng::with_seed(options.seed),
            topics: Topics::new(topics),
            handed_out: BTreeMap::new(),
            groups: BTreeMap::new(),
            progress: BTreeMap::new(),
            epochs: BTreeMap::new(),
            undecided: BTreeMap::new(),
            processes: BTreeMap::new(),
            numbers: 0,
            is_away: false,
            changed: false,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether something happens that has this probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }

    /// How often others are let run, and how much time passes, at a step.
    pub(super) fn draw_pauses(&mut self) -> (u8, Duration) {
        let faults = self.options.faults;
        let yields = if self.chance(faults.yields) { self.rng.u8(1..=3) } else { 0 };
        let sleep = if self.chance(faults.sleeps) { self.rng.u64(1..=50) } else { 0 };
        (yields, Duration::from_millis(sleep))
    }

    // Processes.

    pub(super) fn start_process(&mut self, name: &str) -> ProcessId {
        let id = self.number();
        self.processes.insert(id, Process { name: name.to_owned(), lives: true, steps_left: None });
        id
    }

    pub(super) fn lives(&self, process: ProcessId) -> bool {
        self.processes.get(&process).is_some_and(|process| process.lives)
    }

    pub(super) fn plan_death(&mut self, process: ProcessId, steps: u64) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.steps_left = Some(steps);
        }
    }

    /// One step of a process: the place where it may die.
    pub(super) fn step(&mut self, id: ProcessId) -> Result<(), LogError> {
        match self.processes.get_mut(&id).and_then(|process| process.steps_left.as_mut()) {
            Some(0) => self.kill(id),
            Some(left) => *left -= 1,
            None => {}
        }
        match self.processes.get(&id) {
            Some(Process { lives: true, .. }) => Ok(()),
            process => {
                let name = process.map_or("without a name", |process| &process.name);
                Err(other("using the log", format!("the process {name} was killed")))
            }
        }
    }

    pub(super) fn kill(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if !std::mem::replace(&mut process.lives, false) {
            return;
        }
        let now = Instant::now();
        let unnoticed = self.options.death_unnoticed.mul_f64(self.rng.f64());
        for group in self.groups.values_mut() {
            for member in group.members_of(id) {
                group.die(member, now + unnoticed);
            }
        }
        self.pass(now);
        self.changed = true;
    }

    pub(super) fn kill_all(&mut self) {
        let all: Vec<ProcessId> = self.processes.keys().copied().collect();
        all.into_iter().for_each(|process| self.kill(process));
    }

    // Time and groups.

    /// What happens by itself as time passes.
    pub(super) fn pass(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let late = self.undecided.iter().filter(|(_, transaction)| transaction.until <= now);
        let late: Vec<String> = late.map(|(name, _)| name.clone()).collect();
        late.iter().for_each(|name| self.decide(name));
        let expired: Vec<GroupName> =
            self.groups.iter_mut().filter_map(|(name, group)| group.expire(now).then_some(*name)).collect();
        expired.into_iter().for_each(|group| self.rebalance(group));
    }

    /// When something happens by itself next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let groups = self.groups.values().filter_map(Group::deadline);
        groups.chain(self.undecided.values().map(|transaction| transaction.until)).min()
    }

    fn rebalance(&mut self, name: GroupName) {
        let undecided: BTreeSet<Partition> =
            self.undecided.values().flat_map(|transaction| moved(&transaction.progress, name)).collect();
        let until = Instant::now() + self.options.session;
        if let Some(group) = self.groups.get_mut(&name) {
            group.rebalance(&mut Terms { rng: &mut self.rng, until, undecided: &undecided });
        }
        self.changed = true;
    }

    pub(super) fn join(
        &mut self,
        process: ProcessId,
        name: GroupName,
        topics: &[TopicName],
    ) -> Result<MemberId, LogError> {
        if let Some(unknown) = topics.iter().find(|topic| !self.topics.knows(**topic)) {
            return Err(other(format!("joining group {name}"), format!("there is no topic {unknown}")));
        }
        let partitions: Vec<_> = topics.iter().flat_map(|topic| self.topics.partitions_of(*topic)).collect();
        let group = self.groups.entry(name).or_insert_with(|| Group::new(partitions.clone()));
        if !group.reads(&partitions) {
            return Err(other(format!("joining group {name}"), "its members read other topics"));
        }
        let member = self.number();
        if let Some(group) = self.groups.get_mut(&name) {
            group.join(member, process);
        }
        self.rebalance(name);
        Ok(member)
    }

    pub(super) fn group(&mut self, name: GroupName) -> Option<&mut Group> {
        self.groups.get_mut(&name)
    }

    /// Changes a group, then shares its partitions out anew.
    pub(super) fn change(&mut self, name: GroupName, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.get_mut(&name) {
            change(group);
            self.rebalance(name);
        }
    }

    // Reading.

    /// What a member is told next, if there is anything.
    pub(super) fn next_change(&mut self, name: GroupName, id: MemberId) -> Option<Event> {
        if self.groups.get_mut(&name)?.hear(id) {
            self.rebalance(name);
        }
        let notice = self.groups.get_mut(&name)?.member(id)?.notice();
        match notice {
            Some(Notice::Lost(partitions)) => Some(Event::Lost(partitions)),
            Some(Notice::Revoked(partitions)) => Some(Event::Revoked(partitions)),
            Some(Notice::Granted(granted)) => Some(Event::Assigned(self.assign(name, id, granted))),
            None => None,
        }
    }

    fn assign(
        &mut self,
        name: GroupName,
        id: MemberId,
        granted: Vec<(Partition, u64)>,
    ) -> Vec<(Partition, Progress)> {
        let mut assigned = Vec::new();
        for (partition, epoch) in granted {
            let progress = self.progress_of(name, partition).unwrap_or_default();
            if let Some(member) = self.group(name).and_then(|group| group.member(id)) {
                member.hold(partition, epoch, progress.offset);
            }
            assigned.push((partition, progress));
        }
        assigned
    }

    /// A batch of drawn size over the member's partitions in drawn order.
    pub(super) fn batch(&mut self, name: GroupName, id: MemberId) -> Option<Vec<Record>> {
        let Self { groups, topics, rng, options, .. } = self;
        let group = groups.get_mut(&name)?;
        let mut readable: Vec<Partition> = group.member(id)?.held.keys().copied().collect();
        readable.retain(|partition| group.may_read(*partition));
        rng.shuffle(&mut readable);
        let mut room = rng.usize(1..=options.batch_max.max(1));
        let mut batch = Vec::new();
        for partition in readable {
            let Some(position) = group.member(id)?.held.get_mut(&partition) else { continue };
            let most = if position.paused { 0 } else { rng.usize(..=room) };
            let most = if batch.is_empty() && !position.paused { most.max(1) } else { most };
            let records = topics.read(partition, position.next, most);
            position.next = records.last().map_or(position.next, |last| last.offset + 1);
            room -= records.len();
            batch.extend_from_slice(records);
        }
        *self.handed_out.entry(name).or_default() += batch.iter().map(Record::size).sum::<usize>();
        (!batch.is_empty()).then_some(batch)
    }

    // Committing.

    /// Makes an identity; earlier ones of its name are fenced, and what they left undecided is decided.
    pub(super) fn identify(&mut self, process: ProcessId, name: &str) -> Identity {
        self.decide(name);
        let epoch = self.epochs.entry(name.to_owned()).or_insert(0);
        *epoch += 1;
        Identity { process, name: name.to_owned(), epoch: *epoch }
    }

    /// Whether the identity is still the latest of its name.
    pub(super) fn check_identity(&self, who: &Identity) -> Result<(), LogError> {
        if self.epochs.get(&who.name) == Some(&who.epoch) {
            return Ok(());
        }
        Err(LogError::new(format!("committing as {}", who.name), LogErrorKind::Fenced))
    }

    /// Commits, or does not, as the contract and the faults have it.
    pub(super) fn commit(
        &mut self,
        who: &Identity,
        outputs: Vec<Output>,
        progress: Vec<GroupProgress>,
    ) -> Result<(), CommitError> {
        self.check_identity(who)?;
        self.check_limits(&outputs, &progress)?;
        let faults = self.options.faults;
        let refused = self.refused(who, &progress, faults.refused);
        if !refused.is_empty() {
            return Err(CommitError::Refused(refused));
        }
        if self.chance(faults.retriable) {
            return Err(CommitError::Retriable(other("committing", "the coordinator is loading")));
        }
        if self.chance(faults.fenced) {
            self.doubt(who, outputs, progress);
            self.identify(who.process, &who.name);
            return self.check_identity(who).map_err(CommitError::Fatal);
        }
        if self.chance(faults.doubtful) {
            self.doubt(who, outputs, progress);
            return Err(CommitError::Doubtful(other("committing", "no answer came in time")));
        }
        self.write(outputs, progress);
        Ok(())
    }

    fn check_limits(&self, outputs: &[Output], progress: &[GroupProgress]) -> Result<(), LogError> {
        if let Some(output) = outputs.iter().find(|output| !self.topics.knows(output.topic)) {
            return Err(other("committing", format!("there is no topic {}", output.topic)));
        }
        let limit = |output: &Output| output.topic.size_limit(self.options.max_record_bytes);
        if let Some(output) = outputs.iter().find(|output| output.size() > limit(output)) {
            let said = format!("a record of {} bytes is above the limit of {}", output.size(), limit(output));
            return Err(other(format!("writing to {}", output.topic), said));
        }
        let mut texts = progress.iter().flat_map(|group| &group.partitions).map(|(_, p)| &p.text);
        if texts.any(|text| text.encode_utf16().count() > MAX_PROGRESS_TEXT) {
            let said = format!("a text of progress is longer than {MAX_PROGRESS_TEXT} UTF-16 units");
            return Err(other("committing progress", said));
        }
        Ok(())
    }

    fn refused(&mut self, who: &Identity, progress: &[GroupProgress], spurious: f64) -> Vec<GroupName> {
        let mut refused = Vec::new();
        for GroupProgress { group: name, generation, partitions } in progress {
            let spurious = self.chance(spurious);
            let group = self.groups.get(name);
            let may =
                |p: &Partition| group.is_some_and(|group| group.may_commit(who.process, *p, *generation));
            if spurious || self.options.fences && !partitions.iter().all(|(partition, _)| may(partition)) {
                refused.push(*name);
            }
        }
        refused
    }

    /// The four ways of not knowing: written or not, now or later.
    fn doubt(&mut self, who: &Identity, outputs: Vec<Output>, progress: Vec<GroupProgress>) {
        let written = self.rng.bool();
        let until = Instant::now() + self.options.transaction_timeout;
        self.undecided.insert(who.name.clone(), Undecided { outputs, progress, written, until });
        if self.rng.bool() {
            self.decide(&who.name);
        }
    }

    /// Ends a transaction that is in doubt, if there is one.
    pub(super) fn decide(&mut self, name: &str) {
        let Some(Undecided { outputs, progress, written, .. }) = self.undecided.remove(name) else { return };
        let groups: Vec<GroupName> = progress.iter().map(|group| group.group).collect();
        if written {
            self.write(outputs, progress);
        } else if self.options.gaps {
            self.topics.abort(&outputs, &mut self.rng);
        }
        groups.into_iter().for_each(|group| self.rebalance(group));
    }

    fn write(&mut self, outputs: Vec<Output>, progress: Vec<GroupProgress>) {
        self.topics.append(outputs, &mut self.rng, self.options.gaps);
        for GroupProgress { group, partitions, .. } in progress {
            let placed = partitions.into_iter().map(|(partition, progress)| ((group, partition), progress));
            self.progress.extend(placed);
        }
        self.changed = true;
    }

    pub(super) fn progress_of(&self, group: GroupName, partition: Partition) -> Option<Progress> {
        self.progress.get(&(group, partition)).cloned()
    }
}

fn moved(progress: &[GroupProgress], name: GroupName) -> impl Iterator<Item = Partition> {
    let its = progress.iter().filter(move |group| group.group == name);
    its.flat_map(|group| group.partitions.iter().map(|(partition, _)| *partition))
}

/// An error that says `cause`.
pub(super) fn other(context: impl Into<String>, cause: impl Into<String>) -> LogError {
    LogError::new(context, LogErrorKind::Other(cause.into().into()))
}
