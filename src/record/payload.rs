//! Payloads of records: read, or told where in the JSON they do not fit.

use serde::{Deserialize, de::DeserializeOwned};

use super::SCHEMA_VERSION;

/// Reads a record's payload.
///
/// # Errors
/// It does not fit its schema: where and why, for people.
pub fn read_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    serde_json::from_slice(payload).map_err(|_| payload_misfit::<T>(payload))
}

/// Where and why a payload does not fit its schema. Parses again, which only the broken ones cost.
pub fn payload_misfit<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> String {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let misfit = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => "the payload is followed by something else".to_owned(),
        Err(error) => format!("the payload does not fit at {}: {}", error.path(), error.inner()),
    };
    match serde_json::from_slice::<Versioned>(payload) {
        Ok(Versioned { version }) if version > SCHEMA_VERSION => {
            format!("{}; {misfit}", newer_schema(version))
        }
        _ => misfit,
    }
}

/// What to do about a thread that a newer version wrote.
pub fn newer_schema(version: u32) -> String {
    format!(
        "the payload does not fit at version: a thread of schema {version}; this avr knows {SCHEMA_VERSION}: send it \
         back with `avr dead-letters retry` when all workers are of the newer version"
    )
}

/// What every version of a payload that has versions has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Thread;

    #[test]
    fn a_payload_that_does_not_fit_is_told_with_its_place() {
        let told = |bytes: &[u8]| payload_misfit::<Thread>(bytes);
        let start = r#""id":"s:1","recipe":{"name":"s","hash":"0"},"origin":{"source":"-","line":"#;
        let place = told(format!(r#"{{"version":1,{start}"one"}}}}"#).as_bytes());
        assert!(
            place.starts_with("the payload does not fit at origin.line: invalid type: string"),
            "{place}"
        );
        let newer = told(format!(r#"{{"version":2,{start}"one"}}}}"#).as_bytes());
        assert!(
            newer.starts_with("the payload does not fit at version: a thread of schema 2; this avr knows 1"),
            "{newer}"
        );
        assert!(newer.contains("does not fit at origin.line"), "{newer}");
        assert!(told(b"\xff").starts_with("the payload does not fit at"), "{}", told(b"\xff"));
    }
}
