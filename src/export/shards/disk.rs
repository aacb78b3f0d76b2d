//! The few things that shards ask of a file system, so that tests can stop a process between any two of them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

/// A file system.
pub(super) trait Disk {
    /// Makes a folder and those above it, where they are not there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Writes a new file, durably if `sync`.
    fn write(&self, path: &Path, bytes: &[u8], sync: bool) -> io::Result<()>;
    /// Gives a file a second name, if nothing has that.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The content of a file; none where there is no such file.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Moves a file or a folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with everything in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder; none where there is no such folder.
    fn names(&self, folder: &Path) -> io::Result<Option<Vec<String>>>;
    /// Whether something is in a folder, or there is such a file.
    fn is_filled(&self, path: &Path) -> io::Result<bool>;
    /// Makes sure of the names in a folder on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// The one of this machine.
#[derive(Clone, Copy, Debug)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        if sync { file.sync_all() } else { Ok(()) }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Option<Vec<String>>> {
        let Some(entries) = if_there(fs::read_dir(folder))? else { return Ok(None) };
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
        entries.map(name).collect::<io::Result<_>>().map(Some)
    }

    fn is_filled(&self, path: &Path) -> io::Result<bool> {
        match if_there(fs::metadata(path))? {
            // Not the whole list: a data folder may hold very many files.
            Some(found) if found.is_dir() => {
                Ok(if_there(fs::read_dir(path))?.is_some_and(|mut it| it.next().is_some()))
            }
            found => Ok(found.is_some()),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Something that need not be there.
pub(super) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
