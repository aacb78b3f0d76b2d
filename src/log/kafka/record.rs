//! Records as librdkafka has them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Header as NativeHeader, Headers, OwnedHeaders},
};

use crate::log::{Header, Partition, Record};

/// A message as a record of ours.
pub(super) fn from_message(message: &BorrowedMessage<'_>, partition: Partition) -> Record {
    Record {
        partition,
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: message.headers().map(headers).unwrap_or_default(),
    }
}

fn headers(headers: &BorrowedHeaders) -> Vec<Header> {
    (0..headers.count()).filter_map(|at| header(headers, at)).collect()
}

/// One header. The library panics over a name that is not UTF-8, which other programs may have written: such a
/// header is left out, and the record goes on.
fn header(headers: &BorrowedHeaders, at: usize) -> Option<Header> {
    let read = || {
        let header = headers.get(at);
        Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) }
    };
    let header = catch_unwind(AssertUnwindSafe(read)).ok();
    if header.is_none() {
        tracing::warn!("a header is left out of a record: its name is not UTF-8");
    }
    header
}

/// Headers for librdkafka; none where there are none.
pub(super) fn to_native(headers: &[Header]) -> Option<OwnedHeaders> {
    let add = |all: OwnedHeaders, header: &Header| {
        all.insert(NativeHeader { key: &header.name, value: header.value.as_ref().map(Bytes::as_ref) })
    };
    (!headers.is_empty()).then(|| headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), add))
}
