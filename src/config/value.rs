//! Single values of the merged configuration: what they are as Rust values, or why they are not.
//!
//! A text is read as a number too, because variables of the environment and `--set` hold nothing but text.

use config::{Value, ValueKind};

const COMMAND_LINE: &str = "the command line";

/// Where a value comes from. A table is made when sources are merged, so it comes from where its values do.
pub(super) fn origin_of(value: &Value) -> String {
    let of_table = match &value.kind {
        ValueKind::Table(table) => table.values().map(origin_of).min(),
        _ => None,
    };
    of_table.or_else(|| value.origin().map(str::to_owned)).unwrap_or_else(|| COMMAND_LINE.to_owned())
}

pub(super) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn one_text(value: &Value) -> Result<String, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text.clone()),
        other => Err(wrong_type("a list of texts", other)),
    }
}

pub(super) fn wrong_type(wanted: &str, found: &ValueKind) -> String {
    let found = match found {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Boolean(value) => format!("the truth value {value}"),
        ValueKind::Float(value) => format!("the number {value}"),
        ValueKind::String(text) => format!("the text {}", quote(text)),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        number => format!("the number {number}"),
    };
    format!("must be {wanted}, not {found}")
}

pub(super) fn whole(kind: &ValueKind) -> Result<u64, String> {
    let number = match kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::U64(number) => Some(*number),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| wrong_type("a whole number, zero or more", kind))
}

pub(super) fn float(kind: &ValueKind) -> Result<f64, String> {
    let number = match kind {
        ValueKind::Float(number) => Some(*number),
        ValueKind::I64(number) => Some(*number as f64),
        ValueKind::String(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| wrong_type("a number", kind))
}

pub(super) fn in_range(number: f64, range: &std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(format!("{number} is out of range; from {} to {}", range.start(), range.end()))
    }
}

pub(super) fn to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::U64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::Array(values) => values.iter().map(to_json).collect(),
        ValueKind::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => serde_json::Value::Null,
    }
}
