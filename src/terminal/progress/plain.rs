//! Progress as lines, for files and pipes.

use std::{fmt::Write, time::Duration};

use super::{
    Display, ProgressSnapshot, StageProgress,
    pace::{Pace, time_left},
};
use crate::{
    clock::now_ms,
    terminal::{Screen, text},
};

/// While nothing moves, only every so many pictures become a line: a sign of life, not a flood.
const UNCHANGED_PICTURES_A_LINE: u32 = 12;

/// Writes a line when something has moved.
pub(super) struct PlainLines {
    screen: Screen,
    pace: Pace,
    shown: ProgressSnapshot,
    unchanged: u32,
}

impl PlainLines {
    pub(super) fn new(screen: &Screen) -> Self {
        Self {
            screen: screen.clone(),
            pace: Pace::default(),
            shown: ProgressSnapshot::default(),
            unchanged: 0,
        }
    }

    /// Whether this picture is worth a line.
    fn is_news(&mut self, snapshot: &ProgressSnapshot, last: bool) -> bool {
        if self.shown != *snapshot {
            self.unchanged = 0;
            self.shown.clone_from(snapshot);
            return true;
        }
        self.unchanged += 1;
        !last && self.unchanged.is_multiple_of(UNCHANGED_PICTURES_A_LINE)
    }
}

impl Display for PlainLines {
    const EVERY: Duration = Duration::from_secs(5);

    fn show(&mut self, snapshot: &ProgressSnapshot, elapsed: Duration, last: bool) {
        let per_second = self.pace.per_second(elapsed, snapshot.finished);
        if self.is_news(snapshot, last) {
            let line = format!("{} {}\n", text::time_of_day(now_ms()), line(snapshot, per_second));
            self.screen.write_lines(line.as_bytes());
        }
    }
}

/// `97/805 threads, 4.1/s, 2m 52s left | draft 120 (64 running, 3 waiting) | critique 98`
fn line(snapshot: &ProgressSnapshot, per_second: Option<f64>) -> String {
    let mut line = threads(snapshot, per_second);
    for stage in &snapshot.stages {
        let _ = write!(line, " | {} {}", stage.name, text::count(stage.done));
        let busy = busy(stage);
        if !busy.is_empty() {
            let _ = write!(line, " ({busy})");
        }
    }
    line
}

/// The state of the whole: `97/805 threads, 4.1/s, 2m 52s left`.
pub(super) fn threads(snapshot: &ProgressSnapshot, per_second: Option<f64>) -> String {
    let (one, many) = snapshot.counting.words();
    let mut parts = vec![match snapshot.total {
        Some(total) => format!("{}/{} {many}", text::count(snapshot.finished), text::count(total)),
        None => text::counted(snapshot.finished, one, many),
    }];
    parts.extend(per_second.map(text::rate));
    let rest = snapshot.total.map_or(0, |total| total.saturating_sub(snapshot.finished));
    if rest > 0 {
        parts.extend(time_left(rest, per_second).map(|time| format!("{} left", text::duration(time))));
    }
    parts.join(", ")
}

/// What a stage is at: `64 running, 3 waiting, lag 120`; empty if nothing.
pub(super) fn busy(stage: &StageProgress) -> String {
    let states = [(stage.in_flight, "running"), (stage.waiting, "waiting")];
    let busy = states.iter().filter(|(number, _)| *number > 0);
    let mut busy: Vec<_> = busy.map(|(number, state)| format!("{} {state}", text::count(*number))).collect();
    busy.extend(stage.lag.map(|lag| format!("lag {}", text::count(lag))));
    busy.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Counting, sample::snapshot},
        *,
    };
    use crate::terminal::screen::fake;

    fn worker() -> ProgressSnapshot {
        let mut snapshot = snapshot(None, 31, &[("draft", 120, 64, 3), ("score", 0, 0, 0)]);
        snapshot.counting = Counting::Steps;
        snapshot.stages.iter_mut().zip([5000, 0]).for_each(|(stage, lag)| stage.lag = Some(lag));
        snapshot
    }

    #[test]
    fn lines() {
        let stages =
            [("intake", 1805, 0, 0), ("draft", 120, 64, 3), ("critique", 98, 10, 0), ("score", 0, 0, 0)];
        let cases = [
            (snapshot(None, 0, &[]), None, "0 threads"),
            (
                snapshot(None, 97, &stages[..2]),
                Some(4.12),
                "97 threads, 4.1/s | intake 1,805 | draft 120 (64 running, 3 waiting)",
            ),
            (
                snapshot(Some(805), 97, &stages),
                Some(4.12),
                "97/805 threads, 4.1/s, 2m 51s left | intake 1,805 | draft 120 (64 running, 3 waiting) | \
                 critique 98 (10 running) | score 0",
            ),
            (snapshot(Some(805), 97, &[]), Some(0.0), "97/805 threads, 0/s"),
            (snapshot(Some(805), 805, &[]), Some(4.0), "805/805 threads, 4.0/s"),
            (
                worker(),
                Some(4.0),
                "31 steps, 4.0/s | draft 120 (64 running, 3 waiting, lag 5,000) | score 0 (lag 0)",
            ),
        ];
        for (snapshot, per_second, expected) in cases {
            assert_eq!(line(&snapshot, per_second), expected);
        }
    }

    #[test]
    fn says_nothing_new_once_a_minute_only() {
        let (screen, lines) = fake::file();
        let mut plain = PlainLines::new(&screen);
        let stalled = snapshot(Some(9), 4, &[]);
        for picture in 0..=12 {
            plain.show(&stalled, PlainLines::EVERY * picture, false);
        }
        plain.show(&stalled, PlainLines::EVERY * 13, true);
        assert_eq!(lines.text().lines().count(), 2, "{}", lines.text());
    }
}
