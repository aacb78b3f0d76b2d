//! Numbers, times and other people's words, as they can be shown.

use std::time::Duration;

use chrono::DateTime;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// A count with its thousands apart: `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `one` thing or several `many`: `1 answer`, `12 answers`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time: `0.4 s`, `2m 54s`, `3h 04m`, `2d 03h`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..MINUTE_S => format!("{:.1} s", time.as_secs_f64().min(59.9)),
        MINUTE_S..HOUR_S => format!("{}m {:02}s", seconds / MINUTE_S, seconds % MINUTE_S),
        HOUR_S..DAY_S => format!("{}h {:02}m", seconds / HOUR_S, seconds % HOUR_S / MINUTE_S),
        DAY_S.. => format!("{}d {:02}h", seconds / DAY_S, seconds % DAY_S / HOUR_S),
    }
}

/// Something a second, or a minute if it is slow: `640/s`, `4.1/s`, `3.2/min`.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        fast if fast >= 99.95 => format!("{}/s", count(fast.round() as u64)),
        middling if middling >= 0.095 => format!("{middling:.1}/s"),
        slow if slow > 0.0 => format!("{:.1}/min", slow * 60.0),
        _ => "0/s".to_owned(),
    }
}

/// A share of a whole: `51.2 %`; nothing of nothing is `0.0 %`.
pub(super) fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// Text of others so that it can be shown: what moves the cursor or turns the direction of writing becomes `�`.
pub(super) fn printable(text: &str) -> String {
    let steers = |c: char| {
        let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The text's first `most` characters; where some are left out, the last of them is `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A time in UTC, to the second, as RFC 3339 writes it: `2024-02-29T23:59:59Z`.
pub(super) fn utc(ms: i64) -> String {
    formatted(ms, "%Y-%m-%dT%H:%M:%SZ")
}

/// The time of day in UTC, as log lines have it: `12:03:04Z`.
pub(super) fn time_of_day(ms: i64) -> String {
    formatted(ms, "%H:%M:%SZ")
}

/// A time given in milliseconds since the Unix epoch; one that no calendar has is shown as it is.
fn formatted(ms: i64, format: &str) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |time| time.format(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (1_234_567, "1,234,567")];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
    }

    #[test]
    fn times() {
        let cases = [
            (0.0, "0.0 s"),
            (0.36, "0.4 s"),
            (59.99, "59.9 s"),
            (60.0, "1m 00s"),
            (174.0, "2m 54s"),
            (11_075.0, "3h 04m"),
            (183_600.0, "2d 03h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected);
        }
    }

    #[test]
    fn rates() {
        let cases = [(1234.4, "1,234/s"), (99.96, "100/s"), (4.12, "4.1/s"), (0.05, "3.0/min"), (0.0, "0/s")];
        for (per_second, expected) in cases {
            assert_eq!(rate(per_second), expected);
        }
    }

    #[test]
    fn words_of_others_steer_no_terminal() {
        assert_eq!(printable("gpu1\u{1b}[2J\u{9b}2J\n\u{202e}é"), "gpu1�[2J�2J��é");
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äö…");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MIN, "-9223372036854775808 ms"),
        ];
        for (ms, text) in known {
            assert_eq!(utc(ms), text);
        }
        assert_eq!(time_of_day(1_709_251_199_999), "23:59:59Z");
    }
}
