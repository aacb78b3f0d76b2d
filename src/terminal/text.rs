//! Numbers as people read them.

use std::time::{Duration, SystemTime};

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
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
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time: `0.4 s`, `2m 54s`, `3h 04m`, `2d 03h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..MINUTE_S => format!("{:.1} s", time.as_secs_f64().min(59.9)),
        MINUTE_S..HOUR_S => format!("{}m {:02}s", seconds / MINUTE_S, seconds % MINUTE_S),
        HOUR_S..DAY_S => format!("{}h {:02}m", seconds / HOUR_S, seconds % HOUR_S / MINUTE_S),
        DAY_S.. => format!("{}d {:02}h", seconds / DAY_S, seconds % DAY_S / HOUR_S),
    }
}

/// Something a second, or a minute if it is slow: `640/s`, `4.1/s`, `3.2/min`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        fast if fast >= 99.95 => format!("{}/s", count(fast.round() as u64)),
        middling if middling >= 0.095 => format!("{middling:.1}/s"),
        slow if slow > 0.0 => format!("{:.1}/min", slow * 60.0),
        _ => "0/s".to_owned(),
    }
}

/// A share of a whole: `51.2 %`; nothing of nothing is `0.0 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

/// The time of day in UTC, as log lines have it: `12:03:04Z`.
pub(crate) fn time_of_day(now: SystemTime) -> String {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let second = since_epoch.as_secs() % DAY_S;
    format!("{:02}:{:02}:{:02}Z", second / HOUR_S, second % HOUR_S / MINUTE_S, second % MINUTE_S)
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
    fn times_of_day() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(3 * DAY_S + 12 * HOUR_S + 3 * MINUTE_S + 4);
        assert_eq!(time_of_day(noon), "12:03:04Z");
    }
}
