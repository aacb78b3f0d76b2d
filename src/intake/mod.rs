//! Prompts into the log: each becomes one thread, however often and from wherever it is given.
//!
//! ```text
//!   sources ─▶ items ─▶ index: new? ─┬─ yes ─▶ prompts + index entry    ┐
//!                                    ├─ known ─▶ counted, passed over   ├ one commit a batch
//!                                    └─ unusable ─▶ rejects + index entry┘
//! ```
//!
//! The index is a topic of the same log, so a thread and the entry that says it was taken in become visible
//! together; whoever starts again reads the index and goes over the input from its beginning. Admission is
//! bounded here: while too many threads are on their way, nothing is read.

mod followed;
mod index;

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use followed::Followed;
pub use index::{Index, Seen};

use crate::{
    broker::{Log, LogError, LogErrorKind, Output},
    engine::{Handle, SubmitError},
    observe::Metrics,
    record::{Extra, IndexEntry, Origin, RecipeRef, Reject, SCHEMA_VERSION, Thread, ThreadId},
    source::{AnswerUse, Item, Prompt, Source, SourceError},
    stage::Written,
    topic::{INDEX, PROMPTS, REJECTS},
};

/// How often files are looked at again with `--follow`.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

/// What a dead letter adds to the thread it carries, at most: a thread that is taken in can always become one.
const ROOM_FOR_HEADERS: usize = 16 << 10;

/// How prompts are taken in.
#[derive(Clone, Debug)]
pub struct IntakeOptions {
    /// Stop at the first line that cannot be used.
    pub strict: bool,
    /// Go on after the end, taking what is added.
    pub follow: bool,
    /// Threads on their way at once, at most: taken in and not ended.
    pub max_open_threads: u64,
    /// The longest line, in bytes.
    pub max_line_bytes: usize,
    /// Whether the recipe works on the prompt's own answer: then it counts as content, and must be there.
    pub answer: AnswerUse,
}

/// How far the intake is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeProgress {
    /// Threads taken in by this process.
    pub new: u64,
    /// Prompts that were taken in before.
    pub known: u64,
    /// Lines rejected by this process.
    pub rejected: u64,
    /// Threads taken in over all time.
    pub threads: u64,
    /// Lines rejected over all time.
    pub rejects: u64,
    /// Whether the input has ended.
    pub finished: bool,
}

/// Why the intake ended before the input did.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The engine has stopped.
    #[error("the intake stopped with the engine")]
    Stopped,
    /// With `--strict`: a line that cannot be used.
    #[error("{source_name}, line {line}: {message} (--strict stops at the first line that cannot be used)")]
    Strict {
        /// The file.
        source_name: String,
        /// The line, element or row.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// The state was made under another definition of the recipe.
    #[error(
        "the state in the output folder was made with another definition of recipe {name} ({difference}). Its threads \
         cannot be mixed with new ones: choose another folder with --out, or restore the definition"
    )]
    RecipeChanged {
        /// The recipe's name.
        name: String,
        /// What differs.
        difference: String,
    },
}

/// Takes prompts into a log.
pub struct Intake<L: Log> {
    log: L,
    handle: Handle,
    recipe: RecipeRef,
    options: IntakeOptions,
    /// What the files hold, over all time.
    written: watch::Receiver<Written>,
    progress: watch::Sender<IntakeProgress>,
    metrics: Metrics,
    index: Index,
}

/// Reads the index of a log.
pub async fn read_index<L: Log>(log: &L) -> Result<Index, LogError> {
    let mut index = Index::default();
    let mut broken: Option<String> = None;
    let mut visit = |record: crate::broker::Record| {
        let entry = serde_json::from_slice::<IndexEntry>(record.value.as_deref().unwrap_or_default());
        match (record.key.as_deref(), entry) {
            (Some(key), Ok(entry)) => index.insert(key, &entry),
            (_, Err(error)) => {
                broken = Some(format!("{}, offset {}: {error}", record.partition, record.offset))
            }
            (None, Ok(_)) => broken = Some(format!("{}, offset {}: no key", record.partition, record.offset)),
        }
    };
    log.scan(INDEX.name, &mut visit).await?;
    match broken {
        None => Ok(index),
        Some(place) => {
            Err(LogError::new("reading the index of what was taken in", LogErrorKind::Corrupt(place)))
        }
    }
}

