//! The sink: all output files of a folder, written and cut back together.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    Entry, ExportError, FormatName, Layout, Manifest, Totals,
    checkpoint::Checkpoint,
    rows::{FIXED, OUTCOMES, Placed, Rows},
    shards::STAGING_PATH,
    table::Table,
};

/// Where a manifest is made before it takes its place: outside the trainers' folders, where every file counts
/// as data.
const DRAFT_PATH: &str = ".manifest.new";

/// What to write, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// The output folder; made if it is not there.
    pub folder: PathBuf,
    /// Whether every batch is on the disk before its checkpoint is given out. Without it a power loss (not the death
    /// of the process) can take lines that the log believes in, and the next start is refused.
    pub sync: bool,
    /// The trainers' formats; a folder keeps those that it was begun with.
    pub formats: Vec<FormatName>,
}

impl ExportOptions {
    /// LLaMA-Factory's format in `folder`, every batch on the disk.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), sync: true, formats: vec![FormatName::LlamaFactory] }
    }
}

/// Whether the checkpoint that was given out last is part of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The folder was begun, its first checkpoint is not committed yet.
    Fresh,
    /// Files and last committed checkpoint agree.
    Settled,
    /// A batch is written whose checkpoint may or may not be committed.
    Pending,
    /// A batch failed and could not be cut back yet.
    Torn,
}

/// The open output files of one folder. See the [module](super) for the contract.
pub struct Files {
    options: ExportOptions,
    rows: Rows,
    tables: Vec<Table>,
    totals: Totals,
    committed_totals: Totals,
    state: State,
    listed: Vec<bool>,
}

impl Files {
    /// Opens the folder's files and cuts them to the lengths in `checkpoint`, the last that was committed.
    ///
    /// Without a checkpoint the folder must hold none of these files, or only empty ones, and the checkpoint of an
    /// empty batch is to be committed before the first line: from then on what a killed process left can be told from
    /// what somebody else wrote.
    ///
    /// # Errors
    /// Files that the checkpoint does not account for, or that are not as it says; nothing is changed then. A
    /// checkpoint of another version or of other formats. Another process with the same folder. The file system.
    pub fn open(options: ExportOptions, checkpoint: Option<&str>) -> Result<Self, ExportError> {
        let rows = Rows::new(&options.formats);
        let mut checkpoint = checkpoint.map(Checkpoint::decode).transpose()?;
        if let Some(checkpoint) = &mut checkpoint {
            add_newer_files(checkpoint, &rows.formats, &options.folder)?;
        }
        check_folder(&options.folder, &rows, checkpoint.as_ref())?;
        let state = if checkpoint.is_some() { State::Settled } else { State::Fresh };
        let checkpoint = checkpoint
            .unwrap_or_else(|| Checkpoint::new(rows.paths.iter().map(|path| (*path, 0)), Totals::default()));
        let tables = open_tables(&options, &rows.paths, &checkpoint)?;
        let (totals, committed_totals) = (checkpoint.totals.clone(), checkpoint.totals);
        let listed = Vec::new();
        let mut files = Self { options, rows, tables, totals, committed_totals, state, listed };
        files.list()?;
        Ok(files)
    }

