//! Dead letters as text. What others wrote, a model's words among it, is shown so that it cannot move the cursor.

use serde_json::json;

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
pub(super) fn list(all: &[DeadLetter]) -> String {
    if all.is_empty() {
        return "There are no dead letters to be handled.\n".to_owned();
    }
    let heads = ["ID", "TIME", "STAGE", "KIND", "TRIES", "THREAD", "MESSAGE"].map(str::to_owned);
    let rows: Vec<[String; 7]> = all.iter().map(row).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().chain([&heads]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in [&heads].into_iter().chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push('\n');
    for ((stage, kind), count) in totals(all) {
        text.push_str(&format!("{count:>7}  {}  {}\n", printable(stage), printable(kind)));
    }
    text + &format!("{:>7}  in all\n", all.len())
}

fn row(letter: &DeadLetter) -> [String; 7] {
    let message = match &letter.handled {
        Some(handled) => format!("[{}] {}", past(handled.action), letter.headers.message),
        None => letter.headers.message.clone(),
    };
    [
        letter.id.to_string(),
        utc(letter.at_ms),
        printable(&letter.headers.stage),
        printable(&letter.headers.kind),
        letter.headers.attempts.to_string(),
        cut(&printable(&letter.thread), THREAD),
        cut(&printable(&message), MESSAGE),
    ]
}

/// The list as one JSON object.
pub(super) fn json(all: &[DeadLetter]) -> String {
    let total =
        |((stage, kind), count): ((&str, &str), usize)| json!({"stage": stage, "kind": kind, "count": count});
    let totals: Vec<_> = totals(all).into_iter().map(total).collect();
    format!("{}\n", json!({"letters": all, "totals": totals}))
}

/// One letter, whole.
pub(super) fn show(letter: &DeadLetter, record: &Record) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10}{value}\n"));
    line("letter", &letter.id.to_string());
    line("time", &utc(letter.at_ms));
    line("from", &printable(&letter.origin));
    line("key", &shown(record.key.as_deref()));
    if let Some(handled) = &letter.handled {
        line("handled", &format!("{} at {}", past(handled.action), utc(handled.at_ms)));
    }
    text.push_str("\nheaders\n");
    for header in &record.headers {
        text.push_str(&format!("  {}: {}\n", printable(&header.name), shown(header.value.as_deref())));
    }
    text.push_str(&format!("\npayload ({} bytes)\n", letter.bytes));
    text + &payload(record.value.as_deref().unwrap_or_default())
}

/// A payload: JSON in lines, other text without what is not printable, anything else in hexadecimal digits.
fn payload(bytes: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        return format!("{value:#}\n");
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.lines().map(|line| printable(line) + "\n").collect(),
        Err(_) => bytes.chunks(HEX_LINE).map(|line| hex(line) + "\n").collect(),
    }
}

fn shown(bytes: Option<&[u8]>) -> String {
    match bytes.map(std::str::from_utf8) {
        None => "(none)".to_owned(),
        Some(Ok(text)) => printable(text),
        Some(Err(_)) => format!("0x{}", bytes.map(hex).unwrap_or_default()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was done, or would be.
pub(super) fn done(done: &[DeadLetterId], before: &[DeadLetterId], handling: Handling) -> String {
    let mut text = String::new();
    let what = past(handling.action);
    if handling.dry_run {
        done.iter().for_each(|id| text.push_str(&format!("{id} would be {what}\n")));
        text.push_str(&format!("{} letters would be {what}; nothing was done\n", done.len()));
    } else {
        text.push_str(&format!("{} letters were {what}\n", done.len()));
    }
    for id in before {
        text.push_str(&format!("{id} had been handled before\n"));
    }
    text
}

fn past(action: HandledAction) -> &'static str {
    match action {
        HandledAction::Retried => "sent back",
        HandledAction::Dropped => "dropped",
    }
}

/// The text without characters that steer a terminal.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A time in UTC, to the second, as RFC 3339 writes it.
fn utc(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years are counted from the first of March, so that a leap day is the last of its year.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ];
        for (ms, text) in known {
            assert_eq!(utc(ms), text);
        }
    }

    #[test]
    fn payloads_are_shown_whatever_they_are() {
        assert_eq!(payload(br#"{"a":[1]}"#), "{\n  \"a\": [\n    1\n  ]\n}\n");
        assert_eq!(payload(b"{\"a\":\x1b[2J\nx"), "{\"a\":\u{fffd}[2J\nx\n");
        assert_eq!(payload(b"\xff\x00"), "ff00\n");
        assert_eq!(payload(b""), "");
        assert_eq!((shown(None).as_str(), shown(Some(b"\xfe")).as_str()), ("(none)", "0xfe"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
