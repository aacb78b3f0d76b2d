//! A folder whose checkpoint was written before some of today's files were.

use std::fs;

use avr::export::{ExportError, ExportOptions, Files, KTO_RECORDS_PATH};
use tempfile::TempDir;

#[test]
fn a_file_that_an_older_checkpoint_does_not_know_is_never_cut() {
    let folder = TempDir::new().unwrap();
    let mut files = Files::open(ExportOptions::new(folder.path()), None).unwrap();
    let checkpoint = files.append(&[]).unwrap();
    files.committed();
    drop(files);
    let mut older: serde_json::Value = serde_json::from_str(&checkpoint).unwrap();
    older["files"].as_object_mut().unwrap().remove(KTO_RECORDS_PATH).unwrap();
    let (older, place) = (older.to_string(), folder.path().join(KTO_RECORDS_PATH));
    fs::write(&place, "somebody else's\n").unwrap();
    let refused = Files::open(ExportOptions::new(folder.path()), Some(&older)).err();
    assert!(matches!(&refused, Some(ExportError::Foreign(path)) if *path == place), "{refused:?}");
    assert_eq!(fs::read_to_string(&place).unwrap(), "somebody else's\n");
    fs::remove_file(&place).unwrap();
    assert!(Files::open(ExportOptions::new(folder.path()), Some(&older)).is_ok());
}
