//! A file that may grow while it is read: when to read it again, and what comes for the first time.

use std::time::SystemTime;

use crate::source::{PromptSource, ResumePoint, SourceError};

/// One input and how far this process has read it. Where it can be read on from there it is; else it is read again from
/// its beginning, and what was taken in before is known by the index.
pub(super) struct Followed {
    path: String,
    /// Length in bytes and time of change, as of the latest opening; none for what is no file.
    stamp: Option<(u64, SystemTime)>,
    /// Where the latest reading ended.
    end: Option<ResumePoint>,
    /// The last line that came.
    line: u64,
}

impl Followed {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), stamp: None, end: None, line: 0 }
    }

    /// Whether there may be more than at the latest opening.
    pub(super) fn has_changed(&self) -> bool {
        let now = stamp(&self.path);
        now.is_some() && now != self.stamp
    }

    /// Opens it; a line at the end that may still be written is left where `may_grow`.
    pub(super) fn open(&mut self, may_grow: bool) -> Result<PromptSource, SourceError> {
        // Before the first read: what is added from now on is a change.
        self.stamp = stamp(&self.path);
        Ok(PromptSource::open(&self.path)?.with_open_end(may_grow).resumed_at(self.end.take()))
    }

    /// The source of the latest opening was read to its end.
    pub(super) fn was_read(&mut self, source: PromptSource) {
        self.end = source.resume_point();
    }

    /// Whether the line comes for the first time.
    pub(super) fn is_new(&mut self, line: u64) -> bool {
        let is_new = line > self.line;
        self.line = self.line.max(line);
        is_new
    }
}

fn stamp(path: &str) -> Option<(u64, SystemTime)> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((metadata.len(), metadata.modified().ok()?))
}
