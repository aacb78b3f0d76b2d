//! Rows: what each entry adds to each of the output's tables, wherever those lie.

use super::{
    Entry, Format, FormatName, MODEL_OUTPUT_LINES_PATH, RawRecord, RawSelectionResult, entry::Labelled,
    format::write_line, model_outputs::OutputLine,
};
use crate::record::RecordKind;

/// One line a thread: what it came to, and why.
pub const OUTCOMES_PATH: &str = "outcomes.jsonl";
/// The canonical records without a rejected side.
pub const SFT_RECORDS_PATH: &str = "records/sft.jsonl";
/// The canonical pairs. A file of their own: loaders take the types of the columns from a file's first rows, and
/// cannot read turns where `rejected` was empty so far.
pub const PAIR_RECORDS_PATH: &str = "records/pairs.jsonl";
/// The canonical labelled answers.
pub const KTO_RECORDS_PATH: &str = "records/kto.jsonl";
/// Lines of input that could not be used.
pub const REJECTS_PATH: &str = "rejects.jsonl";

/// The tables that are always there, before those of formats.
pub(super) const FIXED: [&str; 6] = [
    OUTCOMES_PATH,
    REJECTS_PATH,
    SFT_RECORDS_PATH,
    PAIR_RECORDS_PATH,
    MODEL_OUTPUT_LINES_PATH,
    KTO_RECORDS_PATH,
];
pub(super) const OUTCOMES: usize = 0;
const REJECTS: usize = 1;
const SFT_RECORDS: usize = 2;
const PAIR_RECORDS: usize = 3;
const MODEL_OUTPUTS: usize = 4;
const KTO_RECORDS: usize = 5;

/// The most that a table's buffer keeps between batches, in bytes; one that grew larger gives the rest back.
const KEPT_BUFFER: usize = 1 << 20;

/// A format and the index of its first table.
pub(super) struct Placed {
    pub(super) format: &'static dyn Format,
    pub(super) first: usize,
}

/// The lines of a batch, table by table.
pub(super) struct Rows {
    /// Paths of the tables as single files below the output folder.
    pub(super) paths: Vec<&'static str>,
    pub(super) formats: Vec<Placed>,
    /// Lines of each table.
    pub(super) lines: Vec<Vec<u8>>,
}

impl Rows {
    /// No lines yet, in the tables that are always there and those of the formats asked for, each once, whatever
    /// order they were named in.
    pub(super) fn new(names: &[FormatName]) -> Self {
        let mut paths = FIXED.to_vec();
        let mut formats = Vec::new();
        for name in FormatName::all().filter(|name| names.contains(name)) {
            let format = name.format();
            formats.push(Placed { format, first: paths.len() });
            paths.extend(format.files());
        }
        let lines = paths.iter().map(|_| Vec::new()).collect();
        Self { paths, formats, lines }
    }

    /// Adds what one entry says.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Selected(result) => self.add_selected(result),
            Entry::DeadLetter(outcome) => write_line(outcome, &mut self.lines[OUTCOMES]),
            Entry::Reject(line) => write_line(line, &mut self.lines[REJECTS]),
            Entry::Retried => {}
        }
    }

    fn add_selected(&mut self, result: &RawSelectionResult<'_>) {
        write_line(&result.outcome, &mut self.lines[OUTCOMES]);
        if let Some(output) = &result.output {
            let (origin, output) = (result.outcome.origin.clone(), output.clone());
            write_line(&OutputLine { origin, output }, &mut self.lines[MODEL_OUTPUTS]);
        }
        for record in &result.records {
            self.add_canonical(record);
            for Placed { format, first } in &self.formats {
                format.write_row(record, &mut self.lines[first + format.file_of(record.kind)]);
            }
        }
    }

    fn add_canonical(&mut self, record: &RawRecord<'_>) {
        match record.kind {
            RecordKind::Kto => write_line(&Labelled::of(record), &mut self.lines[KTO_RECORDS]),
            kind if kind.is_pair() => write_line(record, &mut self.lines[PAIR_RECORDS]),
            _ => write_line(record, &mut self.lines[SFT_RECORDS]),
        }
    }

    /// Forgets the lines, and keeps some of the room for the next.
    pub(super) fn clear(&mut self) {
        for lines in &mut self.lines {
            lines.clear();
            lines.shrink_to(KEPT_BUFFER);
        }
    }
}
