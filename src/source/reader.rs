//! A source as the rest of the program sees it: opened, then awaited batch by batch.
//!
//! Reading, decompressing and parsing happen on an OS thread of the source's own, which starts with the first batch
//! asked for and ends when the source is dropped. It is no task of the runtime: one that waits for standard input
//! would keep the runtime from ending.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    path::PathBuf,
    rc::Rc,
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use super::{
    Columns, Item,
    input::{self, Content},
    item_sender::{InputEnd, ItemSender, Position, ReadEnd},
    parquet,
    resume_point::ResumePoint,
    split,
};

/// The longest line that is taken if nothing else is said: 16 MiB.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16 << 20;

/// Batches that wait between the reading thread and the one who asks for them.
const WAITING_BATCHES: usize = 2;

/// Standard input, as a path.
const STANDARD_INPUT: &str = "-";

/// A source that cannot be read. What is wrong with single lines is a [`RejectedLine`](super::RejectedLine) instead.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such file.
    #[error("{name}: no such file; check the path, or name - for standard input")]
    NotFound {
        /// The file as it was named.
        name: String,
    },
    /// The path is a folder.
    #[error("{name}: is a folder; name its files, {name}/*.jsonl for instance")]
    IsFolder {
        /// The folder as it was named.
        name: String,
    },
    /// The file may not be read.
    #[error("{name}: permission denied; give this user the right to read it")]
    PermissionDenied {
        /// The file as it was named.
        name: String,
    },
    /// The system cannot open the file, or read on in it.
    #[error("{name}: {cause}; nothing after this point was read, give the file again once it can be")]
    Unreadable {
        /// The file as it was named.
        name: String,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A defect of the reader.
    #[error("{name}: the reader broke down; this is a defect, report it with the file if you can")]
    BrokeDown {
        /// The file as it was named.
        name: String,
    },
}

/// Sources that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SourceErrors(pub Vec<SourceError>);

impl SourceError {
    fn new(name: &str, cause: io::Error) -> Self {
        let name = name.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound => Self::NotFound { name },
            io::ErrorKind::IsADirectory => Self::IsFolder { name },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { name },
            _ => Self::Unreadable { name, cause },
        }
    }
}

/// A stream of prompts: a file, standard input, or any reader.
pub struct PromptSource {
    name: String,
    identity: String,
    total_bytes: Option<u64>,
    max_line_bytes: usize,
    columns: Columns,
    open_end: bool,
    resume_point: Option<ResumePoint>,
    state: SourceState,
}

/// Where a source's bytes will come from.
enum Unopened {
    /// Opened only when its turn comes: there may be more files than a process may hold open.
    File(PathBuf),
    Reader(Box<dyn Read + Send>),
}

enum SourceState {
    Waiting(Unopened),
    Reading(mpsc::Receiver<Vec<Item>>, JoinHandle<io::Result<Option<ResumePoint>>>),
    Ended,
}

impl PromptSource {
    /// Checks that `path` can be read; `-` is standard input. Nothing is read before the first batch.
    ///
    /// # Errors
    /// The file is not there, is a folder, or may not be read.
    pub fn open(path: &str) -> Result<Self, SourceError> {
        if path == STANDARD_INPUT {
            return Ok(Self::from_reader(path, io::stdin()));
        }
        let metadata = fs::metadata(path).map_err(|error| SourceError::new(path, error))?;
        if metadata.is_dir() {
            return Err(SourceError::IsFolder { name: path.to_owned() });
        }
        let mut source = Self::new(path, Unopened::File(path.into()));
        if metadata.is_file() {
            File::open(path).map_err(|error| SourceError::new(path, error))?;
            source.total_bytes = Some(metadata.len());
        }
        if let Ok(canonical) = fs::canonicalize(path) {
            source.identity = canonical.to_string_lossy().into_owned();
        }
        Ok(source)
    }

    /// A source of what `reader` gives. `name` is its name in messages and its identity.
    pub fn from_reader(name: &str, reader: impl Read + Send + 'static) -> Self {
        Self::new(name, Unopened::Reader(Box::new(reader)))
    }

    fn new(name: &str, origin: Unopened) -> Self {
        let (name, identity) = (name.to_owned(), name.to_owned());
        let max_line_bytes = DEFAULT_MAX_LINE_BYTES;
        Self {
            name,
            identity,
            total_bytes: None,
            max_line_bytes,
            columns: Columns::default(),
            open_end: false,
            resume_point: None,
            state: SourceState::Waiting(origin),
        }
    }

