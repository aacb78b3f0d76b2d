//! The sink where several processes share a log, which fences no file: each batch of a partition is a *shard*, a few
//! small files under a name that no other attempt has.
//!
//! ```text
//!   append ──▶ .staging/SHARD/records+sft.jsonl, …     on the disk before its name is committed as the checkpoint
//!   committed ──▶ records/sft/SHARD.jsonl, …           file by file, by renaming
//!             ──▶ .staging/finished/SHARD/             the empty folder, which says that nothing is left to do
//! ```
//!
//! ## The contract
//!
//! - In data folders lie only files of committed shards, whole, each record of a partition in one of them.
//! - Whoever is assigned a partition makes true what its checkpoint says ([`Shards::restore`]): what is still staged of
//!   that shard goes to its place. So it does not matter where the last owner died; and one that was frozen and wakes
//!   up finds nothing to overwrite: the names of its attempts are its own, what it still renames is gone or goes to
//!   where it belongs, and a commit of its is refused by the log.
//! - A staged shard is discarded by the process that staged it, when its commit is refused; or by whoever finishes a
//!   shard that reaches as far, for then its records are committed and it never will be. No sooner: a process that
//!   was frozen knows an old checkpoint, and must not take the next owner's staged shard for a left-over.
//! - A finished shard may be taken away by whoever uses the data: the folder below `finished` tells that it was there.
//!   One such folder is kept for each partition, that of its latest shard.
//! - A shard that is committed and nowhere to be found is an error: the exporters do not share one folder.

mod disk;
mod name;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

pub use self::disk::LocalDisk;
use self::{
    disk::{Disk, if_there},
    name::{ShardCheckpoint, ShardName},
};
use super::{
    Entry, ExportError, FormatName, Layout, Totals,
    format::ENDING,
    rows::{FIXED, Placed, Rows},
};
use crate::log::Partition;

/// Below the output folder: what is not data yet.
pub const STAGING_PATH: &str = ".staging";
/// Below the staging folder: empty folders named like finished shards.
const FINISHED: &str = "finished";
/// Below the staging folder: whose output folder it is.
const PIPELINE: &str = "pipeline";
/// Stands for a slash in the names of staged files.
const SLASH: &str = "+";
/// How often a shard that another process discards under our hands is staged again.
const STAGINGS: usize = 3;
/// How often the description of data sets is looked at again after it was written.
const LOOKS: usize = 8;

/// What to write, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardOptions {
    /// The output folder, the same for all exporters of a pipeline; made if it is not there.
    pub folder: PathBuf,
    /// Names the pipeline: a folder takes the shards of one only.
    pub pipeline: String,
    /// Whether a shard is on the disk before its checkpoint is given out.
    pub sync: bool,
    /// The trainers' formats.
    pub formats: Vec<FormatName>,
}

/// What came of one partition, to become a shard.
#[derive(Debug)]
pub struct ShardBatch<'a> {
    /// The partition.
    pub partition: Partition,
    /// The offsets of the first and of the last record.
    pub offsets: (i64, i64),
    /// What the records say, in their order.
    pub entries: Vec<Entry<'a>>,
}

/// The output folder of exporters that share a log. See the module for the contract. All calls block.
pub struct Shards<D = LocalDisk> {
    disk: D,
    options: ShardOptions,
    rows: Rows,
    /// Shards that were staged, with the tables that each has rows of, whose commit is not decided.
    pending: Vec<(ShardName, ShardCheckpoint)>,
    totals: Totals,
    committed_totals: Totals,
}

impl Shards {
    /// Takes the folder for the pipeline.
    ///
    /// # Errors
    /// It belongs to another pipeline, or to a run over the embedded log. The file system.
    pub fn open(options: ShardOptions) -> Result<Self, ExportError> {
        Self::open_on(LocalDisk, options)
    }
}

#[expect(private_bounds, reason = "only tests have another file system")]
impl<D: Disk> Shards<D> {
    fn open_on(disk: D, options: ShardOptions) -> Result<Self, ExportError> {
        let rows = Rows::new(&options.formats);
        let (totals, committed_totals, pending) = (Totals::default(), Totals::default(), Vec::new());
        let shards = Self { disk, options, rows, pending, totals, committed_totals };
        for path in FIXED.map(|path| shards.options.folder.join(path)) {
            if shards.disk.is_filled(&path).map_err(at(&path))? {
                return Err(ExportError::OtherLayout(path));
            }
        }
        let finished = shards.finished_folder();
        shards.disk.create_folder(&finished).map_err(at(&finished))?;
        shards.claim()?;
        Ok(shards)
    }

