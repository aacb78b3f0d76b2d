//! One file of lines: its committed length, and how it is cut back to it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::ExportError;

/// A file that grows by whole batches of lines.
#[derive(Debug)]
pub(super) struct Table {
    /// Path below the output folder.
    pub(super) path: &'static str,
    place: PathBuf,
    file: File,
    committed: u64,
    written: u64,
}

impl Table {
    /// Looks, without a change, whether the file can be cut to its committed length; none if it was never
    /// committed.
    ///
    /// # Errors
    /// It has content that was never committed, or lacks content that was.
    pub(super) fn check(place: &Path, committed: Option<u64>) -> Result<(), ExportError> {
        let found = match fs::metadata(place) {
            Ok(metadata) => Some(metadata.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(ExportError::io(place, e)),
        };
        match (committed, found) {
            (None, None | Some(0)) | (Some(0), _) => Ok(()),
            (None, Some(_)) => Err(ExportError::Foreign(place.to_owned())),
            (Some(length), None) => Err(changed(place, length, "and it is gone".into())),
            (Some(length), Some(found)) if found < length => {
                Err(changed(place, length, format!("and only {found} are there")))
            }
            (Some(length), Some(_)) => check_line_end(place, length),
        }
    }

    /// Opens or creates the file, to be [cut](Self::cut) before the first batch. To be called after
    /// [`check`](Self::check).
    pub(super) fn open(path: &'static str, place: PathBuf, committed: u64) -> Result<Self, ExportError> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&place);
        let file = file.map_err(|e| ExportError::io(&place, e))?;
        Ok(Self { path, place, file, committed, written: committed })
    }

    /// Writes the lines of a batch in one piece, and makes sure of them on the disk if `sync`.
    pub(super) fn write(&mut self, lines: &[u8], sync: bool) -> Result<(), ExportError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.file.write_all(lines).map_err(|e| ExportError::io(&self.place, e))?;
        if sync {
            self.file.sync_data().map_err(|e| ExportError::io(&self.place, e))?;
        }
        self.written += lines.len() as u64;
        Ok(())
    }

    /// What is written is committed now.
    pub(super) fn commit(&mut self) {
        self.committed = self.written;
    }

    /// Cuts the file back to its committed length.
    pub(super) fn cut(&mut self) -> Result<(), ExportError> {
        self.written = self.committed;
        let cut = self.file.set_len(self.committed);
        let cut = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.committed)));
        cut.map(drop).map_err(|e| ExportError::io(&self.place, e))
    }

    /// Its length with the last batch, in bytes.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Keeps other processes from opening it while this one lives.
    pub(super) fn lock(&self, folder: &Path) -> Result<(), ExportError> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => Err(ExportError::Locked(folder.to_owned())),
            Err(fs::TryLockError::Error(e)) => Err(ExportError::io(&self.place, e)),
        }
    }
}

/// A committed length always ends a line; where it does not, the content is another.
fn check_line_end(place: &Path, length: u64) -> Result<(), ExportError> {
    let mut last = [0];
    let read = File::open(place).and_then(|mut file| {
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)
    });
    read.map_err(|e| ExportError::io(place, e))?;
    match last {
        [b'\n'] => Ok(()),
        _ => Err(changed(place, length, "and they do not end with a line any more".into())),
    }
}

fn changed(place: &Path, committed: u64, found: String) -> ExportError {
    ExportError::Changed { path: place.to_owned(), committed, found }
}
