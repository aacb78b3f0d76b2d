//! Trainers' formats: each turns canonical records into the rows one trainer reads. Pure, no I/O.
//!
//! One file cannot serve all trainers, and a wrong shape is often no error there but an empty or wrong data set,
//! hence a writer for each. In every row of a file every field is there, of one type, in one order: loaders
//! take the columns from the first rows.

mod llama_factory;
mod trl;

use serde::{Deserialize, Serialize, Serializer};

use super::{RawRecord, RawTurn};
use crate::record::RecordKind;

pub use llama_factory::LlamaFactory;
pub use trl::Trl;

/// A trainer's format. Its files are its own: no two formats share one.
pub trait Format: Send + Sync {
    /// Its data files, as paths below the output folder.
    fn files(&self) -> &'static [&'static str];

    /// Which of [`files`](Self::files) takes records of this kind.
    fn file_of(&self, kind: RecordKind) -> usize;

    /// Appends the record's row to `buffer`, the line feed included.
    fn write_row(&self, record: &RawRecord<'_>, buffer: &mut Vec<u8>);

    /// The file that lists the data files for the trainer, when those `has_rows` says yes to have any; none if
    /// the trainer needs no such file. An empty data file must not be listed: loading it is an error.
    fn manifest(&self, layout: Layout, has_rows: &dyn Fn(usize) -> bool) -> Option<Manifest>;
}

/// How the rows of a data file lie below the output folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// In one file, which grows.
    Files,
    /// In a folder of files that never change, named like the one file without its ending.
    Shards,
}

/// The ending of data files.
pub(super) const ENDING: &str = ".jsonl";

impl Layout {
    /// Where the rows of the data file `path` lie.
    pub fn place(self, path: &str) -> &str {
        match self {
            Self::Files => path,
            Self::Shards => path.strip_suffix(ENDING).unwrap_or(path),
        }
    }
}

/// A small file that describes data files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its path below the output folder.
    pub path: &'static str,
    /// Its whole content.
    pub text: String,
}

/// The formats, by the names that a configuration gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[derive(strum::EnumString, strum::IntoStaticStr, strum::VariantArray, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum FormatName {
    /// LLaMA-Factory, the default.
    LlamaFactory,
    /// TRL.
    Trl,
}

impl FormatName {
    /// Every format.
    pub fn all() -> impl Iterator<Item = Self> {
        <Self as strum::VariantArray>::VARIANTS.iter().copied()
    }

    /// The format of this name.
    pub fn format(self) -> &'static dyn Format {
        match self {
            Self::LlamaFactory => &LlamaFactory,
            Self::Trl => &Trl,
        }
    }
}

/// Appends a value and a line feed.
pub(super) fn write_line(value: &impl Serialize, buffer: &mut Vec<u8>) {
    serde_json::to_writer(&mut *buffer, value).expect("rows have string keys, and memory takes every byte");
    buffer.push(b'\n');
}

/// A record's prompt followed by its chosen side, as one list.
struct Conversation<'a> {
    prompt: &'a [RawTurn<'a>],
    chosen: &'a [RawTurn<'a>],
}

impl<'a> Conversation<'a> {
    fn of(record: &'a RawRecord<'a>) -> Self {
        Self { prompt: &record.prompt, chosen: &record.chosen }
    }
}

impl Serialize for Conversation<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.prompt.iter().chain(self.chosen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The record that the formats' tests write.
    pub(super) fn row(format: &dyn Format, record: &str) -> String {
        let record: RawRecord<'_> = serde_json::from_str(record).unwrap();
        let mut buffer = Vec::new();
        format.write_row(&record, &mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    pub(super) const SFT: &str = r#"{"id":"s:1/sft","kind":"sft","prompt":[{"role":"system","content":"be\nkind"},{"role":"user","content":"x"}],"chosen":[{"role":"assistant","content":"y"},{"role":"user","content":"criticise"},{"role":"assistant","content":"c \"q\""}],"rejected":[],"rewards":{"answer":0.1,"chosen":0.2,"rejected":null},"gain":0.1,"provenance":"{}"}"#;
    pub(super) const PAIR: &str = r#"{"id":"s:1/response_pair","kind":"response_pair","prompt":[{"role":"user","content":"x"}],"chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}],"rewards":{"answer":0.1,"chosen":0.2,"rejected":0.1},"gain":0.1,"provenance":"{}"}"#;

    pub(super) const KTO: &str = r#"{"id":"s:1/kto/0.0.0","kind":"kto","prompt":[{"role":"user","content":"x"}],"chosen":[{"role":"assistant","content":"y"}],"rejected":[],"rewards":{"answer":0.1,"chosen":0.0,"rejected":null},"gain":-0.1,"label":false,"provenance":"{}"}"#;
    pub(super) const REWARD: &str = r#"{"id":"s:1/reward_pair","kind":"reward_pair","prompt":[{"role":"user","content":"x"}],"chosen":[{"role":"assistant","content":"good"}],"rejected":[{"role":"assistant","content":"bad"}],"rewards":{"answer":0.5,"chosen":1.0,"rejected":0.25},"gain":0.5,"provenance":"{}"}"#;

    #[test]
    fn every_kind_has_a_file_and_no_file_two_formats() {
        let mut seen = std::collections::BTreeSet::new();
        for format in FormatName::all().map(FormatName::format) {
            assert!(RecordKind::all().all(|kind| format.file_of(kind) < format.files().len()));
            assert!(format.files().iter().all(|path| seen.insert(*path)));
        }
    }
}
