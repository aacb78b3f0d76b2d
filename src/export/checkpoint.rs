//! The checkpoint: what is committed with the log's progress so that files and log agree after any crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ExportError, Totals};

/// The most a checkpoint may hold, in bytes, all of them ASCII: it shares the log's text with the engine's progress.
pub const MAX_CHECKPOINT: usize = 3300;

/// Version of the checkpoint's own shape.
const VERSION: u32 = 1;

/// Every file's committed length and the totals at that point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    version: u32,
    /// Length in bytes by path below the output folder.
    pub(super) files: BTreeMap<String, u64>,
    pub(super) totals: Totals,
}

impl Checkpoint {
    pub(super) fn new(files: impl Iterator<Item = (&'static str, u64)>, totals: Totals) -> Self {
        Self { version: VERSION, files: files.map(|(path, length)| (path.into(), length)).collect(), totals }
    }

    /// The checkpoint as compact JSON.
    pub(super) fn encode(&self) -> String {
        let text = serde_json::to_string(self).expect("a checkpoint has only string keys");
        debug_assert!(text.len() <= MAX_CHECKPOINT && text.is_ascii(), "{text}");
        text
    }

    /// # Errors
    /// The text is not a checkpoint, or one of another version.
    pub(super) fn decode(text: &str) -> Result<Self, ExportError> {
        let checkpoint: Self =
            serde_json::from_str(text).map_err(|e| ExportError::Checkpoint(e.to_string()))?;
        match checkpoint.version {
            VERSION => Ok(checkpoint),
            other => {
                Err(ExportError::Checkpoint(format!("it has version {other}, this avr writes {VERSION}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::{Gains, ModelCounts, Outputs, format::FormatName, rows::FIXED},
        record::{OutcomeReason, RecordKind},
    };

    /// The largest whole number that every reader of JSON keeps; no count and no length comes near it.
    const MOST: u64 = (1 << 53) - 1;

    fn most_models() -> BTreeMap<String, u64> {
        let names = (0..2).map(|i| format!("{i:0>64}"));
        names.chain(["others".to_owned()]).map(|name| (name, MOST)).collect()
    }

    fn largest() -> Checkpoint {
        let formats = FormatName::all().flat_map(|name| name.format().files());
        let files = FIXED.iter().chain(formats).map(|path| (*path, MOST));
        let totals = Totals {
            retried: MOST,
            outcomes: OutcomeReason::all().map(|reason| (reason, MOST)).collect(),
            records: RecordKind::all().map(|kind| (kind, MOST)).collect(),
            gains: Gains { compared: MOST, gained: MOST, sum: -5.0e-324, max: -1.2345678901234567e-300 },
            rejects: (0..17).map(|i| (format!("{i:0>22}"), MOST)).collect(),
            cut_off: MOST,
            outputs: Outputs { count: MOST, chars: MOST },
            models: ModelCounts { writers: most_models(), rewards: most_models() },
        };
        Checkpoint::new(files, totals)
    }

    #[test]
    fn the_largest_checkpoint_is_short_enough() {
        let text = largest().encode();
        assert!(text.len() < MAX_CHECKPOINT, "{} bytes", text.len());
        assert_eq!(Checkpoint::decode(&text).unwrap(), largest());
    }

    #[test]
    fn other_checkpoints_are_refused() {
        let newer = largest().encode().replace("\"version\":1", "\"version\":2");
        for text in ["", "{}", "x", newer.as_str()] {
            assert!(matches!(Checkpoint::decode(text), Err(ExportError::Checkpoint(_))), "{text}");
        }
    }
}
