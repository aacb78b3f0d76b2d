//! What a dead letter's headers say: their names, how they are written, and how they are read.
//!
//! Kafka Connect's headers, so that existing tools show them, and avr's own beside them. Headers of other programs,
//! `traceparent` among them, pass through; those of an earlier failure are replaced.

use bytes::Bytes;
use serde::Serialize;

use super::DeadLetterCause;
use crate::{
    log::{Header, Output, Record},
    topic::{DEAD_LETTERS, TopicName},
};

/// How the names of all headers of Kafka Connect begin.
const CONNECT: &str = "__connect.errors.";
const TOPIC: &str = "__connect.errors.topic";
const PARTITION: &str = "__connect.errors.partition";
const OFFSET: &str = "__connect.errors.offset";
const STAGE: &str = "__connect.errors.stage";
const CLASS: &str = "__connect.errors.exception.class.name";
const MESSAGE: &str = "__connect.errors.exception.message";
const KIND: &str = "avr.error.kind";
const ATTEMPTS: &str = "avr.attempts";
const HTTP_STATUS: &str = "avr.http.status";
const MODEL: &str = "avr.model";
const FIRST_FAILED_AT: &str = "avr.first_failed_at";
const RETRIES: &str = "avr.retries";
/// What avr's own headers say of the latest failure.
const FAILURE: [&str; 5] = [KIND, ATTEMPTS, HTTP_STATUS, MODEL, FIRST_FAILED_AT];

/// Longer messages are cut, in bytes: a dead letter must fit beside the record it carries.
const MAX_MESSAGE: usize = 2000;
/// Stands for a text that no header has.
const UNKNOWN: &str = "unknown";

/// What the headers of a dead letter say. Texts that are missing are `unknown`, numbers that are missing are none or 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterHeaders {
    /// The topic that the record came from.
    #[serde(skip)]
    pub topic: String,
    /// The partition of that topic.
    #[serde(skip)]
    pub partition: Option<i32>,
    /// The record's offset there.
    #[serde(skip)]
    pub offset: Option<i64>,
    /// The stage that could not handle the record.
    pub stage: String,
    /// What kind of error it was, as in [`DeadLetterCause::kind`].
    pub kind: String,
    /// What happened, in words.
    pub message: String,
    /// How often what failed was tried before it was given up: for a call of a model the requests sent.
    pub attempts: u32,
    /// The model server's answer, where it was one that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The model that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When the record failed first, in milliseconds since the Unix epoch.
    pub first_failed_at_ms: Option<i64>,
    /// How often the record was sent back from the dead letters. The header stays with everything that comes of the
    /// record.
    pub retries: u32,
}

