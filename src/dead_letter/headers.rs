//! Dead letters: the record as it came, byte for byte, with headers that say where from and what happened.
//!
//! Kafka Connect's headers, so that existing tools show them, and avr's own beside them. Headers of others,
//! `traceparent` among them, pass through; those of an earlier failure are replaced.

use bytes::Bytes;

use crate::{
    engine::DeadLetter,
    log::{Header, Output, Record},
    topic::{DEAD_LETTERS, TopicName},
};

const CONNECT: &str = "__connect.errors.";
const OURS: [&str; 5] = ["avr.error.kind", ATTEMPTS, "avr.http.status", "avr.model", FIRST_FAILED_AT];
const ATTEMPTS: &str = "avr.attempts";
const FIRST_FAILED_AT: &str = "avr.first_failed_at";
/// How often the record was sent back from the dead letters. It stays with everything that comes of the record.
pub const RETRIES: &str = "avr.retries";
/// Longer messages are cut: a letter must fit beside the record it carries.
const MAX_MESSAGE: usize = 2000;

/// The letter for `record`, which `stage` could not handle at `now_ms`.
pub(crate) fn dead_letter(record: &Record, stage: &str, letter: &DeadLetter, now_ms: i64) -> Output {
    let mut headers: Vec<Header> =
        record.headers.iter().filter(|h| !is_error_header(&h.name)).cloned().collect();
    let first_failed_at = record.headers.iter().find(|h| h.name == FIRST_FAILED_AT);
    let mut add = |name: String, value: String| {
        headers.push(Header { name, value: Some(Bytes::from(value)) });
    };
    add(format!("{CONNECT}topic"), record.partition.topic.to_string());
    add(format!("{CONNECT}partition"), record.partition.index.to_string());
    add(format!("{CONNECT}offset"), record.offset.to_string());
    add(format!("{CONNECT}stage"), stage.to_owned());
    add(format!("{CONNECT}exception.class.name"), format!("avr.{}", letter.kind));
    add(format!("{CONNECT}exception.message"), cut(&letter.message).to_owned());
    add(OURS[0].to_owned(), letter.kind.to_owned());
    add(OURS[1].to_owned(), letter.attempts.to_string());
    if let Some(status) = letter.http_status {
        add(OURS[2].to_owned(), status.to_string());
    }
    if let Some(model) = &letter.model {
        add(OURS[3].to_owned(), model.clone());
    }
    match first_failed_at {
        Some(header) => headers.push(header.clone()),
        None => add(FIRST_FAILED_AT.to_owned(), now_ms.to_string()),
    }
    Output { topic: DEAD_LETTERS, key: record.key.clone(), value: record.value.clone(), headers }
}

/// The record of a letter on its way back to `topic`: byte for byte, with its key and the headers of others. What the
/// failure said goes; how many tries were made, when it failed first and how often it was sent back stays as its
/// history, and a letter that it becomes again carries the last two on.
pub fn sent_back(letter: &Record, topic: TopicName) -> Output {
    let is_history = |name: &str| matches!(name, ATTEMPTS | FIRST_FAILED_AT);
    let stays = |name: &str| name != RETRIES && (!is_error_header(name) || is_history(name));
    let mut headers: Vec<Header> = letter.headers.iter().filter(|h| stays(&h.name)).cloned().collect();
    let retries = header(letter, RETRIES).and_then(|retries| retries.parse::<u32>().ok()).unwrap_or(0);
    let retries = retries.saturating_add(1).to_string();
    headers.push(Header { name: RETRIES.to_owned(), value: Some(Bytes::from(retries)) });
    Output { topic, key: letter.key.clone(), value: letter.value.clone(), headers }
}

/// The value of a header as text, where the letter has it.
pub fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().find(|h| h.name == name)?;
    std::str::from_utf8(header.value.as_ref()?).ok()
}

/// What went wrong, as the letter says it: stage, kind and message.
pub fn describe(record: &Record) -> String {
    let read = |name: &str| header(record, name).unwrap_or("unknown");
    format!(
        "{}: {}: {}",
        read("__connect.errors.stage"),
        read(OURS[0]),
        read("__connect.errors.exception.message")
    )
}

fn is_error_header(name: &str) -> bool {
    name.starts_with(CONNECT) || OURS.contains(&name)
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

    fn again(letter: Output) -> Record {
        Record { headers: letter.headers, ..record(vec![]) }
    }

    #[test]
    fn the_record_is_kept_byte_for_byte_and_the_headers_say_what_happened() {
        let traceparent = Header { name: "traceparent".into(), value: Some(Bytes::from_static(b"00-\xfe")) };
        let input = record(vec![traceparent.clone()]);
        let failure = DeadLetter {
            http_status: Some(400),
            model: Some("m".into()),
            attempts: 2,
            ..DeadLetter::new("refused", "too long")
        };
        let letter = dead_letter(&input, "draft", &failure, 99);
        assert_eq!((&letter.key, &letter.value), (&input.key, &input.value));
        assert_eq!(letter.headers[0], traceparent);
        let letter = again(letter);
        let found: Vec<_> = ["topic", "partition", "offset", "stage", "exception.message"]
            .map(|name| header(&letter, &format!("{CONNECT}{name}")).expect("present"))
            .into();
        assert_eq!(found, ["prompts", "3", "17", "draft", "too long"]);
        let found: Vec<_> = OURS.map(|name| header(&letter, name).expect("present")).into();
        assert_eq!(found, ["refused", "2", "400", "m", "99"]);
        assert_eq!(describe(&letter), "draft: refused: too long");
    }

    #[test]
    fn a_second_failure_replaces_the_first_but_keeps_when_it_began() {
        let first = again(dead_letter(&record(vec![]), "draft", &DeadLetter::new("refused", "one"), 5));
        let second = again(dead_letter(&first, "critique", &DeadLetter::new("schema", "two"), 9));
        assert_eq!(first.headers.len(), second.headers.len());
        assert_eq!(header(&second, "avr.error.kind"), Some("schema"));
        assert_eq!(header(&second, FIRST_FAILED_AT), Some("5"));
    }

    #[test]
    fn what_is_sent_back_is_the_record_with_its_history() {
        let others = Header { name: "traceparent".into(), value: Some(Bytes::from_static(b"00-\xfe")) };
        let input = record(vec![others.clone()]);
        let failure = DeadLetter { http_status: Some(400), attempts: 3, ..DeadLetter::new("refused", "no") };
        let back = sent_back(&again(dead_letter(&input, "draft", &failure, 5)), PROMPTS.name);
        assert_eq!((back.topic, &back.key, &back.value), (PROMPTS.name, &input.key, &input.value));
        let names: Vec<&str> = back.headers.iter().map(|h| h.name.as_str()).collect();
        assert_eq!(names, ["traceparent", ATTEMPTS, FIRST_FAILED_AT, RETRIES]);
        let second = again(dead_letter(&again(back), "draft", &DeadLetter::new("refused", "again"), 9));
        let told = |name| header(&second, name).expect("it stays");
        assert_eq!((told(ATTEMPTS), told(FIRST_FAILED_AT), told(RETRIES)), ("1", "5", "1"));
        let back = again(sent_back(&second, PROMPTS.name));
        assert_eq!(header(&back, RETRIES), Some("2"));
        assert_eq!(back.headers.len(), 4);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let letter = DeadLetter::new("refused", "é".repeat(3000));
        let letter = again(dead_letter(&record(vec![]), "draft", &letter, 0));
        let message = header(&letter, "__connect.errors.exception.message").expect("present");
        assert!(message.len() <= MAX_MESSAGE && message.chars().all(|c| c == 'é'));
    }
}
