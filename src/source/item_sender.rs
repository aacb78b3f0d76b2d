//! The reading side's end of the channel: lines go in, batches of items come out.

use std::{cell::Cell, io, rc::Rc};

use tokio::sync::mpsc;

use super::{
    Item,
    columns::{Columns, parse},
    reject::{RejectReason, RejectedLine, shorten},
};

/// The most items of a batch.
const BATCH_ITEMS: usize = 256;
/// A batch goes out when its lines together have this many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// The most characters of what a decoder says: some quote the data.
const DETAIL_CHARS: usize = 160;

/// Why reading ends before the input does.
#[derive(Debug)]
pub(super) enum ReadEnd {
    /// Nobody takes the items any more.
    Unwanted,
    /// The machine could not read on, which says nothing about the data.
    Failed(io::Error),
}

impl From<io::Error> for ReadEnd {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// What the end of a source means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// There is no more: what is unfinished there is damage.
    Final,
    /// More may be written: what is unfinished there is left for the next reading.
    Open,
}

/// How far the file has been read, in bytes of the file. Shared on the reading thread only.
pub(super) type Position = Rc<Cell<u64>>;

/// Parses lines and hands them over in batches; waits while the channel is full.
pub(super) struct ItemSender {
    sender: mpsc::Sender<Vec<Item>>,
    position: Position,
    columns: Columns,
    limit: usize,
    end: InputEnd,
    items: Vec<Item>,
    held_bytes: usize,
}

impl ItemSender {
    /// `limit` is the most bytes of a line.
    pub(super) fn new(
        sender: mpsc::Sender<Vec<Item>>,
        position: Position,
        columns: Columns,
        limit: usize,
        end: InputEnd,
    ) -> Self {
        Self { sender, position, columns, limit, end, items: Vec::new(), held_bytes: 0 }
    }

    /// What the source's end means.
    pub(super) fn end(&self) -> InputEnd {
        self.end
    }

    /// Which columns are read.
    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a line of `length` bytes, of which `bytes` are those up to the limit.
    pub(super) fn take(&mut self, line: u64, bytes: &[u8], length: u64) -> Result<(), ReadEnd> {
        let parsed = match usize::try_from(length) {
            Ok(length) if length <= self.limit => parse(bytes, &self.columns),
            _ => Err(RejectReason::TooLarge { limit: self.limit }),
        };
        let used = if parsed.is_ok() { bytes.len() } else { 0 };
        self.push(line, used, parsed.map_err(|reason| RejectedLine::new(line, bytes, reason)))
    }

    /// Takes a line that is known to be unusable.
    pub(super) fn reject(&mut self, line: u64, bytes: &[u8], reason: RejectReason) -> Result<(), ReadEnd> {
        self.push(line, 0, Err(RejectedLine::new(line, bytes, reason)))
    }

    /// Ends a source that breaks off before or in `line`. What was decoded of that line is no part of the
    /// reject's identity: another version of a decoder may get a few bytes further.
    pub(super) fn corrupt(&mut self, line: u64, detail: &str) -> Result<(), ReadEnd> {
        let detail = shorten(detail, DETAIL_CHARS);
        self.reject(line, &[], RejectReason::CorruptInput { detail })
    }

    /// Sorts a failed read: what the operating system reports is of the machine, all else is of the data.
    pub(super) fn broken_off(&mut self, line: u64, error: io::Error) -> Result<(), ReadEnd> {
        if error.raw_os_error().is_some() {
            return Err(ReadEnd::Failed(error));
        }
        if self.end == InputEnd::Open && error.kind() == io::ErrorKind::UnexpectedEof {
            return Ok(());
        }
        self.corrupt(line, &error.to_string())
    }

    fn push(
        &mut self,
        line: u64,
        held: usize,
        result: Result<super::Prompt, RejectedLine>,
    ) -> Result<(), ReadEnd> {
        self.items.push(Item { line, bytes: self.position.get(), result });
        self.held_bytes += held;
        if self.items.len() >= BATCH_ITEMS || self.held_bytes >= BATCH_BYTES {
            return self.flush();
        }
        Ok(())
    }

    /// Hands over what is there, if anything is.
    pub(super) fn flush(&mut self) -> Result<(), ReadEnd> {
        self.held_bytes = 0;
        if self.items.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(std::mem::take(&mut self.items)).map_err(|_| ReadEnd::Unwanted)
    }
}
