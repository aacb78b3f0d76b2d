//! The JSON Schemas of the payloads: the files of `topics/schemas/`, embedded.
//!
//! They are made from the Rust types; `UPDATE_DOCS=1 cargo test topic::schema` writes them anew. Fields that a
//! schema does not name are allowed everywhere: programs of several versions share the topics.

macro_rules! schemas {
    ($($payload:ident),*) => {
        /// Every type of payload with its schema.
        const SCHEMAS: &[(&str, &str)] = &[$((
            stringify!($payload),
            include_str!(concat!("../../topics/schemas/", stringify!($payload), ".json")),
        )),*];

        #[cfg(test)]
        fn from_types() -> std::collections::BTreeMap<&'static str, serde_json::Value> {
            [$((stringify!($payload), schemars::schema_for!(crate::record::$payload).into())),*].into()
        }
    };
}

schemas!(Thread, SelectionResult, Reject, IndexEntry, HandledLetter, WorkerStatus);

/// The JSON Schema of the payload called `payload`; none where payloads are whatever they were.
pub fn schema(payload: &str) -> Option<&'static str> {
    SCHEMAS.iter().find(|(name, _)| *name == payload).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use serde::{Serialize, Serializer};
    use serde_json::Value;

    use super::*;
    use crate::topic::catalogue;

    /// A value whose objects begin with what a reader wants first, and end with the definitions.
    struct Ordered<'a>(&'a Value);

    impl Serialize for Ordered<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            const FIRST: [&str; 6] = ["$schema", "title", "description", "type", "const", "required"];
            match self.0 {
                Value::Object(members) => {
                    let mut members: Vec<_> =
                        members.iter().map(|(name, value)| (name.as_str(), value)).collect();
                    members.sort_by_key(|(name, _)| {
                        let first = FIRST.iter().position(|known| known == name);
                        (*name == "$defs", first.unwrap_or(FIRST.len()))
                    });
                    serializer.collect_map(members.into_iter().map(|(name, value)| (name, Ordered(value))))
                }
                Value::Array(members) => serializer.collect_seq(members.iter().map(Ordered)),
                Value::String(text) => text.replace('\n', " ").serialize(serializer),
                other => other.serialize(serializer),
            }
        }
    }

    fn text(schema: &Value) -> String {
        serde_json::to_string_pretty(&Ordered(schema)).unwrap() + "\n"
    }

    #[test]
    fn the_files_are_those_of_the_types() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topics/schemas");
        for (name, schema) in from_types() {
            let (file, text) = (folder.join(format!("{name}.json")), text(&schema));
            if std::env::var_os("UPDATE_DOCS").is_some() {
                fs::write(&file, &text).unwrap();
            }
            let is_current = fs::read_to_string(&file).unwrap_or_default() == text;
            assert!(is_current, "topics/schemas/{name}.json: run `UPDATE_DOCS=1 cargo test topic::schema`");
        }
    }

    #[test]
    fn every_payload_has_a_schema_and_every_schema_a_payload() {
        let payloads: BTreeSet<&str> = catalogue().iter().map(|(_, info)| info.payload.as_str()).collect();
        let schemas = SCHEMAS.iter().map(|(name, _)| *name);
        assert_eq!(payloads, schemas.chain(["bytes"]).collect());
    }

    /// Every object in a schema that lists properties.
    fn objects<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
        if schema.get("properties").is_some() {
            found.push(schema);
        }
        match schema {
            Value::Object(members) => members.values().for_each(|member| objects(member, found)),
            Value::Array(members) => members.iter().for_each(|member| objects(member, found)),
            _ => {}
        }
    }

    #[test]
    fn unknown_fields_are_allowed_and_every_known_one_is_explained() {
        for (name, schema) in from_types() {
            let mut found = Vec::new();
            objects(&schema, &mut found);
            assert!(!found.is_empty(), "{name} has fields");
            for object in found {
                assert_ne!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{name}: {object}");
                for (field, schema) in object["properties"].as_object().unwrap() {
                    let is_explained = schema["description"].is_string() || schema.get("const").is_some();
                    assert!(is_explained, "{name}: {field} has no description");
                    let description = schema["description"].as_str().unwrap_or_default();
                    assert!(
                        !description.contains("[`"),
                        "{name}: {field}: no links of rustdoc: {description}"
                    );
                }
            }
        }
    }
}
