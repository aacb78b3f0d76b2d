//! Answers to a test's instructions: lines while the run goes on, and at its end the one array that AlpacaEval reads.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::ExportError;
use crate::record::{ModelOutput, Origin};

/// One line for each answer, with where its instruction stood.
pub const MODEL_OUTPUT_LINES_PATH: &str = "model_outputs.jsonl";
/// The array.
pub const MODEL_OUTPUTS_PATH: &str = "model_outputs.json";
/// The array while it is written.
const DRAFT_PATH: &str = ".model_outputs.new";

/// A line of [`MODEL_OUTPUT_LINES_PATH`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct OutputLine {
    pub(super) origin: Origin,
    pub(super) output: ModelOutput,
}

/// Writes the array of all answers in `folder`, in the order of the instructions; gives how many there are. Without
/// any there is no array. To be called when nobody writes there any more.
///
/// # Errors
/// The lines cannot be read, or the array cannot be written.
pub fn write_model_outputs(folder: &Path) -> Result<usize, ExportError> {
    let lines = folder.join(MODEL_OUTPUT_LINES_PATH);
    let mut outputs = read(&lines).map_err(|error| ExportError::io(&lines, error))?;
    if outputs.is_empty() {
        return Ok(0);
    }
    outputs.sort_by(|a, b| (&a.origin.source, a.origin.line).cmp(&(&b.origin.source, b.origin.line)));
    let (draft, place) = (folder.join(DRAFT_PATH), folder.join(MODEL_OUTPUTS_PATH));
    write(&draft, &outputs).map_err(|error| ExportError::io(&draft, error))?;
    fs::rename(&draft, &place).map_err(|error| ExportError::io(&place, error))?;
    Ok(outputs.len())
}

fn read(path: &Path) -> io::Result<Vec<OutputLine>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}

fn write(path: &Path, outputs: &[OutputLine]) -> io::Result<()> {
    let outputs: Vec<_> = outputs.iter().map(|line| &line.output).collect();
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, &outputs)?;
    file.write_all(b"\n")?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
