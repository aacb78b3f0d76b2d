//! The folder that a replay writes to: one replay's, told by a small file, and begun again each time.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReplayError;
use crate::{
    app::{Broken, STATE},
    config::Settings,
    export::{ExportOptions, Files},
    pipeline::claims::difference,
};

/// Where a folder says whose it is.
const MARKER: &str = ".replay.json";
const MARKER_DRAFT: &str = ".replay.json.new";

/// Which replay a folder is of.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    /// The state that the threads come from.
    source: String,
    /// The recipe with its templates.
    definition: Value,
    /// The checkpoint of the files when they were empty: what they are cut back to.
    #[serde(alias = "note")]
    checkpoint: String,
}

/// Opens the folder's files, empty.
///
/// # Errors
/// The folder is a run's, another replay's, or holds files of somebody else. The file system.
pub(super) async fn open(settings: &Settings, source: &str, definition: Value) -> Result<Files, ReplayError> {
    let folder = settings.out.clone();
    let options = ExportOptions { formats: settings.formats.clone(), ..ExportOptions::new(&folder) };
    let source = source.to_owned();
    let open = tokio::task::spawn_blocking(move || open_files(&folder, options, source, definition));
    open.await.map_err(|_| Broken("folder"))?
}

fn open_files(
    folder: &Path,
    options: ExportOptions,
    source: String,
    definition: Value,
) -> Result<Files, ReplayError> {
    if folder.join(STATE).exists() {
        return Err(ReplayError::RunFolder(folder.to_owned()));
    }
    if let Some(marker) = read(&folder.join(MARKER))? {
        marker.check(folder, &source, &definition)?;
        return Ok(Files::open(options, Some(&marker.checkpoint))?);
    }
    let mut files = Files::open(options, None)?;
    let checkpoint = files.append(&[])?;
    write(folder, &Marker { source, definition, checkpoint })?;
    files.committed();
    Ok(files)
}

impl Marker {
    fn check(&self, folder: &Path, source: &str, definition: &Value) -> Result<(), ReplayError> {
        let mut difference = difference(&self.definition, definition, &[]);
        if self.source != source {
            difference = format!("source: {} before, {source} now", self.source);
        }
        match difference.is_empty() {
            true => Ok(()),
            false => Err(ReplayError::OtherReplay { folder: folder.to_owned(), difference }),
        }
    }
}

fn read(path: &Path) -> Result<Option<Marker>, ReplayError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| failed(path.to_owned(), error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path.to_owned(), error)),
    }
}

fn write(folder: &Path, marker: &Marker) -> Result<(), ReplayError> {
    let (draft, place) = (folder.join(MARKER_DRAFT), folder.join(MARKER));
    let bytes = serde_json::to_vec_pretty(marker).map_err(|error| failed(draft.clone(), error.into()))?;
    fs::write(&draft, bytes).map_err(|error| failed(draft.clone(), error))?;
    fs::rename(&draft, &place).map_err(|error| failed(place, error))
}

fn failed(path: PathBuf, cause: io::Error) -> ReplayError {
    ReplayError::Marker { path, cause }
}
