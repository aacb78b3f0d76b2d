//! Dead letters as `avr dead-letters` shows them.

use serde_json::json;

use super::{
    page::Page,
    table::table,
    text::{counted, cut, utc},
};
use crate::{
    dead_letter::{DeadLetter, DeadLetterId, Handling, totals},
    log::Record,
    record::HandledAction,
};

/// How much of a thread's id and of a message a line of the list has, in characters.
const THREAD: usize = 32;
const MESSAGE: usize = 60;
/// Bytes of a payload in a line of hexadecimal digits.
const HEX_LINE: usize = 32;

/// The list as a table, with totals.
pub(crate) fn list(all: &[DeadLetter]) -> String {
    if all.is_empty() {
        return "There are no dead letters to be handled.\n".to_owned();
    }
    let mut page = Page::default();
    let rows: Vec<_> = all.iter().map(row).collect();
    page.lines(&table(["ID", "TIME", "STAGE", "KIND", "TRIES", "THREAD", "MESSAGE"], &rows));
    page.gap();
    for ((stage, kind), count) in totals(all) {
        page.line(&format!("{count:>7}  {stage}  {kind}"));
    }
    page.line(&format!("{:>7}  in all", all.len()));
    page.into_text()
}

fn row(letter: &DeadLetter) -> [String; 7] {
    let message = match &letter.handled {
        Some(handled) => format!("[{}] {}", past(handled.action), letter.headers.message),
        None => letter.headers.message.clone(),
    };
    [
        letter.id.to_string(),
        utc(letter.at_ms),
        letter.headers.stage.clone(),
        letter.headers.kind.clone(),
        letter.headers.attempts.to_string(),
        cut(&letter.thread, THREAD),
        cut(&message, MESSAGE),
    ]
}

/// The list as one JSON object.
pub(crate) fn json(all: &[DeadLetter]) -> String {
    let total =
        |((stage, kind), count): ((&str, &str), usize)| json!({"stage": stage, "kind": kind, "count": count});
    let totals: Vec<_> = totals(all).into_iter().map(total).collect();
    format!("{}\n", json!({"dead_letters": all, "totals": totals}))
}

/// One dead letter, whole.
pub(crate) fn show(letter: &DeadLetter, record: &Record) -> String {
    let mut page = Page::default();
    let mut line = |name: &str, value: &str| page.line(&format!("{name:<10}{value}"));
    line("id", &letter.id.to_string());
    line("time", &utc(letter.at_ms));
    line("from", &letter.origin);
    line("key", &shown(record.key.as_deref()));
    if let Some(handled) = &letter.handled {
        line("handled", &format!("{} at {}", past(handled.action), utc(handled.at_ms)));
    }
    page.heading("headers");
    for header in &record.headers {
        page.line(&format!("  {}: {}", header.name, shown(header.value.as_deref())));
    }
    page.heading(&format!("payload ({} bytes)", letter.bytes));
    page.lines(&payload(record.value.as_deref().unwrap_or_default()));
    page.into_text()
}

/// A payload: JSON in lines, other text as it is, anything else in hexadecimal digits.
fn payload(bytes: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        return format!("{value:#}\n");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.chunks(HEX_LINE).map(|line| hex(line) + "\n").collect(),
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "(none)".to_owned(),
        Some((_, Ok(text))) => text.to_owned(),
        Some((bytes, Err(_))) => format!("0x{}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was done, or would be.
pub(crate) fn done(done: &[DeadLetterId], before: &[DeadLetterId], handling: Handling) -> String {
    let mut page = Page::default();
    let what = past(handling.action);
    let letters = counted(done.len() as u64, "dead letter", "dead letters");
    let was = if done.len() == 1 { "was" } else { "were" };
    if handling.dry_run {
        done.iter().for_each(|id| page.line(&format!("{id} would be {what}")));
        page.line(&format!("{letters} would be {what}; nothing was done"));
    } else {
        page.line(&format!("{letters} {was} {what}"));
    }
    before.iter().for_each(|id| page.line(&format!("{id} had been handled before")));
    page.into_text()
}

fn past(action: HandledAction) -> &'static str {
    match action {
        HandledAction::Retried => "sent back",
        HandledAction::Dropped => "dropped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::Partition, topic::DEAD_LETTERS};

    fn letter(key: Option<&'static [u8]>, payload: &'static [u8]) -> Record {
        Record {
            partition: Partition { topic: DEAD_LETTERS, index: 0 },
            offset: 7,
            timestamp_ms: 0,
            key: key.map(Into::into),
            value: Some(payload.into()),
            headers: vec![],
        }
    }

    /// What is shown of a payload.
    fn payload_of(payload: &'static [u8]) -> String {
        let record = letter(None, payload);
        let text = show(&DeadLetter::of(&record), &record);
        let (_, payload) = text.split_once(" bytes)\n").unwrap();
        payload.to_owned()
    }

    #[test]
    fn payloads_are_shown_whatever_they_are() {
        assert_eq!(payload_of(br#"{"a":[1]}"#), "{\n  \"a\": [\n    1\n  ]\n}\n");
        assert_eq!(payload_of(b"{\"a\":\x1b[2J\nx"), "{\"a\":\u{fffd}[2J\nx\n");
        assert_eq!(payload_of("{\"a\":\"\u{9b}2J\"}".as_bytes()), "{\n  \"a\": \"\u{fffd}2J\"\n}\n");
        assert_eq!(payload_of(b"\xff\x00"), "ff00\n");
        assert_eq!(payload_of(b""), "");
        assert_eq!((shown(None).as_str(), shown(Some(b"\xfe")).as_str()), ("(none)", "0xfe"));
    }

    #[test]
    fn a_list_steers_no_terminal() {
        let record = letter(Some(b"a\x1b[2J"), b"");
        let text = list(&[DeadLetter::of(&record)]);
        let expected = "\
ID   TIME                  STAGE    KIND     TRIES  THREAD  MESSAGE
0-7  1970-01-01T00:00:00Z  unknown  unknown  0      a\u{fffd}[2J   unknown

      1  unknown  unknown
      1  in all
";
        assert_eq!(text, expected);
    }
}
