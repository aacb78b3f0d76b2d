//! How fast a count grows, over the last half minute.

use std::{collections::VecDeque, time::Duration};

/// Over how long the rate is taken: long enough to smooth batches out, short enough to follow a change.
const WINDOW: Duration = Duration::from_secs(30);

/// The least time between two samples, so that few are kept.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples of one growing count. Times are since the display began.
#[derive(Debug, Default)]
pub(super) struct Pace {
    samples: VecDeque<(Duration, u64)>,
}

impl Pace {
    /// Takes the count as it is at `now`, and tells how much it grows a second; none until that can be said.
    pub(super) fn per_second(&mut self, now: Duration, count: u64) -> Option<f64> {
        self.sample(now, count);
        let (then, before) = *self.samples.front()?;
        let seconds = (now - then).as_secs_f64();
        (seconds >= SAMPLE_EVERY.as_secs_f64()).then(|| count.saturating_sub(before) as f64 / seconds)
    }

    fn sample(&mut self, now: Duration, count: u64) {
        if self.samples.back().is_none_or(|(last, _)| now - *last >= SAMPLE_EVERY) {
            self.samples.push_back((now, count));
        }
        // The oldest that is kept stands at the window's far edge or just beyond it.
        while self.samples.get(1).is_some_and(|(second, _)| now - *second >= WINDOW) {
            self.samples.pop_front();
        }
    }
}

/// The time that the rest will take; none if nothing moves.
pub(super) fn time_left(rest: u64, per_second: Option<f64>) -> Option<Duration> {
    let rate = per_second.filter(|rate| *rate > 0.0)?;
    Duration::try_from_secs_f64(rest as f64 / rate).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn follows_the_last_half_minute() {
        let mut pace = Pace::default();
        assert_eq!(pace.per_second(seconds(0), 0), None);
        assert_eq!(pace.per_second(Duration::from_millis(300), 5), None);
        for second in 1..=100 {
            assert_eq!(pace.per_second(seconds(second), second * 4), Some(4.0));
        }
        assert_eq!(pace.per_second(seconds(115), 400), Some(2.0));
        assert_eq!(pace.per_second(seconds(160), 400), Some(0.0));
        assert!(pace.samples.len() < 40);
    }

    #[test]
    fn the_time_left_needs_a_pace() {
        assert_eq!(time_left(40, Some(4.0)), Some(seconds(10)));
        assert_eq!(time_left(0, Some(4.0)), Some(seconds(0)));
        assert_eq!(time_left(40, Some(0.0)), None);
        assert_eq!(time_left(40, None), None);
        assert_eq!(time_left(u64::MAX, Some(f64::MIN_POSITIVE)), None);
    }
}
