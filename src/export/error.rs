//! What can go wrong with the output folder, and what to do about it.

use std::{io, path::PathBuf};

/// Why the output files could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file has content that no checkpoint accounts for.
    #[error(
        "{} was not written by this run's state; choose another folder with --out, or move the file away",
        .0.display()
    )]
    Foreign(PathBuf),
    /// A file lost lines that were committed, or they were changed.
    #[error(
        "{} was changed by somebody else: {committed} bytes of it were committed, {found}; \
         put the file back as it was, or start afresh with another --out and another state", path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The length that was committed, in bytes.
        committed: u64,
        /// What was found instead.
        found: String,
    },
    /// Another process writes to this folder.
    #[error("another avr process writes to {}; stop that process first, or choose another --out", .0.display())]
    Locked(PathBuf),
    /// The committed checkpoint was not written by this version.
    #[error(
        "the committed state of the output files cannot be read ({0}); use the avr that wrote it, or another --out"
    )]
    Checkpoint(String),
    /// The folder was begun with other formats than are asked for now.
    #[error(
        "the folder was begun with other formats ({path} is {how}); ask for the same formats again, or choose another --out"
    )]
    OtherFormats {
        /// The file that only one of them has.
        path: String,
        /// Whether it is new or no longer asked for.
        how: &'static str,
    },
    /// The folder holds files of the other layout: single files of the embedded log, or shards of a shared one.
    #[error(
        "{} is there: the folder was written over another sort of log (single files over the embedded log, folders of \
         shards over Kafka); choose another --out", .0.display()
    )]
    OtherLayout(PathBuf),
    /// The folder holds shards of another pipeline.
    #[error(
        "{} belongs to pipeline {found:?}, this is pipeline {ours:?}; choose another --out", folder.display()
    )]
    OtherPipeline {
        /// The output folder.
        folder: PathBuf,
        /// The pipeline that it belongs to.
        found: String,
        /// This one.
        ours: String,
    },
    /// A committed shard is neither staged nor in place.
    #[error(
        "shard {shard} was committed and is not in {}: all exporters of a pipeline must share one output folder. \
         Start this one with the --out of the others (a shared file system), or stop them and move their folder here",
        folder.display()
    )]
    NotShared {
        /// This process's output folder.
        folder: PathBuf,
        /// The shard.
        shard: String,
    },
    /// No space is left.
    #[error(
        "no space is left for {}; what was committed is safe: free some space and run the same command again",
        .0.display()
    )]
    DiskFull(PathBuf),
    /// The file system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it reported.
        cause: io::Error,
    },
    /// A batch was given while the one before is undecided, or lines before the checkpoint of an empty batch.
    #[error(
        "the last checkpoint was neither committed nor rolled back: call committed or rollback before the next batch"
    )]
    Undecided,
}

impl ExportError {
    /// The error for what the file system reported about `path`.
    pub(super) fn io(path: impl Into<PathBuf>, cause: io::Error) -> Self {
        let path = path.into();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(path),
            _ => Self::Io { path, cause },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = ExportError::io("out/records.jsonl", io::ErrorKind::StorageFull.into());
        assert!(full.to_string().contains("free some space and run the same command again"), "{full}");
        let other = ExportError::io("out", io::ErrorKind::PermissionDenied.into());
        assert_eq!(other.to_string(), "out: permission denied");
    }
}
