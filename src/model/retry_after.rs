//! The `Retry-After` header: how long a server wants to be left alone (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

/// The longest wait that a server can ask for. A greater one is a mistake more often than a wish, and an
/// endpoint that is asked too early only says so again.
const MOST: Duration = Duration::from_secs(3600);

/// Reads a number of seconds or an HTTP date; none for anything else. A date that has passed is no wait.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<f64>() {
        Ok(seconds) => seconds_of(seconds)?,
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MOST))
}

/// Some servers send fractions of a second, which the standard does not know.
fn seconds_of(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(MOST.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_seconds_and_dates() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        let cases = [
            ("0", Some(0)),
            ("2", Some(2000)),
            (" 1.5 ", Some(1500)),
            ("99999999999999999999", Some(3_600_000)),
            ("inf", Some(3_600_000)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3000)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
        ];
        for (value, millis) in cases {
            assert_eq!(parse(value, now), millis.map(Duration::from_millis), "{value:?}");
        }
    }
}
