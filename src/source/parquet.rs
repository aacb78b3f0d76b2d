//! The rows of a Parquet file, as lines of JSON: they go the way of all lines from there.
//!
//! Only known columns are read; a group of rows is read a few rows at a time.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parquet::{
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
    record::{
        Field, Row,
        reader::{ReaderIter, TreeBuilder},
    },
    schema::types::{SchemaDescPtr, SchemaDescriptor, Type},
};
use serde::ser::{Error as _, Serialize, Serializer};

use super::{
    columns::Columns,
    item_sender::{ItemSender, Position, ReadEnd},
    reject::RejectReason,
};

/// Values of a column that are decoded at once: few, for they may be long.
const VALUES_AT_ONCE: usize = 32;

/// Why a file is not read to its end.
enum ReadBreak {
    ReadEnd(ReadEnd),
    Corrupt(String),
}

impl From<ReadEnd> for ReadBreak {
    fn from(stop: ReadEnd) -> Self {
        Self::ReadEnd(stop)
    }
}

impl From<ParquetError> for ReadBreak {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => from_cause(cause),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// The system's refusal to read at an impossible place is the file's fault, its other errors are not.
fn from_cause(cause: Box<dyn std::error::Error + Send + Sync>) -> ReadBreak {
    match cause.downcast::<std::io::Error>() {
        Ok(error) if error.raw_os_error().is_some() && error.kind() != std::io::ErrorKind::InvalidInput => {
            ReadBreak::ReadEnd(ReadEnd::Failed(*error))
        }
        Ok(error) => ReadBreak::Corrupt(error.to_string()),
        Err(other) => ReadBreak::Corrupt(other.to_string()),
    }
}

/// Reads a whole file into `items`.
///
/// The library asserts what a file's schema must be like. A file that is not ends as any other damaged one:
/// nothing that a panic could leave half done is used afterwards but the count of rows.
pub(super) fn read(file: File, position: &Position, items: &mut ItemSender) -> Result<(), ReadEnd> {
    let mut rows = 0;
    let reading = AssertUnwindSafe(|| read_groups(file, position, &mut rows, items));
    let outcome =
        catch_unwind(reading).unwrap_or_else(|_| Err(ReadBreak::Corrupt("its schema is malformed".into())));
    match outcome {
        Ok(()) => Ok(()),
        Err(ReadBreak::ReadEnd(stop)) => Err(stop),
        Err(ReadBreak::Corrupt(detail)) => items.corrupt(rows + 1, &detail),
    }
}

fn read_groups(
    file: File,
    position: &Position,
    rows: &mut u64,
    items: &mut ItemSender,
) -> Result<(), ReadBreak> {
    let total_bytes = file.metadata().map_err(ReadEnd::from)?.len();
    let reader = SerializedFileReader::new(file)?;
    let root = reader.metadata().file_metadata().schema_descr().root_schema();
    let Some(schema) = known_columns(root, items.columns())? else {
        return Ok(items.reject(1, &[], no_known_columns(root))?);
    };
    let total_rows = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0).max(1);
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let builder = TreeBuilder::new().with_batch_size(VALUES_AT_ONCE);
        read_rows(builder.as_iter(schema.clone(), &*group)?, items, rows, |rows| {
            let part = u128::from(total_bytes) * u128::from(rows) / u128::from(total_rows);
            position.set(u64::try_from(part).map_or(total_bytes, |part| part.min(total_bytes)));
        })?;
    }
    Ok(())
}

fn read_rows(
    group: ReaderIter,
    items: &mut ItemSender,
    rows: &mut u64,
    advance: impl Fn(u64),
) -> Result<(), ReadBreak> {
    for row in group {
        let row = row?;
        *rows += 1;
        advance(*rows);
        take(*rows, &to_json(&row), items)?;
    }
    Ok(())
}

fn take(row: u64, line: &[u8], items: &mut ItemSender) -> Result<(), ReadEnd> {
    items.take(row, &line[..line.len().min(items.limit())], line.len() as u64)
}

/// The part of the schema that is read; none if nothing of it is known.
fn known_columns(root: &Type, columns: &Columns) -> Result<Option<SchemaDescPtr>, ParquetError> {
    let is_known = |field: &&Arc<Type>| columns.reads(field.name());
    let fields: Vec<_> = root.get_fields().iter().filter(is_known).cloned().collect();
    if fields.is_empty() {
        return Ok(None);
    }
    let known = Type::group_type_builder(root.name()).with_fields(fields).build()?;
    Ok(Some(Arc::new(SchemaDescriptor::new(Arc::new(known)))))
}

/// Said once for the file: every row would say the same.
fn no_known_columns(root: &Type) -> RejectReason {
    let names: Vec<_> = root.get_fields().iter().map(|field| field.name()).collect();
    RejectReason::NoKnownColumns { found: names.join(", ") }
}

/// Bytes that are no text stand as words that are no JSON: reading that column says so, and the others are read.
fn to_json(row: &Row) -> Vec<u8> {
    let mut line = vec![b'{'];
    for (index, (name, field)) in row.get_column_iter().enumerate() {
        if index > 0 {
            line.push(b',');
        }
        line.extend(serde_json::Value::from(name.as_str()).to_string().into_bytes());
        line.push(b':');
        match serde_json::to_vec(&Json(field)) {
            Ok(value) => line.extend(value),
            Err(_) => line.extend(b"(bytes that are not text)"),
        }
    }
    line.push(b'}');
    line
}

/// A field as JSON. The library's own conversion writes bytes in base 64; older writers, though, mark no column
/// as text, so bytes are text here.
struct Json<'a>(&'a Field);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Str(text) => serializer.serialize_str(text),
            Field::Bytes(bytes) => match str::from_utf8(bytes.data()) {
                Ok(text) => serializer.serialize_str(text),
                Err(error) => Err(S::Error::custom(format_args!("bytes that are not text ({error})"))),
            },
            Field::Group(row) => {
                serializer.collect_map(row.get_column_iter().map(|(name, field)| (name, Json(field))))
            }
            Field::ListInternal(list) => serializer.collect_seq(list.elements().iter().map(Json)),
            other => other.to_json_value().serialize(serializer),
        }
    }
}
