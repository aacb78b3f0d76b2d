//! How a record lies in the database: one value of bytes, written once and then only sliced.
//!
//! ```text
//! flags u8 · timestamp i64 · [key length u32 · key] · header count u32 · headers · payload to the end
//! header: name length u32 · name · value length u32 (ABSENT for none) · value
//! ```
//!
//! Integers are big endian. Key, payload and header values of a decoded record share the encoded bytes, so a
//! record costs one copy when it is written and none when it is read.

use bytes::{Buf, Bytes};

use crate::log::{Header, Output, Partition, Record};

const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const ABSENT: u32 = u32::MAX;
const FIXED_BYTES: usize = 1 + 8 + 4;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// The bytes end inside the record.
    #[error("the record is cut short")]
    Short,
    /// Flags that this version does not write.
    #[error("unknown flags {0:#04x}")]
    Flags(u8),
    /// A header's name is not UTF-8.
    #[error("a header's name is not UTF-8")]
    HeaderName,
}

/// The bytes of `output`, stamped with `timestamp_ms`.
pub(super) fn encode(output: &Output, timestamp_ms: i64) -> Bytes {
    let mut bytes = Vec::with_capacity(encoded_size(output));
    let flags =
        if output.key.is_some() { HAS_KEY } else { 0 } | if output.value.is_some() { HAS_VALUE } else { 0 };
    bytes.push(flags);
    bytes.extend_from_slice(&timestamp_ms.to_be_bytes());
    if let Some(key) = &output.key {
        put_sized(&mut bytes, key);
    }
    bytes.extend_from_slice(&length(output.headers.len()).to_be_bytes());
    for header in &output.headers {
        put_sized(&mut bytes, header.name.as_bytes());
        match &header.value {
            Some(value) => put_sized(&mut bytes, value),
            None => bytes.extend_from_slice(&ABSENT.to_be_bytes()),
        }
    }
    bytes.extend_from_slice(output.value.as_deref().unwrap_or_default());
    bytes.into()
}

/// The record that `bytes` are, without copying them.
pub(super) fn decode(partition: Partition, offset: i64, mut bytes: Bytes) -> Result<Record, DecodeError> {
    let flags = bytes.try_get_u8().map_err(|_| DecodeError::Short)?;
    if flags & !(HAS_KEY | HAS_VALUE) != 0 {
        return Err(DecodeError::Flags(flags));
    }
    let timestamp_ms = bytes.try_get_i64().map_err(|_| DecodeError::Short)?;
    let key = if flags & HAS_KEY != 0 { take_sized(&mut bytes)? } else { None };
    let headers = take_headers(&mut bytes)?;
    let value = (flags & HAS_VALUE != 0).then_some(bytes);
    Ok(Record { partition, offset, timestamp_ms, key, value, headers })
}

fn encoded_size(output: &Output) -> usize {
    FIXED_BYTES + 4 + output.size() + 8 * output.headers.len()
}

fn length(value: usize) -> u32 {
    u32::try_from(value).expect("max_record_bytes is below 4 GiB, and it bounds every part")
}

fn put_sized(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&length(part.len()).to_be_bytes());
    bytes.extend_from_slice(part);
}

fn take_headers(bytes: &mut Bytes) -> Result<Vec<Header>, DecodeError> {
    let count = bytes.try_get_u32().map_err(|_| DecodeError::Short)?;
    (0..count).map(|_| take_header(bytes)).collect()
}

fn take_header(bytes: &mut Bytes) -> Result<Header, DecodeError> {
    let name = take_sized(bytes)?.ok_or(DecodeError::Short)?;
    let name = String::from_utf8(name.to_vec()).map_err(|_| DecodeError::HeaderName)?;
    Ok(Header { name, value: take_sized(bytes)? })
}

fn take_sized(bytes: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
    let size = bytes.try_get_u32().map_err(|_| DecodeError::Short)?;
    if size == ABSENT {
        return Ok(None);
    }
    let size = usize::try_from(size).map_err(|_| DecodeError::Short)?;
    if size > bytes.len() {
        return Err(DecodeError::Short);
    }
    Ok(Some(bytes.split_to(size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicName;

    const PARTITION: Partition = Partition { topic: TopicName("letters"), index: 3 };

    fn output(key: Option<&'static str>, value: Option<&'static str>, headers: Vec<Header>) -> Output {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        Output { topic: PARTITION.topic, key: key.map(bytes), value: value.map(bytes), headers }
    }

    fn header(name: &str, value: Option<&'static [u8]>) -> Header {
        Header { name: name.to_owned(), value: value.map(Bytes::from_static) }
    }

    #[test]
    fn what_is_written_is_read() {
        let cases = [
            output(None, None, vec![]),
            output(Some(""), Some(""), vec![]),
            output(Some("key"), None, vec![header("a", None), header("a", Some(b""))]),
            output(None, Some("payload"), vec![header("", Some(&[0, 255, 128]))]),
            output(Some("key"), Some("payload"), vec![header("name", Some(b"value")); 3]),
        ];
        for case in cases {
            let record = decode(PARTITION, 7, encode(&case, -5)).expect("it was encoded just now");
            assert_eq!((record.partition, record.offset, record.timestamp_ms), (PARTITION, 7, -5));
            assert_eq!((record.key, record.value, record.headers), (case.key, case.value, case.headers));
        }
    }

    #[test]
    fn any_cut_is_an_error_or_a_shorter_payload() {
        let case = output(Some("key"), Some("payload"), vec![header("name", Some(b"value"))]);
        let whole = encode(&case, 1);
        let payload_at = whole.len() - "payload".len();
        for cut in 0..whole.len() {
            let result = decode(PARTITION, 0, whole.slice(..cut));
            assert_eq!(result.is_ok(), cut >= payload_at, "cut at {cut}");
        }
    }

    #[test]
    fn flags_of_a_newer_version_are_refused() {
        assert_eq!(decode(PARTITION, 0, Bytes::from_static(&[4; 20])), Err(DecodeError::Flags(4)));
    }
}
