//! Where a file that grows was read to, so that the next reading goes on there.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use super::split::OpenEnd;

/// Bytes before the place by which the file is known again, at most.
const KNOWN_BYTES: u64 = 4096;

/// The end of the last whole line of a file of JSON Lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// Bytes of the file before it.
    pub(super) offset: u64,
    /// Number of the last line before it.
    pub(super) line: u64,
    /// What stands right before it.
    before: Vec<u8>,
}

impl ResumePoint {
    /// The place behind the last whole line of a file that was read up to `position`.
    pub(super) fn behind(file: &mut File, position: u64, end: &OpenEnd) -> io::Result<Self> {
        let offset = position - end.unfinished;
        let mut before = vec![0; usize::try_from(offset.min(KNOWN_BYTES)).unwrap_or_default()];
        file.seek(SeekFrom::Start(offset - before.len() as u64))?;
        file.read_exact(&mut before)?;
        Ok(Self { offset, line: end.line, before })
    }

    /// Whether the file still is as it was before this place, which it then stands at.
    pub(super) fn is_in(&self, file: &mut File) -> io::Result<bool> {
        let mut found = vec![0; self.before.len()];
        file.seek(SeekFrom::Start(self.offset - found.len() as u64))?;
        match file.read_exact(&mut found) {
            Ok(()) => Ok(found == self.before),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::source::PromptSource;

    /// The numbers of the lines that a reading gives, and where the next may go on.
    fn read(path: &Path, point: Option<ResumePoint>) -> (Vec<u64>, Option<ResumePoint>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let source = PromptSource::open(path.to_str().unwrap()).unwrap();
        let mut source = source.with_open_end(true).resumed_at(point);
        let mut lines = Vec::new();
        while let Some(batch) = runtime.block_on(source.next_batch()).unwrap() {
            lines.extend(batch.iter().map(|item| item.line));
        }
        (lines, source.resume_point())
    }

    fn line(number: usize) -> String {
        format!("{{\"prompt\": \"{number}\"}}\n")
    }

    #[test]
    fn only_what_was_appended_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grows.jsonl");
        fs::write(&path, format!("\n{}{}{{\"pro", line(1), line(2))).unwrap();
        let (lines, point) = read(&path, None);
        assert_eq!(lines, [2, 3]);
        fs::write(&path, format!("\n{}{}{}\n{}", line(1), line(2), line(3), line(4))).unwrap();
        let (lines, point) = read(&path, point);
        assert_eq!(lines, [4, 6]);
        let (lines, point) = read(&path, point);
        assert!(lines.is_empty());
        // Written anew: shorter, then longer.
        fs::write(&path, line(5)).unwrap();
        let (lines, _) = read(&path, point.clone());
        assert_eq!(lines, [1]);
        fs::write(&path, (10..20).map(line).collect::<String>()).unwrap();
        assert_eq!(read(&path, point).0, (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_read_on_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let mut archive = GzEncoder::new(Vec::new(), Compression::fast());
        archive.write_all(line(1).as_bytes()).unwrap();
        fs::write(&path, archive.finish().unwrap()).unwrap();
        assert_eq!(read(&path, None), (vec![1], None));
        fs::write(&path, "[{\"prompt\": \"one\"}]").unwrap();
        assert_eq!(read(&path, None), (vec![1], None));
        fs::write(&path, "").unwrap();
        assert_eq!(read(&path, None), (vec![], None));
    }
}
