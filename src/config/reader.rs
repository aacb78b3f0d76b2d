//! Reads merged configuration key by key: every mistake is kept, none ends the reading, and whatever nobody asked
//! for is an unknown key.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use config::{Map, Value, ValueKind};
use strum::VariantNames;

use super::value::{float, in_range, one_text, origin_of, quote, to_json, whole, wrong_type};

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, the environment, or the command line; none for a key that is missing.
    pub origin: Option<String>,
    /// The key, with dots between its parts.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}: {}", self.key, self.message),
            None => write!(f, "{}: {}", self.key, self.message),
        }
    }
}

/// One key as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The key, with dots between its parts.
    pub key: String,
    /// The value as TOML; secrets are masked.
    pub value: String,
    /// Where it comes from.
    pub origin: String,
}

/// Reads the tree of values and keeps accounts.
#[derive(Debug)]
pub struct Reader {
    root: Value,
    mistakes: Vec<Mistake>,
    in_force: Vec<InForce>,
    /// For every section that was read: the keys it knows.
    known: BTreeMap<String, Vec<&'static str>>,
}

const DEFAULT: &str = "default";

impl Reader {
    /// A reader of merged values.
    pub fn new(root: Value) -> Self {
        Self { root, mistakes: vec![], in_force: vec![], known: BTreeMap::new() }
    }

    /// The section at `path`, for instance `models.generator`.
    pub fn section<'a>(&'a mut self, path: &str) -> Section<'a> {
        self.known.entry(path.to_owned()).or_default();
        Section { reader: self, path: path.to_owned() }
    }

    /// The names of the tables directly below `path`, in order.
    pub fn tables(&self, path: &str) -> Vec<String> {
        let Some(ValueKind::Table(table)) = find(&self.root, path).map(|value| &value.kind) else {
            return vec![];
        };
        let tables = table.iter().filter(|(_, value)| matches!(value.kind, ValueKind::Table(_)));
        let mut names: Vec<String> = tables.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Adds a mistake that only shows when several keys are seen together.
    pub fn contradiction(&mut self, key: &str, message: impl Into<String>) {
        // A key that is missing is missing in what its section has.
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let origin = find(&self.root, key).or_else(|| find(&self.root, section)).map(origin_of);
        self.mistakes.push(Mistake { origin, key: key.to_owned(), message: message.into() });
    }

    /// Ends the reading: what is in force, or every mistake.
    pub fn finish(mut self) -> Result<Vec<InForce>, Vec<Mistake>> {
        self.find_unknown();
        if self.mistakes.is_empty() { Ok(self.in_force) } else { Err(self.mistakes) }
    }

    fn find_unknown(&mut self) {
        let mut unknown = Vec::new();
        if let ValueKind::Table(table) = &self.root.kind {
            self.walk("", table, &mut unknown);
        }
        unknown.sort_by(|a, b| a.key.cmp(&b.key));
        self.mistakes.extend(unknown);
    }

    fn walk(&self, path: &str, table: &Map<String, Value>, unknown: &mut Vec<Mistake>) {
        for (name, value) in table {
            let key = join(path, name);
            let below = format!("{key}.");
            let is_section =
                self.known.contains_key(&key) || self.known.keys().any(|k| k.starts_with(&below));
            match &value.kind {
                _ if self.known.get(path).is_some_and(|keys| keys.iter().any(|k| k == name)) => {}
                ValueKind::Table(inner) if is_section => self.walk(&key, inner, unknown),
                _ => {
                    let message = self.advice(path, name);
                    unknown.push(Mistake { origin: Some(origin_of(value)), key, message });
                }
            }
        }
    }

    fn advice(&self, path: &str, name: &str) -> String {
        let mut names: Vec<&str> = self.known.get(path).into_iter().flatten().copied().collect();
        let below = if path.is_empty() { String::new() } else { format!("{path}.") };
        for section in self.known.keys() {
            if let Some(child) = section.strip_prefix(&below).and_then(|rest| rest.split('.').next())
                && !child.is_empty()
                && !names.contains(&child)
            {
                names.push(child);
            }
        }
        names.sort_unstable();
        match nearest(name, &names) {
            Some(known) => format!("unknown key; did you mean \"{known}\"?"),
            None if names.is_empty() => "unknown key".to_owned(),
            None => format!("unknown key; known here: {}", names.join(", ")),
        }
    }
}