impl DeadLetterHeaders {
    /// Reads the headers of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            topic: text(record, TOPIC),
            partition: number(record, PARTITION),
            offset: number(record, OFFSET),
            stage: text(record, STAGE),
            kind: text(record, KIND),
            message: text(record, MESSAGE),
            attempts: number(record, ATTEMPTS).unwrap_or(0),
            http_status: number(record, HTTP_STATUS),
            model: header(record, MODEL).map(str::to_owned),
            first_failed_at_ms: number(record, FIRST_FAILED_AT),
            retries: retries(record),
        }
    }

    /// Stage, kind and message.
    pub fn describe(&self) -> String {
        format!("{}: {}: {}", self.stage, self.kind, self.message)
    }

    /// Where the record came from.
    pub fn origin(&self) -> String {
        let known = |number: Option<i64>| number.map_or_else(|| UNKNOWN.to_owned(), |it| it.to_string());
        format!("{}/{}, offset {}", self.topic, known(self.partition.map(i64::from)), known(self.offset))
    }

    /// The headers but [`RETRIES`], which the record has already where it was sent back.
    fn encode(&self) -> Vec<Header> {
        let fields = [
            (TOPIC, Some(self.topic.clone())),
            (PARTITION, self.partition.map(|partition| partition.to_string())),
            (OFFSET, self.offset.map(|offset| offset.to_string())),
            (STAGE, Some(self.stage.clone())),
            (CLASS, Some(format!("avr.{}", self.kind))),
            (MESSAGE, Some(self.message.clone())),
            (KIND, Some(self.kind.clone())),
            (ATTEMPTS, Some(self.attempts.to_string())),
            (HTTP_STATUS, self.http_status.map(|status| status.to_string())),
            (MODEL, self.model.clone()),
            (FIRST_FAILED_AT, self.first_failed_at_ms.map(|at| at.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some(written(name, value?))).collect()
    }
}

/// The dead letter for `record`, which `stage` could not handle at `now_ms`.
pub(crate) fn dead_letter(record: &Record, stage: &str, cause: &DeadLetterCause, now_ms: i64) -> Output {
    let failure = DeadLetterHeaders {
        topic: record.partition.topic.to_string(),
        partition: Some(record.partition.index),
        offset: Some(record.offset),
        stage: stage.to_owned(),
        kind: cause.kind.to_owned(),
        message: cut(&cause.message).to_owned(),
        attempts: cause.attempts,
        http_status: cause.http_status,
        model: cause.model.clone(),
        first_failed_at_ms: number(record, FIRST_FAILED_AT).or(Some(now_ms)),
        retries: retries(record),
    };
    let mut headers: Vec<Header> =
        record.headers.iter().filter(|header| !says_a_failure(&header.name)).cloned().collect();
    headers.extend(failure.encode());
    Output { topic: DEAD_LETTERS, key: record.key.clone(), value: record.value.clone(), headers }
}

/// The record of a dead letter on its way back to `topic`: byte for byte, with its key and the headers of others. What
/// the failure said goes. How many attempts were made, when it failed first and how often it was sent back stays as its
/// history; a dead letter that it becomes again carries the last two on.
pub(super) fn sent_back(dead_letter: &Record, topic: TopicName) -> Output {
    let is_history = |name: &str| matches!(name, ATTEMPTS | FIRST_FAILED_AT);
    let stays = |name: &str| name != RETRIES && (!says_a_failure(name) || is_history(name));
    let mut headers: Vec<Header> =
        dead_letter.headers.iter().filter(|header| stays(&header.name)).cloned().collect();
    headers.push(written(RETRIES, retries(dead_letter).saturating_add(1).to_string()));
    Output { topic, key: dead_letter.key.clone(), value: dead_letter.value.clone(), headers }
}

/// How often a record, or what it came from, was sent back from the dead letters.
pub fn retries(record: &Record) -> u32 {
    number(record, RETRIES).unwrap_or(0)
}

fn written(name: &str, value: String) -> Header {
    Header { name: name.to_owned(), value: Some(Bytes::from(value)) }
}

/// The value of a header, where the record has it and it is text.
fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|header| header.name == name)?;
    std::str::from_utf8(header.value.as_ref()?).ok()
}

fn text(record: &Record, name: &str) -> String {
    header(record, name).unwrap_or(UNKNOWN).to_owned()
}

fn number<N: std::str::FromStr>(record: &Record, name: &str) -> Option<N> {
    header(record, name)?.parse().ok()
}

fn says_a_failure(name: &str) -> bool {
    name.starts_with(CONNECT) || FAILURE.contains(&name)
}

