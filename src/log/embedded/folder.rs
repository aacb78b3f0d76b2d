//! The folder of a log: who has it, and which format it is in.
//!
//! ```text
//! lock     held by the process that has the folder open; holds its id, for whoever is refused
//! format   one line with the version of everything beside it
//! data/    the database
//! ```
//!
//! The lock is the operating system's: it ends with the process, however that ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
};

use crate::log::LogErrorKind;

const FORMAT: &str = "avr embedded log, format ";
const VERSION: u32 = 1;

/// A folder that this process has locked and whose format it knows. Dropping it frees the folder.
#[derive(Debug)]
pub(super) struct Folder {
    data: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder where it is missing, locks it, and checks its format.
    pub(super) fn open(path: &Path) -> Result<Self, LogErrorKind> {
        fs::create_dir_all(path)?;
        let lock = lock(&path.join("lock"))?;
        let data = path.join("data");
        check_format(path, data.exists())?;
        Ok(Self { data, _lock: lock })
    }

    /// Where the database is.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }
}

fn lock(path: &Path) -> Result<File, LogErrorKind> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LogErrorKind::Locked),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn check_format(folder: &Path, has_data: bool) -> Result<(), LogErrorKind> {
    let path = folder.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => check_version(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !has_data => {
            Ok(write_format(folder, &path)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LogErrorKind::Corrupt("there is data but no file `format`; restore the whole folder".into()))
        }
        Err(error) => Err(error.into()),
    }
}

fn check_version(text: &str) -> Result<(), LogErrorKind> {
    let version = text.strip_prefix(FORMAT).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(other) => Err(LogErrorKind::Corrupt(format!(
            "it has format {other}, and this avr reads format {VERSION}; use the avr that wrote it, or choose another folder"
        ))),
        None => Err(LogErrorKind::Corrupt("its file `format` is not one of avr's".into())),
    }
}

/// Writes the file beside and renames it, so that it is there whole or not at all.
fn write_format(folder: &Path, path: &Path) -> io::Result<()> {
    let draft = folder.join("format.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{FORMAT}{VERSION}")?;
    file.sync_all()?;
    fs::rename(draft, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<(), String> {
        Folder::open(path).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_second_open_is_refused_until_the_first_ends() {
        let folder = tempfile::tempdir().unwrap();
        let first = Folder::open(folder.path()).unwrap();
        assert!(matches!(Folder::open(folder.path()), Err(LogErrorKind::Locked)));
        let holder = fs::read_to_string(folder.path().join("lock")).unwrap();
        assert_eq!(holder.trim(), std::process::id().to_string());
        drop(first);
        assert_eq!(open(folder.path()), Ok(()));
    }

    #[test]
    fn formats_that_are_not_ours_are_refused() {
        for (text, told) in [
            ("avr embedded log, format 2\n", "it has format 2"),
            ("avr embedded log, format \n", "is not one of avr's"),
            ("", "is not one of avr's"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("format"), text).unwrap();
            assert!(open(folder.path()).is_err_and(|error| error.contains(told)), "{text:?}");
        }
    }

    #[test]
    fn data_without_its_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        assert!(open(folder.path()).is_err_and(|error| error.contains("no file `format`")));
    }
}