    /// Brings the files of `partition` to where its last committed checkpoint says they are; without a checkpoint
    /// nothing of it was ever committed.
    ///
    /// # Errors
    /// The shard that the checkpoint names is not to be found. The file system.
    pub fn restore(&mut self, partition: Partition, checkpoint: Option<&str>) -> Result<(), ExportError> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let (checkpoint, name) = ShardCheckpoint::decode(checkpoint)?;
        if !name.is_of(partition) {
            return Err(ExportError::Checkpoint(format!(
                "partition {partition} has the checkpoint of shard {name}"
            )));
        }
        self.finish(&name, &checkpoint)?;
        self.list()
    }

    /// Stages a shard for each batch, and gives for each the checkpoint to commit with the progress of its partition;
    /// none where it has no rows.
    ///
    /// # Errors
    /// The file system refused (then nothing stays, and the batches may be given again), or the batches before are
    /// undecided.
    pub fn append(&mut self, batches: &[ShardBatch<'_>]) -> Result<Vec<Option<String>>, ExportError> {
        if !self.pending.is_empty() {
            return Err(ExportError::Undecided);
        }
        let staged: Result<Vec<_>, _> = batches.iter().map(|batch| self.append_one(batch)).collect();
        if staged.is_err() {
            self.rollback();
        }
        staged
    }

    /// What was appended last is committed: brings it to its place.
    ///
    /// # Errors
    /// The file system refused. The next owners of the partitions do it.
    pub fn committed(&mut self) -> Result<(), ExportError> {
        for (name, checkpoint) in std::mem::take(&mut self.pending) {
            self.finish(&name, &checkpoint)?;
        }
        self.committed_totals.clone_from(&self.totals);
        self.list()
    }

    /// What was appended last is not committed and never will be.
    pub fn rollback(&mut self) {
        self.totals.clone_from(&self.committed_totals);
        for (name, _) in std::mem::take(&mut self.pending) {
            self.discard(&name);
        }
    }

    /// Totals of this process, the last batches included.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    fn append_one(&mut self, batch: &ShardBatch<'_>) -> Result<Option<String>, ExportError> {
        for entry in &batch.entries {
            self.totals.add(entry);
            self.rows.add(entry);
        }
        let staged = self.stage(batch);
        self.rows.clear();
        let Some((name, checkpoint)) = staged? else { return Ok(None) };
        let text = checkpoint.encode();
        self.pending.push((name, checkpoint));
        Ok(Some(text))
    }

    /// Writes the rows as a shard. Where the partition is another's by now, that one may discard the shard while it
    /// is written; its commit will be refused, but that is for the log to say.
    fn stage(&self, batch: &ShardBatch<'_>) -> Result<Option<(ShardName, ShardCheckpoint)>, ExportError> {
        let tables: Vec<_> =
            self.rows.paths.iter().zip(&self.rows.lines).filter(|(_, l)| !l.is_empty()).collect();
        if tables.is_empty() {
            return Ok(None);
        }
        let mut tries = 1;
        loop {
            let name = ShardName::new(batch.partition, batch.offsets, fastrand::u64(..));
            match self.write(&name, &tables) {
                Ok(()) => {
                    let folder = |(path, _): &(&&str, _)| Layout::Shards.place(path).to_owned();
                    let checkpoint = ShardCheckpoint::new(&name, tables.iter().map(folder).collect());
                    return Ok(Some((name, checkpoint)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < STAGINGS => tries += 1,
                Err(error) => {
                    self.discard(&name);
                    return Err(ExportError::io(self.staged(&name), error));
                }
            }
        }
    }

    fn write(&self, name: &ShardName, tables: &[(&&'static str, &Vec<u8>)]) -> io::Result<()> {
        let (folder, sync) = (self.staged(name), self.options.sync);
        self.disk.create_folder(&folder)?;
        for (path, lines) in tables {
            let file = folder.join(path.replace('/', SLASH));
            self.disk.write(&file, lines, sync)?;
        }
        if sync {
            self.disk.sync_folder(&folder)?;
            self.disk.sync_folder(&self.staging())?;
        }
        Ok(())
    }

    /// Brings a committed shard to its place. What is not there any more was brought there by another owner of the
    /// partition, before or at this moment.
    fn finish(&self, name: &ShardName, checkpoint: &ShardCheckpoint) -> Result<(), ExportError> {
        let staged = self.staged(name);
        let Some(files) = self.disk.names(&staged).map_err(at(&staged))? else {
            return self.check_finished(name, checkpoint);
        };
        let mut folders = BTreeSet::new();
        for file in files {
            let folder = self.folder_of(&staged, &file)?;
            self.disk.create_folder(&folder).map_err(at(&folder))?;
            let place = file_in(&folder, name);
            if_there(self.disk.rename(&staged.join(&file), &place)).map_err(at(&place))?;
            folders.insert(folder);
        }
        if self.options.sync {
            folders.iter().try_for_each(|folder| self.disk.sync_folder(folder).map_err(at(folder)))?;
        }
        let finished = self.finished(name);
        if_there(self.disk.rename(&staged, &finished)).map_err(at(&finished))?;
        self.clean_up(name)
    }

    /// Removes what a finished shard makes needless. Another owner may be at the same, and what stays does no harm.
    fn clean_up(&self, name: &ShardName) -> Result<(), ExportError> {
        let (staged, finished) = (self.shards_in(&self.staging())?, self.shards_in(&self.finished_folder())?);
        for earlier in finished.iter().filter(|it| it.is_before(name)) {
            self.disk.remove_folder(&self.finished(earlier)).ok();
        }
        staged.iter().filter(|it| name.reaches(it)).for_each(|it| self.discard(it));
        Ok(())
    }

    /// Where a staged file belongs. Only files of tables that we know have a place.
    fn folder_of(&self, staged: &Path, file: &str) -> Result<PathBuf, ExportError> {
        let formats = FormatName::all().flat_map(|name| name.format().files());
        let path = FIXED.iter().chain(formats).find(|path| path.replace('/', SLASH) == file);
        let path = path.ok_or_else(|| ExportError::Foreign(staged.join(file)))?;
        Ok(self.options.folder.join(Layout::Shards.place(path)))
    }

    /// A shard that is not staged must have been finished, whether its files were taken away since or not.
    fn check_finished(&self, name: &ShardName, checkpoint: &ShardCheckpoint) -> Result<(), ExportError> {
        let finished = self.shards_in(&self.finished_folder())?;
        if finished.iter().any(|it| it == name || name.is_before(it)) {
            return Ok(());
        }
        for table in &checkpoint.tables {
            let place = file_in(&self.options.folder.join(table), name);
            if !self.disk.is_filled(&place).map_err(at(&place))? {
                let folder = self.options.folder.clone();
                return Err(ExportError::NotShared { folder, shard: name.to_string() });
            }
        }
        Ok(())
    }

    /// Takes a staged shard away. What cannot be taken away now does no harm, and the next owner tries again.
    fn discard(&self, name: &ShardName) {
        self.disk.remove_folder(&self.staged(name)).ok();
    }

    /// Makes sure that no other pipeline writes here: it would take our staged shards for its own.
    fn claim(&self) -> Result<(), ExportError> {
        let place = self.staging().join(PIPELINE);
        let draft = self.draft();
        loop {
            if let Some(found) = self.disk.read(&place).map_err(at(&place))? {
                let found = String::from_utf8_lossy(&found).into_owned();
                let (folder, ours) = (self.options.folder.clone(), self.options.pipeline.clone());
                let is_ours = found == ours;
                return if is_ours {
                    Ok(())
                } else {
                    Err(ExportError::OtherPipeline { folder, found, ours })
                };
            }
            self.disk.write(&draft, self.options.pipeline.as_bytes(), true).map_err(at(&draft))?;
            let linked = self.disk.link(&draft, &place);
            self.disk.remove_file(&draft).map_err(at(&draft))?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(ExportError::io(place, error));
                }
                // Ours or another's: what is there now tells.
                _ => {}
            }
        }
    }

    /// Brings the descriptions of data sets up to date: they name the folders that hold files. Looked at again after
    /// each writing, so that of several processes the last one to write has seen what all have put there.
    fn list(&self) -> Result<(), ExportError> {
        for _ in 0..LOOKS {
            let mut is_current = true;
            for placed in &self.rows.formats {
                is_current &= self.list_format(placed)?;
            }
            if is_current {
                return Ok(());
            }
        }
        // Others keep changing it, and each looks after itself.
        Ok(())
    }

    /// Whether the description was right already.
    fn list_format(&self, Placed { format, .. }: &Placed) -> Result<bool, ExportError> {
        let mut filled = Vec::new();
        for path in format.files() {
            let folder = self.options.folder.join(Layout::Shards.place(path));
            filled.push(self.disk.is_filled(&folder).map_err(at(&folder))?);
        }
        let Some(manifest) = format.manifest(Layout::Shards, &|file| filled[file]) else { return Ok(true) };
        let place = self.options.folder.join(manifest.path);
        if self.disk.read(&place).map_err(at(&place))?.is_some_and(|found| found == manifest.text.as_bytes())
        {
            return Ok(true);
        }
        let folder = place.parent().unwrap_or(&self.options.folder);
        self.disk.create_folder(folder).map_err(at(folder))?;
        let draft = self.draft();
        self.disk.write(&draft, manifest.text.as_bytes(), self.options.sync).map_err(at(&draft))?;
        self.disk.rename(&draft, &place).map_err(at(&place))?;
        Ok(false)
    }

    /// A file outside the data folders that no other process has.
    fn draft(&self) -> PathBuf {
        self.staging().join(format!("draft.{:016x}", fastrand::u64(..)))
    }

    fn staging(&self) -> PathBuf {
        self.options.folder.join(STAGING_PATH)
    }

    fn staged(&self, name: &ShardName) -> PathBuf {
        self.staging().join(name.to_string())
    }

    fn finished(&self, name: &ShardName) -> PathBuf {
        self.finished_folder().join(name.to_string())
    }

    fn finished_folder(&self) -> PathBuf {
        self.staging().join(FINISHED)
    }

    fn shards_in(&self, folder: &Path) -> Result<Vec<ShardName>, ExportError> {
        let names = self.disk.names(folder).map_err(at(folder))?.unwrap_or_default();
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }
}

/// The file of a shard in a data folder.
fn file_in(folder: &Path, name: &ShardName) -> PathBuf {
    folder.join(format!("{name}{ENDING}"))
}

/// The error for what the file system reported about `path`.
fn at(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.to_owned();
    move |error| ExportError::io(&path, error)
}