impl<L: Log> Intake<L> {
    /// An intake that submits through `handle` what the `index` of `log` does not have.
    pub fn new(
        log: L,
        handle: Handle,
        recipe: RecipeRef,
        options: IntakeOptions,
        index: Index,
        written: watch::Receiver<Written>,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<IntakeProgress>) {
        let start =
            IntakeProgress { threads: index.threads(), rejects: index.rejects(), ..Default::default() };
        let (progress, watched) = watch::channel(start);
        (Self { log, handle, recipe, options, written, progress, metrics, index }, watched)
    }

    /// Whether everything in this log follows the recipe as it is defined now.
    ///
    /// # Errors
    /// The log was begun with another definition.
    pub fn check_recipe(&self, definition: &serde_json::Value) -> Result<(), IntakeError> {
        let name = &self.recipe.name;
        match self.index.recipe(name) {
            Some((hash, before)) if *hash != self.recipe.hash || before != definition => {
                Err(IntakeError::RecipeChanged {
                    name: name.clone(),
                    difference: difference(before, definition, &[]),
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that everything in this log follows one definition of the recipe, now and later.
    ///
    /// # Errors
    /// The log was begun with another definition.
    pub async fn claim(&mut self, definition: serde_json::Value) -> Result<(), IntakeError> {
        self.check_recipe(&definition)?;
        if self.index.recipe(&self.recipe.name).is_some() {
            return Ok(());
        }
        let entry = IndexEntry::Recipe { hash: self.recipe.hash.clone(), definition };
        let output = index_output(index::recipe_key(&self.recipe.name), &entry);
        self.submit(vec![output]).await
    }

    /// Takes in all of `sources`, in order.
    ///
    /// # Errors
    /// See [`IntakeError`]; what was taken in before it stays.
    pub async fn run(mut self, paths: &[String]) -> Result<(), IntakeError> {
        let mut inputs: Vec<Followed> = paths.iter().map(|path| Followed::new(path)).collect();
        for input in &mut inputs {
            self.take_in(input).await?;
        }
        while self.options.follow {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
            for input in inputs.iter_mut().filter(|input| input.has_changed()) {
                self.take_in(input).await?;
            }
        }
        self.progress.send_modify(|progress| progress.finished = true);
        Ok(())
    }

    async fn take_in(&mut self, input: &mut Followed) -> Result<(), IntakeError> {
        let source = input.open(self.options.follow)?;
        let mut source = source.with_max_line_bytes(self.options.max_line_bytes);
        while let Some(items) = source.next_batch().await? {
            self.admit().await?;
            let mut batch = Batch::default();
            for item in items {
                batch.is_new = input.is_new(item.line);
                self.sort(&source, item, &mut batch)?;
            }
            self.commit(batch).await?;
        }
        Ok(())
    }

    /// Waits while too many threads are on their way.
    async fn admit(&mut self) -> Result<(), IntakeError> {
        let (threads, most) = (self.index.threads(), self.options.max_open_threads);
        let room =
            self.written.wait_for(|written| threads.saturating_sub(written.totals.threads()) < most).await;
        room.map(drop).map_err(|_| IntakeError::Stopped)
    }

    /// Decides what becomes of one item.
    fn sort(&mut self, source: &Source, item: Item, batch: &mut Batch) -> Result<(), IntakeError> {
        let origin = Origin { source: source.name().to_owned(), line: item.line, extra: Extra::new() };
        match item.result {
            Ok(prompt) => self.sort_prompt(source, origin, prompt, batch),
            Err(reject) => {
                let message = reject.reason.to_string();
                self.reject(reject.id(source.identity()), origin, reject.reason.as_str(), message, batch)
            }
        }
    }

    fn sort_prompt(
        &mut self,
        source: &Source,
        origin: Origin,
        prompt: Prompt,
        batch: &mut Batch,
    ) -> Result<(), IntakeError> {
        if self.options.answer == AnswerUse::Used && prompt.answer.is_none() {
            let message = "no answer; this recipe works on the answer that comes with the prompt".to_owned();
            return self.refuse(source, origin, "no_answer", message, batch);
        }
        let content = prompt.content_hash(self.options.answer);
        let name = prompt.id.clone().unwrap_or_else(|| content.to_string());
        let id = ThreadId::new(&self.recipe.name, &name);
        match self.index.see_thread(&id, &content) {
            Seen::New => {
                let thread = self.thread(id, origin.clone(), prompt);
                if let Err(message) = batch.add_thread(
                    &thread,
                    content.to_string(),
                    self.log.max_record_bytes() - ROOM_FOR_HEADERS,
                ) {
                    self.index.forget_thread(&thread.id);
                    return self.refuse(source, origin, "too_large", message, batch);
                }
            }
            Seen::Known => batch.known += u64::from(batch.is_new),
            Seen::Conflict => {
                let message =
                    format!("id {name:?} was taken in before with other content; give it an id of its own");
                return self.refuse(source, origin, "id_conflict", message, batch);
            }
        }
        Ok(())
    }

    fn thread(&self, id: ThreadId, origin: Origin, prompt: Prompt) -> Thread {
        Thread {
            version: SCHEMA_VERSION,
            id,
            recipe: self.recipe.clone(),
            origin,
            prompt: prompt.messages,
            given_answer: prompt.answer,
            dataset: prompt.dataset,
            answer: None,
            reward_model: None,
            rounds: vec![],
            long_answers: vec![],
            fusion: None,
            extra: serde_json::Map::new(),
        }
    }

    /// Rejects a prompt that is well formed but cannot be taken in.
    fn refuse(
        &mut self,
        source: &Source,
        origin: Origin,
        reason: &'static str,
        message: String,
        batch: &mut Batch,
    ) -> Result<(), IntakeError> {
        let id = format!("{}\n{}\n{reason}", source.identity(), origin.line);
        self.reject(id, origin, reason, message, batch)
    }

    fn reject(
        &mut self,
        id: String,
        origin: Origin,
        reason: &'static str,
        message: String,
        batch: &mut Batch,
    ) -> Result<(), IntakeError> {
        if self.options.strict {
            let Origin { source: source_name, line, .. } = origin;
            return Err(IntakeError::Strict { source_name, line, message });
        }
        if self.index.see_reject(&id) {
            let reason = reason.to_owned();
            batch.add_reject(id, &Reject { source: origin.source, line: origin.line, reason, message });
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Batch) -> Result<(), IntakeError> {
        let Batch { outputs, new, known, reasons, .. } = batch;
        if !outputs.is_empty() {
            self.submit(outputs).await?;
        }
        let recipe = self.recipe.name.as_str();
        self.metrics.threads_taken_in.with_label_values(&[recipe]).inc_by(new);
        self.metrics.threads_known.with_label_values(&[recipe]).inc_by(known);
        for reason in &reasons {
            self.metrics.inputs_rejected.with_label_values(&[reason]).inc();
        }
        let (threads, rejects) = (self.index.threads(), self.index.rejects());
        self.progress.send_modify(|progress| {
            progress.new += new;
            progress.known += known;
            progress.rejected += reasons.len() as u64;
            progress.threads = threads;
            progress.rejects = rejects;
        });
        Ok(())
    }

    /// Submits until the log certainly has it.
    async fn submit(&self, mut outputs: Vec<Output>) -> Result<(), IntakeError> {
        loop {
            match self.handle.submit(outputs.clone()).await {
                Ok(()) => return Ok(()),
                Err(SubmitError::Stopped) => return Err(IntakeError::Stopped),
                Err(SubmitError::Doubtful) => outputs = self.lacking(outputs).await?,
            }
            if outputs.is_empty() {
                return Ok(());
            }
        }
    }

    /// Of outputs of one batch, those that the log does not have. A batch is there whole or not at all, and its
    /// index entries tell.
    async fn lacking(&self, outputs: Vec<Output>) -> Result<Vec<Output>, IntakeError> {
        let mut wanted: HashSet<Bytes> = HashSet::new();
        wanted
            .extend(outputs.iter().filter(|output| output.topic == INDEX.name).filter_map(|o| o.key.clone()));
        let mut found = false;
        let mut visit = |record: crate::broker::Record| {
            found |= record.key.is_some_and(|key| wanted.contains(&key));
        };
        self.log.scan(INDEX.name, &mut visit).await?;
        Ok(if found { vec![] } else { outputs })
    }
}

/// What one commit of the intake holds.
#[derive(Default)]
struct Batch {
    outputs: Vec<Output>,
    /// Whether the item being sorted comes for the first time: a file that grew is read again from its beginning.
    is_new: bool,
    new: u64,
    known: u64,
    reasons: Vec<String>,
}

impl Batch {
    /// Adds a new thread; says why not if the log could not take it.
    fn add_thread(&mut self, thread: &Thread, content: String, limit: usize) -> Result<(), String> {
        let key = Bytes::from(thread.id.as_str().to_owned());
        let prompt = output(PROMPTS.name, key.clone(), thread);
        if prompt.size() > limit {
            let size = prompt.size();
            return Err(format!(
                "a thread of {size} bytes; with room for the headers of a dead letter the log takes {limit} (log.max_record_bytes)"
            ));
        }
        let entry = IndexEntry::Thread { content, origin: thread.origin.clone() };
        self.outputs.push(prompt);
        self.outputs.push(output(INDEX.name, key, &entry));
        self.new += 1;
        Ok(())
    }

    fn add_reject(&mut self, id: String, reject: &Reject) {
        self.reasons.push(reject.reason.clone());
        self.outputs.push(output(REJECTS.name, Bytes::from(id.clone()), reject));
        self.outputs.push(index_output(id, &IndexEntry::Reject));
    }
}

fn index_output(key: String, entry: &IndexEntry) -> Output {
    output(INDEX.name, Bytes::from(key), entry)
}

fn output<T: serde::Serialize>(topic: crate::topic::TopicName, key: Bytes, payload: &T) -> Output {
    let value = serde_json::to_vec(payload).expect("texts, numbers and maps with text keys are always JSON");
    Output { topic, key: Some(key), value: Some(Bytes::from(value)), headers: vec![] }
}

/// The keys in which two definitions differ, with both values; empty where none but those `passed_over` do.
pub fn difference(before: &serde_json::Value, now: &serde_json::Value, passed_over: &[&str]) -> String {
    let empty = serde_json::Map::new();
    let (before, now) = (before.as_object().unwrap_or(&empty), now.as_object().unwrap_or(&empty));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let show =
        |value: Option<&serde_json::Value>| value.map_or_else(|| "absent".to_owned(), ToString::to_string);
    let changed = keys
        .into_iter()
        .filter(|key| !passed_over.contains(&key.as_str()) && before.get(*key) != now.get(*key));
    let lines = changed.map(|key| match (before.get(key), now.get(key)) {
        (Some(before @ serde_json::Value::Object(_)), Some(now @ serde_json::Value::Object(_))) => {
            format!("{key}: {}", difference(before, now, &[]))
        }
        (before, now) => format!("{key}: {} before, {} now", show(before), show(now)),
    });
    lines.collect::<Vec<_>>().join("; ")
}