    /// The same source with another limit for a line, in bytes; longer lines are rejected.
    #[must_use]
    pub fn with_max_line_bytes(mut self, max_line_bytes: usize) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }

    /// The same source with other columns.
    #[must_use]
    pub fn with_columns(mut self, columns: Columns) -> Self {
        self.columns = columns;
        self
    }

    /// The same source, of which more may be written after this reading: an unfinished end (a last line without
    /// its line feed, an archive or array that is not closed) is left alone, neither an item nor a reject. Files
    /// only: a stream that has ended does not go on.
    #[must_use]
    pub fn with_open_end(mut self, open_end: bool) -> Self {
        self.open_end = open_end && self.total_bytes.is_some();
        self
    }

    /// The same source, read on from where an earlier reading ended. Where the file was written anew since, it is read
    /// from its beginning.
    #[must_use]
    pub fn resumed_at(mut self, point: Option<ResumePoint>) -> Self {
        self.resume_point = point;
        self
    }

    /// After the last batch: where another reading may go on; none where it must begin at the beginning. Only files of
    /// JSON Lines whose end is [open](Self::with_open_end), and which are not compressed, have such a place.
    pub fn resume_point(self) -> Option<ResumePoint> {
        self.resume_point
    }

    /// The source as it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What tells the source from others, in every run: the file's canonical path, or `-`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The file's size in bytes, of a compressed file as it lies there; none where it has no size (a pipe).
    pub fn total_bytes(&self) -> Option<u64> {
        self.total_bytes
    }

    /// Waits for the next items, never an empty batch; none at the end. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// The source could not be read on. All items before that place have come; none will come after.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<Item>>, SourceError> {
        if matches!(self.state, SourceState::Waiting(_)) {
            self.start()?;
        }
        let SourceState::Reading(batches, _) = &mut self.state else { return Ok(None) };
        match batches.recv().await {
            Some(batch) => Ok(Some(batch)),
            None => self.finish(),
        }
    }

    fn start(&mut self) -> Result<(), SourceError> {
        let SourceState::Waiting(origin) = std::mem::replace(&mut self.state, SourceState::Ended) else {
            return Ok(());
        };
        let (sender, receiver) = mpsc::channel(WAITING_BATCHES);
        let end = if self.open_end { InputEnd::Open } else { InputEnd::Final };
        let (limit, columns, point) = (self.max_line_bytes, self.columns.clone(), self.resume_point.take());
        let thread = thread::Builder::new()
            .name("source".to_owned())
            .spawn(move || {
                let position = Position::default();
                let items = ItemSender::new(sender, Rc::clone(&position), columns, limit, end);
                read(origin, point, position, items)
            })
            .map_err(|error| SourceError::new(&self.name, error))?;
        self.state = SourceState::Reading(receiver, thread);
        Ok(())
    }

    /// The channel is closed, so the thread is at its end: this does not wait.
    fn finish(&mut self) -> Result<Option<Vec<Item>>, SourceError> {
        let SourceState::Reading(_, thread) = std::mem::replace(&mut self.state, SourceState::Ended) else {
            return Ok(None);
        };
        match thread.join() {
            Ok(Ok(point)) => {
                self.resume_point = point;
                Ok(None)
            }
            Ok(Err(error)) => Err(SourceError::new(&self.name, error)),
            Err(_) => Err(SourceError::BrokeDown { name: self.name.clone() }),
        }
    }
}

/// Opens all of `paths`, in order.
///
/// # Errors
/// Every file that cannot be read, so that all are put right at once.
pub fn open_all<P: AsRef<str>>(paths: &[P]) -> Result<Vec<PromptSource>, SourceErrors> {
    let (mut sources, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match PromptSource::open(path.as_ref()) {
            Ok(source) => sources.push(source),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(SourceErrors(errors)) }
}

/// What the reading OS thread does.
fn read(
    origin: Unopened,
    point: Option<ResumePoint>,
    position: Position,
    mut items: ItemSender,
) -> io::Result<Option<ResumePoint>> {
    let outcome = match origin {
        Unopened::File(path) => read_file(&path, point, &position, &mut items),
        Unopened::Reader(reader) => read_stream(reader, &position, &mut items).map(|()| None),
    };
    match outcome.and_then(|point| items.flush().map(|()| point)) {
        Ok(point) => Ok(point),
        Err(ReadEnd::Unwanted) => Ok(None),
        Err(ReadEnd::Failed(error)) => Err(error),
    }
}

fn read_file(
    path: &PathBuf,
    point: Option<ResumePoint>,
    position: &Position,
    items: &mut ItemSender,
) -> Result<Option<ResumePoint>, ReadEnd> {
    let mut file = File::open(path)?;
    if let Some(point) = point
        && point.is_in(&mut file)?
    {
        position.set(point.offset);
        let rest = input::go_on(file.try_clone()?, Rc::clone(position));
        let end = split::read_lines(rest, point.line, items)?;
        return Ok(end.map(|end| ResumePoint::behind(&mut file, position.get(), &end)).transpose()?);
    }
    file.rewind()?;
    match input::open(file.try_clone()?, Rc::clone(position))? {
        Content::Json { text, is_compressed } => {
            let end = split::read(text, items)?.filter(|_| !is_compressed);
            Ok(end.map(|end| ResumePoint::behind(&mut file, position.get(), &end)).transpose()?)
        }
        Content::Parquet => {
            file.rewind()?;
            parquet::read(file, position, items).map(|()| None)
        }
    }
}

fn read_stream(
    reader: Box<dyn Read + Send>,
    position: &Position,
    items: &mut ItemSender,
) -> Result<(), ReadEnd> {
    match input::open(reader, Rc::clone(position))? {
        Content::Json { text, .. } => split::read(text, items).map(drop),
        Content::Parquet => {
            items.corrupt(1, "Parquet is read from its end, so it must be a file, not a stream")
        }
    }
}