    /// Writes a batch, each file in one piece, and returns the checkpoint to commit with the progress of its entries.
    ///
    /// # Errors
    /// The file system refused (then the batch is cut back and may be given again), or the batch before is
    /// undecided, or lines are given before the first checkpoint is committed.
    pub fn append(&mut self, batch: &[Entry<'_>]) -> Result<String, ExportError> {
        match self.state {
            State::Fresh if batch.is_empty() => return Ok(self.checkpoint()),
            State::Fresh | State::Pending => return Err(ExportError::Undecided),
            State::Torn => self.rollback()?,
            State::Settled => {}
        }
        for entry in batch {
            self.totals.add(entry);
            self.rows.add(entry);
        }
        match self.write() {
            Ok(()) => {
                self.state = State::Pending;
                Ok(self.checkpoint())
            }
            Err(refusal) => {
                self.state = State::Torn;
                // The first refusal says more than that of the repair, which the next batch tries again.
                self.rollback().ok();
                Err(refusal)
            }
        }
    }

    /// The checkpoint of all that is written, the last batch included.
    pub fn checkpoint(&self) -> String {
        let lengths = self.tables.iter().map(|table| (table.path, table.written()));
        Checkpoint::new(lengths, self.totals.clone()).encode()
    }

    /// The last checkpoint is part of the log now.
    pub fn committed(&mut self) {
        self.tables.iter_mut().for_each(Table::commit);
        self.committed_totals.clone_from(&self.totals);
        self.state = State::Settled;
    }

    /// The last checkpoint is not part of the log and never will be: cuts its batch off again.
    ///
    /// # Errors
    /// The file system refused; the next batch tries again before it is written.
    pub fn rollback(&mut self) -> Result<(), ExportError> {
        self.totals.clone_from(&self.committed_totals);
        self.rows.clear();
        if self.state == State::Fresh {
            return Ok(());
        }
        self.state = State::Torn;
        self.tables.iter_mut().try_for_each(Table::cut)?;
        self.list()?;
        self.state = State::Settled;
        Ok(())
    }

    /// Totals since the folder was begun, the last batch included.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The output folder.
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    fn write(&mut self) -> Result<(), ExportError> {
        let sync = self.options.sync;
        let mut batch = self.tables.iter_mut().zip(&self.rows.lines);
        batch.try_for_each(|(table, lines)| table.write(lines, sync))?;
        self.rows.clear();
        self.list()
    }

    /// Brings the manifests up to date when a file got its first row, or lost it.
    fn list(&mut self) -> Result<(), ExportError> {
        let filled: Vec<_> = self.tables.iter().map(|table| table.written() > 0).collect();
        if filled == self.listed {
            return Ok(());
        }
        // Until all are replaced none counts as up to date.
        self.listed.clear();
        for Placed { format, first } in &self.rows.formats {
            if let Some(manifest) = format.manifest(Layout::Files, &|file| filled[first + file]) {
                replace(&self.options, &manifest)?;
            }
        }
        self.listed = filled;
        Ok(())
    }
}

/// Looks, without a change, whether the folder is as the checkpoint says.
fn check_folder(folder: &Path, rows: &Rows, checkpoint: Option<&Checkpoint>) -> Result<(), ExportError> {
    match checkpoint {
        Some(checkpoint) => check_formats(&rows.paths, checkpoint)?,
        None => check_manifests(folder, &rows.formats)?,
    }
    let staging = folder.join(STAGING_PATH);
    if staging.exists() {
        return Err(ExportError::OtherLayout(staging));
    }
    let committed = |path: &str| checkpoint.map(|checkpoint| checkpoint.files[path]);
    rows.paths.iter().try_for_each(|path| Table::check(&folder.join(path), committed(path)))
}

/// A checkpoint of an earlier version does not know the files that came since. They are empty, and one that is not is
/// somebody else's.
fn add_newer_files(
    checkpoint: &mut Checkpoint,
    formats: &[Placed],
    folder: &Path,
) -> Result<(), ExportError> {
    let known = formats.iter().map(|placed| placed.format.files());
    let known = known.filter(|files| files.iter().any(|path| checkpoint.files.contains_key(*path)));
    let listed: Vec<&str> = known.flatten().chain(&FIXED).copied().collect();
    for path in listed {
        if !checkpoint.files.contains_key(path) {
            Table::check(&folder.join(path), None)?;
            checkpoint.files.insert(path.to_owned(), 0);
        }
    }
    Ok(())
}

fn check_formats(paths: &[&str], checkpoint: &Checkpoint) -> Result<(), ExportError> {
    let other = |path: &str, how| Err(ExportError::OtherFormats { path: path.to_owned(), how });
    if let Some(path) = paths.iter().find(|path| !checkpoint.files.contains_key(**path)) {
        return other(path, "new");
    }
    match checkpoint.files.keys().find(|path| !paths.contains(&path.as_str())) {
        Some(path) => other(path, "no longer asked for"),
        None => Ok(()),
    }
}

/// Where nothing was committed, a manifest that we would not have written is somebody else's.
fn check_manifests(folder: &Path, formats: &[Placed]) -> Result<(), ExportError> {
    for manifest in formats.iter().filter_map(|placed| placed.format.manifest(Layout::Files, &|_| false)) {
        let place = folder.join(manifest.path);
        if fs::read(&place).is_ok_and(|found| found != manifest.text.as_bytes()) {
            return Err(ExportError::Foreign(place));
        }
    }
    Ok(())
}

fn open_tables(
    options: &ExportOptions,
    paths: &[&'static str],
    checkpoint: &Checkpoint,
) -> Result<Vec<Table>, ExportError> {
    let mut tables = Vec::with_capacity(paths.len());
    for path in paths {
        let place = options.folder.join(path);
        let parent = place.parent().unwrap_or(&options.folder).to_owned();
        fs::create_dir_all(&parent).map_err(|e| ExportError::io(&parent, e))?;
        tables.push(Table::open(path, place, checkpoint.files[*path])?);
    }
    if options.sync {
        sync_folders(&options.folder, paths)?;
    }
    // The lock comes before the cut: what looks like a torn tail may be another process's batch.
    tables[OUTCOMES].lock(&options.folder)?;
    tables.iter_mut().try_for_each(Table::cut)?;
    Ok(tables)
}

/// Writes a manifest so that a reader sees the old one or the new one, never half of it.
fn replace(options: &ExportOptions, manifest: &Manifest) -> Result<(), ExportError> {
    let (draft, place) = (options.folder.join(DRAFT_PATH), options.folder.join(manifest.path));
    let write = || {
        let mut file = File::create(&draft)?;
        file.write_all(manifest.text.as_bytes())?;
        if options.sync { file.sync_all() } else { Ok(()) }
    };
    write().map_err(|e| ExportError::io(&draft, e))?;
    fs::rename(&draft, &place).map_err(|e| ExportError::io(&place, e))
}

/// Makes sure of the names of new files and folders: without it a power loss can take a file whose content is
/// safe.
fn sync_folders(folder: &Path, paths: &[&str]) -> Result<(), ExportError> {
    let places = paths.iter().map(|path| folder.join(path));
    let mut folders: BTreeSet<_> = places.filter_map(|place| place.parent().map(Path::to_owned)).collect();
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    folders.insert(above.unwrap_or(Path::new(".")).to_owned());
    let sync = |folder: &PathBuf| File::open(folder).and_then(|folder| folder.sync_all());
    folders.iter().try_for_each(|folder| sync(folder).map_err(|e| ExportError::io(folder, e)))
}
