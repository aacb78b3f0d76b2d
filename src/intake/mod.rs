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

mod batch;
mod followed;
mod index;
mod writer;

use std::time::Duration;

use tokio::sync::watch;

pub(crate) use batch::index_output;
use batch::{AttemptedKeys, Batch};
use followed::Followed;
pub use index::{Index, Seen};
pub(crate) use index::{MODELS_KEY, recipe_key};
pub use writer::{EngineWriter, PromptWriter, SUBMIT_COMMITTER, WriteError};

use crate::{
    log::{Log, LogError, LogErrorKind},
    observe::Metrics,
    record::{Extra, IndexEntry, Origin, RecipeRef, Reject, SCHEMA_VERSION, Thread, ThreadId},
    source::{AnswerUse, Columns, Item, Prompt, SourceError},
    topic::INDEX,
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
    /// Which columns are read.
    pub columns: Columns,
}

/// How far the intake is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeProgress {
    /// Threads taken in by this process. After a commit of unknown outcome what is there of it counts as this
    /// process's, even where another submit gave the same prompt in that moment.
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
}

impl From<WriteError> for IntakeError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Log(error) => Self::Log(error),
            WriteError::Stopped | WriteError::Doubtful | WriteError::TakenOver => Self::Stopped,
        }
    }
}

/// Takes prompts into a log.
pub struct Intake<L: Log, W: PromptWriter> {
    log: L,
    writer: W,
    recipe: RecipeRef,
    options: IntakeOptions,
    progress: watch::Sender<IntakeProgress>,
    metrics: Metrics,
    index: Index,
}

/// What is known of a source: its name for people, and what tells it from others.
#[derive(Clone, Copy)]
struct Named<'a> {
    name: &'a str,
    identity: &'a str,
}

/// Reads the index of a log.
pub async fn read_index<L: Log>(log: &L) -> Result<Index, LogError> {
    let mut index = Index::default();
    let mut broken: Option<String> = None;
    let mut visit = |record: crate::log::Record| {
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

impl<L: Log, W: PromptWriter> Intake<L, W> {
    /// An intake that gives `writer` what the `index` of `log` does not have.
    pub fn new(
        log: L,
        writer: W,
        recipe: RecipeRef,
        options: IntakeOptions,
        index: Index,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<IntakeProgress>) {
        let start =
            IntakeProgress { threads: index.threads(), rejects: index.rejects(), ..Default::default() };
        let (progress, watched) = watch::channel(start);
        (Self { log, writer, recipe, options, progress, metrics, index }, watched)
    }

    /// How far it is.
    pub fn progress(&self) -> watch::Receiver<IntakeProgress> {
        self.progress.subscribe()
    }

    /// The recipe that its threads follow.
    pub fn recipe(&self) -> &RecipeRef {
        &self.recipe
    }

    /// What was taken in already.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Writes an entry of the index. Where that is not certain, `false` is returned, and the index, read anew, says.
    ///
    /// # Errors
    /// The log fails, or the engine has stopped.
    pub async fn write_entry(&mut self, key: String, entry: &IndexEntry) -> Result<bool, IntakeError> {
        match self.writer.write(vec![index_output(key, entry)]).await {
            Ok(()) => Ok(true),
            Err(WriteError::Doubtful | WriteError::TakenOver) => {
                self.index = read_index(&self.log).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
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
        let mut source = source
            .with_max_line_bytes(self.options.max_line_bytes)
            .with_columns(self.options.columns.clone());
        while let Some(items) = source.next_batch().await? {
            self.writer.admit(self.index.threads()).await?;
            let items: Vec<(Item, bool)> = items
                .into_iter()
                .map(|item| {
                    let is_new = input.is_new(item.line);
                    (item, is_new)
                })
                .collect();
            let named = Named { name: source.name(), identity: source.identity() };
            self.take_batch(named, &items).await?;
        }
        input.was_read(source);
        Ok(())
    }

    /// Takes in items, each with whether it comes for the first time. Where others may have written meanwhile, or
    /// nobody knows what was written, the index is read again and the items are judged anew.
    async fn take_batch(&mut self, source: Named<'_>, items: &[(Item, bool)]) -> Result<(), IntakeError> {
        let mut tried = AttemptedKeys::default();
        loop {
            let mut batch = Batch::after(std::mem::take(&mut tried));
            for (item, is_new) in items {
                batch.is_new = *is_new;
                self.sort(source, item, &mut batch)?;
            }
            let submitted = match batch.take_outputs() {
                outputs if outputs.is_empty() => Ok(()),
                outputs => self.writer.write(outputs).await,
            };
            match submitted {
                Ok(()) => {
                    self.count(&batch);
                    return Ok(());
                }
                Err(WriteError::Doubtful) => tried = batch.into_attempted(),
                Err(WriteError::TakenOver) => {}
                Err(error) => return Err(error.into()),
            }
            self.index = read_index(&self.log).await?;
        }
    }

    /// Decides what becomes of one item.
    fn sort(&mut self, source: Named<'_>, item: &Item, batch: &mut Batch) -> Result<(), IntakeError> {
        let origin = Origin { source: source.name.to_owned(), line: item.line, extra: Extra::new() };
        match &item.result {
            Ok(prompt) => self.sort_prompt(source, origin, prompt, batch),
            Err(reject) => {
                let message = reject.reason.to_string();
                self.reject(reject.id(source.identity), origin, reject.reason.as_str(), message, batch)
            }
        }
    }

    fn sort_prompt(
        &mut self,
        source: Named<'_>,
        origin: Origin,
        prompt: &Prompt,
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
            Seen::Known => batch.count_known(id.as_str()),
            Seen::Conflict => {
                let message =
                    format!("id {name:?} was taken in before with other content; give it an id of its own");
                return self.refuse(source, origin, "id_conflict", message, batch);
            }
        }
        Ok(())
    }

    fn thread(&self, id: ThreadId, origin: Origin, prompt: &Prompt) -> Thread {
        Thread {
            version: SCHEMA_VERSION,
            id,
            recipe: self.recipe.clone(),
            origin,
            prompt: prompt.messages.clone(),
            given_answer: prompt.answer.clone(),
            dataset: prompt.dataset.clone(),
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
        source: Named<'_>,
        origin: Origin,
        reason: &'static str,
        message: String,
        batch: &mut Batch,
    ) -> Result<(), IntakeError> {
        let id = format!("{}\n{}\n{reason}", source.identity, origin.line);
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
        if !self.index.see_reject(&id) {
            batch.count_known_reject(&id, reason);
        } else {
            let reason = reason.to_owned();
            batch.add_reject(id, &Reject { source: origin.source, line: origin.line, reason, message });
        }
        Ok(())
    }

    fn count(&mut self, batch: &Batch) {
        let recipe = self.recipe.name.as_str();
        self.metrics.threads_taken_in.with_label_values(&[recipe]).inc_by(batch.new);
        self.metrics.threads_known.with_label_values(&[recipe]).inc_by(batch.known);
        for reason in &batch.reasons {
            self.metrics.inputs_rejected.with_label_values(&[reason]).inc();
        }
        let (threads, rejects) = (self.index.threads(), self.index.rejects());
        self.progress.send_modify(|progress| {
            progress.new += batch.new;
            progress.known += batch.known;
            progress.rejected += batch.reasons.len() as u64;
            progress.threads = threads;
            progress.rejects = rejects;
        });
    }
}