fn cut(message: &str) -> &str {
    let end = (0..=MAX_MESSAGE.min(message.len())).rev().find(|&at| message.is_char_boundary(at));
    &message[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Partition, topic::PROMPTS};

    fn record(headers: Vec<Header>) -> Record {
        Record {
            partition: Partition { topic: PROMPTS.name, index: 3 },
            offset: 17,
            timestamp_ms: 1,
            key: Some(Bytes::from_static(b"\xffkey")),
            value: Some(Bytes::from_static(b"\x00not json")),
            headers,
        }
    }

    fn again(written: Output) -> Record {
        Record { headers: written.headers, ..record(vec![]) }
    }

    fn refused(message: &str) -> DeadLetterCause {
        DeadLetterCause::new("refused", message)
    }

    #[test]
    fn the_record_is_kept_byte_for_byte_and_the_headers_say_what_happened() {
        let traceparent = Header { name: "traceparent".into(), value: Some(Bytes::from_static(b"00-\xfe")) };
        let input = record(vec![traceparent.clone()]);
        let cause = DeadLetterCause {
            http_status: Some(400),
            model: Some("m".into()),
            attempts: 2,
            ..refused("too long")
        };
        let written = dead_letter(&input, "draft", &cause, 99);
        assert_eq!((&written.key, &written.value), (&input.key, &input.value));
        assert_eq!(written.headers[0], traceparent);
        let names = ["topic", "partition", "offset", "stage", "exception.class.name", "exception.message"]
            .map(|name| format!("{CONNECT}{name}"));
        let ours = ["avr.error.kind", "avr.attempts", "avr.http.status", "avr.model", "avr.first_failed_at"];
        let expected: Vec<(&str, &str)> = names
            .iter()
            .map(String::as_str)
            .chain(ours)
            .zip(["prompts", "3", "17", "draft", "avr.refused", "too long", "refused", "2", "400", "m", "99"])
            .collect();
        let written = again(written);
        let found = written.headers[1..].iter();
        let found: Vec<(&str, &str)> =
            found.map(|it| (&*it.name, header(&written, &it.name).unwrap())).collect();
        assert_eq!(found, expected);
        let read = DeadLetterHeaders::of(&written);
        assert_eq!(read.encode(), written.headers[1..], "what was written is read");
        assert_eq!(read.describe(), "draft: refused: too long");
        assert_eq!(read.origin(), "prompts/3, offset 17");
    }

    #[test]
    fn a_record_that_another_program_put_there_has_unknown_headers() {
        let read = DeadLetterHeaders::of(&record(vec![]));
        assert_eq!(read.describe(), "unknown: unknown: unknown");
        assert_eq!(read.origin(), "unknown/unknown, offset unknown");
        assert_eq!((read.attempts, read.retries, read.first_failed_at_ms), (0, 0, None));
    }

    #[test]
    fn a_second_failure_replaces_the_first_but_keeps_when_it_began() {
        let first = again(dead_letter(&record(vec![]), "draft", &refused("one"), 5));
        let second = again(dead_letter(&first, "critique", &DeadLetterCause::new("schema", "two"), 9));
        assert_eq!(first.headers.len(), second.headers.len());
        let read = DeadLetterHeaders::of(&second);
        assert_eq!((read.kind.as_str(), read.first_failed_at_ms), ("schema", Some(5)));
    }

    #[test]
    fn what_is_sent_back_is_the_record_with_its_history() {
        let others = Header { name: "traceparent".into(), value: Some(Bytes::from_static(b"00-\xfe")) };
        let input = record(vec![others.clone()]);
        let cause = DeadLetterCause { http_status: Some(400), attempts: 3, ..refused("no") };
        let back = sent_back(&again(dead_letter(&input, "draft", &cause, 5)), PROMPTS.name);
        assert_eq!((back.topic, &back.key, &back.value), (PROMPTS.name, &input.key, &input.value));
        let names: Vec<&str> = back.headers.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["traceparent", ATTEMPTS, FIRST_FAILED_AT, RETRIES]);
        let second = again(dead_letter(&again(back), "draft", &refused("again"), 9));
        let read = DeadLetterHeaders::of(&second);
        assert_eq!((read.attempts, read.first_failed_at_ms, read.retries), (1, Some(5), 1));
        let back = again(sent_back(&second, PROMPTS.name));
        assert_eq!(retries(&back), 2);
        assert_eq!(back.headers.len(), 4);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let written = again(dead_letter(&record(vec![]), "draft", &refused(&"é".repeat(3000)), 0));
        let message = DeadLetterHeaders::of(&written).message;
        assert!(message.len() <= MAX_MESSAGE && message.chars().all(|c| c == 'é'));
    }
}