/// One section of the configuration, read key by key.
#[derive(Debug)]
pub struct Section<'a> {
    reader: &'a mut Reader,
    path: String,
}

impl Section<'_> {
    /// A text.
    pub fn text(&mut self, name: &'static str, default: &str) -> String {
        self.optional_text(name).unwrap_or_else(|| {
            self.note_default(name, &quote(default));
            default.to_owned()
        })
    }

    /// A text that may be missing.
    pub fn optional_text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        let read = match &value.kind {
            ValueKind::String(text) if !text.is_empty() => Ok(text.clone()),
            ValueKind::String(_) => Err("is empty; give a text or leave the key out".to_owned()),
            other => Err(wrong_type("a text", other)),
        };
        self.accept(name, &value, read, |text| quote(text))
    }

    /// A text that must not be shown.
    pub fn secret_text(&mut self, name: &'static str) -> Option<String> {
        let value = self.take(name)?;
        let read = match &value.kind {
            ValueKind::String(text) => Ok(text.clone()),
            other => Err(wrong_type("a text", other)),
        };
        self.accept(name, &value, read, |_| "\"***\"".to_owned())
    }

    /// A list of texts; one text alone is a list of one.
    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.texts_shown(name, str::to_owned)
    }

    /// As [`Self::texts`]; what is in force shows each text as `shown` gives it.
    pub fn texts_shown(&mut self, name: &'static str, shown: impl Fn(&str) -> String) -> Vec<String> {
        let Some(value) = self.take(name) else {
            self.note_default(name, "[]");
            return vec![];
        };
        let read = match &value.kind {
            ValueKind::String(text) => Ok(text
                .split(',')
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty())
                .collect()),
            ValueKind::Array(values) => values.iter().map(one_text).collect(),
            other => Err(wrong_type("a list of texts", other)),
        };
        let show = |texts: &Vec<String>| {
            format!("[{}]", texts.iter().map(|text| quote(&shown(text))).collect::<Vec<_>>().join(", "))
        };
        self.accept(name, &value, read, show).unwrap_or_default()
    }

    /// One of the names of `T`.
    pub fn choice<T: Copy + FromStr + Into<&'static str> + VariantNames>(
        &mut self,
        name: &'static str,
        default: T,
    ) -> T {
        let text = self.text(name, default.into());
        text.parse().unwrap_or_else(|_| {
            self.mistake(name, unknown_name(&text, T::VARIANTS));
            default
        })
    }

    /// A whole number within `range`.
    pub fn number(&mut self, name: &'static str, default: u64, range: std::ops::RangeInclusive<u64>) -> u64 {
        let Some(value) = self.take(name) else {
            self.note_default(name, &default.to_string());
            return default;
        };
        let read = whole(&value.kind).and_then(|number| {
            if range.contains(&number) {
                Ok(number)
            } else {
                Err(format!("{number} is out of range; from {} to {}", range.start(), range.end()))
            }
        });
        self.accept(name, &value, read, u64::to_string).unwrap_or(default)
    }

    /// As [`Self::number`], for sizes in memory.
    pub fn count(
        &mut self,
        name: &'static str,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> usize {
        let range = *range.start() as u64..=*range.end() as u64;
        usize::try_from(self.number(name, default as u64, range)).unwrap_or(default)
    }

    /// A number with a fraction, within `range`.
    pub fn fraction(
        &mut self,
        name: &'static str,
        default: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> f64 {
        let Some(value) = self.take(name) else {
            self.note_default(name, &format!("{default:?}"));
            return default;
        };
        let read = float(&value.kind).and_then(|number| in_range(number, &range));
        self.accept(name, &value, read, |number| format!("{number:?}")).unwrap_or(default)
    }

    /// A list of numbers, each within `range`.
    pub fn fractions(
        &mut self,
        name: &'static str,
        default: &[f64],
        range: std::ops::RangeInclusive<f64>,
    ) -> Vec<f64> {
        let show = |numbers: &Vec<f64>| format!("{numbers:?}");
        let Some(value) = self.take(name) else {
            self.note_default(name, &show(&default.to_vec()));
            return default.to_vec();
        };
        let each = |value: &Value| float(&value.kind).and_then(|number| in_range(number, &range));
        let read: Result<Vec<f64>, String> = match &value.kind {
            ValueKind::Array(values) => values.iter().map(each).collect(),
            ValueKind::String(text) => text
                .split(',')
                .map(|part| {
                    float(&ValueKind::String(part.trim().to_owned())).and_then(|n| in_range(n, &range))
                })
                .collect(),
            other => Err(wrong_type("a list of numbers", other)),
        };
        self.accept(name, &value, read, show).unwrap_or_else(|| default.to_vec())
    }

    /// Yes or no.
    pub fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.take(name) else {
            self.note_default(name, &default.to_string());
            return default;
        };
        let read = match &value.kind {
            ValueKind::Boolean(flag) => Ok(*flag),
            ValueKind::String(text) if text == "true" || text == "false" => Ok(text == "true"),
            other => Err(wrong_type("true or false", other)),
        };
        self.accept(name, &value, read, bool::to_string).unwrap_or(default)
    }

    /// A time in seconds; fractions are allowed. The key's name ends in `_s`.
    pub fn seconds(&mut self, name: &'static str, default: Duration, most: Duration) -> Duration {
        let seconds = self.fraction(name, default.as_secs_f64(), 0.0..=most.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or(default)
    }

    /// A time in milliseconds. The key's name ends in `_ms`.
    pub fn milliseconds(&mut self, name: &'static str, default: Duration, most: Duration) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(
            name,
            default,
            0..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX),
        ))
    }

    /// The keys of a table whose names are free, as JSON values: `extra`, for instance.
    pub fn free_table(&mut self, name: &'static str) -> serde_json::Map<String, serde_json::Value> {
        let Some(value) = self.take(name) else { return serde_json::Map::new() };
        let read = match &value.kind {
            ValueKind::Table(table) => {
                Ok(table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
            }
            other => Err(wrong_type("a table", other)),
        };
        self.accept(name, &value, read, |map: &serde_json::Map<String, serde_json::Value>| {
            serde_json::Value::Object(map.clone()).to_string().replace("\":", "\" = ")
        })
        .unwrap_or_default()
    }

    /// Whether the section has the key at all.
    pub fn has(&self, name: &str) -> bool {
        find(&self.reader.root, &join(&self.path, name)).is_some()
    }

    /// Adds a mistake about one of the section's keys.
    pub fn mistake(&mut self, name: &str, message: impl Into<String>) {
        let key = join(&self.path, name);
        let origin = find(&self.reader.root, &key).map(origin_of);
        self.reader.mistakes.push(Mistake { origin, key, message: message.into() });
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        let known = self.reader.known.entry(self.path.clone()).or_default();
        if !known.contains(&name) {
            known.push(name);
        }
        find(&self.reader.root, &join(&self.path, name)).cloned()
    }

    fn accept<T>(
        &mut self,
        name: &'static str,
        value: &Value,
        read: Result<T, String>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match read {
            Ok(read) => {
                self.note(name, show(&read), origin_of(value));
                Some(read)
            }
            Err(message) => {
                self.mistake(name, message);
                None
            }
        }
    }

    /// Says that the section has a key, for one that is only read where it is given.
    pub fn know(&mut self, name: &'static str) {
        drop(self.take(name));
    }

    /// Says that a key's default is in force.
    pub fn note_default(&mut self, name: &str, value: &str) {
        let failed = self.reader.mistakes.iter().any(|mistake| mistake.key == join(&self.path, name));
        if !failed {
            self.note(name, value.to_owned(), DEFAULT.to_owned());
        }
    }

    fn note(&mut self, name: &str, value: String, origin: String) {
        self.reader.in_force.push(InForce { key: join(&self.path, name), value, origin });
    }
}

/// What is wrong with a name that is none of `known`.
pub(super) fn unknown_name(name: &str, known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|known| quote(known)).collect();
    format!("{} is not known; one of {}", quote(name), known.join(", "))
}

/// The one of `names` that `name` may be meant for.
pub(super) fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = names.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known)).min();
    near.filter(|(distance, known)| *distance <= 1 + known.len() / 4).map(|(_, known)| known)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn find<'a>(root: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(root, |value, part| match &value.kind {
        ValueKind::Table(table) => table.get(part),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
