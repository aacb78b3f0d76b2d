//! Progress as bars, one for each stage and one for the whole, at the bottom of a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    Display, ProgressSnapshot, StageProgress,
    pace::Pace,
    plain::{busy, threads},
};
use crate::terminal::{Screen, text};

const KNOWN: &str = "{prefix:<9} {bar:30.cyan/dim} {wide_msg}";
const UNKNOWN: &str = "{prefix:<9} {spinner:30.cyan} {wide_msg}";
const BAR: &str = "━╸─";
const SPINNER: [&str; 5] = ["━━       ", "  ━━     ", "    ━━   ", "      ━━ ", "━━━━━━━━━"];

/// The bars, made when a snapshot first names their stage.
pub(super) struct Bars {
    screen: Screen,
    stages: Vec<Bar>,
    whole: Bar,
}

impl Bars {
    pub(super) fn new(screen: &Screen) -> Self {
        let whole = Bar::new(screen.bars().add(ProgressBar::new(0)), "all");
        Self { screen: screen.clone(), stages: vec![], whole }
    }

    fn add_stages(&mut self, stages: &[StageProgress]) {
        for stage in stages.iter().skip(self.stages.len()) {
            let bar = self.screen.bars().insert_before(&self.whole.bar, ProgressBar::new(0));
            self.stages.push(Bar::new(bar, stage.name));
        }
    }
}

impl Display for Bars {
    const EVERY: Duration = Duration::from_millis(200);

    fn show(&mut self, snapshot: &ProgressSnapshot, elapsed: Duration, last: bool) {
        self.add_stages(&snapshot.stages);
        for (bar, stage) in self.stages.iter_mut().zip(&snapshot.stages) {
            let per_second = bar.pace.per_second(elapsed, stage.done);
            let total = snapshot.total.map(|total| stage_total(total, stage));
            bar.draw(total, stage.done, stage_message(stage, total, per_second));
        }
        let per_second = self.whole.pace.per_second(elapsed, snapshot.finished);
        self.whole.draw(snapshot.total, snapshot.finished, threads(snapshot, per_second));
        if last {
            self.stages.iter().chain([&self.whole]).for_each(|bar| bar.bar.abandon());
        }
    }
}

/// What a stage has to do: every thread once, or more if threads come round again.
fn stage_total(threads: u64, stage: &StageProgress) -> u64 {
    threads.max(stage.done + stage.in_flight + stage.waiting)
}

/// `120/805, 64 running, 3 waiting, 4.1/s`
fn stage_message(stage: &StageProgress, total: Option<u64>, per_second: Option<f64>) -> String {
    let mut message = text::count(stage.done);
    if let Some(total) = total {
        message = format!("{message}/{}", text::count(total));
    }
    // An idle stage's rate says nothing.
    let idle = stage.in_flight + stage.waiting == 0;
    let rate = per_second.filter(|_| !idle).map(text::rate).unwrap_or_default();
    [message, busy(stage), rate]
        .iter()
        .filter(|part| !part.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(", ")
}

/// One bar and how fast it moves.
struct Bar {
    bar: ProgressBar,
    pace: Pace,
}

impl Bar {
    fn new(bar: ProgressBar, name: &'static str) -> Self {
        bar.set_style(style(UNKNOWN));
        bar.set_prefix(name);
        bar.unset_length();
        Self { bar, pace: Pace::default() }
    }

    fn draw(&mut self, total: Option<u64>, done: u64, message: String) {
        if self.bar.length().is_some() != total.is_some() {
            self.bar.set_style(style(if total.is_some() { KNOWN } else { UNKNOWN }));
        }
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(done);
        self.bar.set_message(message);
        self.bar.tick();
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("the template is a constant that tests draw");
    style.progress_chars(BAR).tick_strings(&SPINNER)
}

#[cfg(test)]
mod tests {
    use super::{super::sample::snapshot, *};
    use crate::terminal::screen::fake;

    const STAGES: [(&str, u64, u64, u64); 3] =
        [("intake", 8, 0, 0), ("draft", 6, 2, 0), ("critique", 2, 3, 1)];

    /// What a terminal of `columns` shows after these snapshots, ten seconds apart, with a log line between.
    fn shown(columns: u16, snapshots: &[ProgressSnapshot]) -> String {
        let (screen, terminal) = fake::terminal(columns);
        let mut bars = Bars::new(&screen);
        for (index, snapshot) in snapshots.iter().enumerate() {
            if index > 0 {
                screen.write_lines(format!("log line {index}\n").as_bytes());
            }
            bars.show(snapshot, Duration::from_secs(10) * index as u32, index + 1 == snapshots.len());
        }
        terminal.contents()
    }

    #[test]
    fn bars_stand_below_the_log() {
        let early = snapshot(Some(8), 0, &[("intake", 8, 0, 0), ("draft", 0, 8, 0), ("critique", 0, 0, 0)]);
        let text = shown(100, &[early, snapshot(Some(8), 1, &STAGES)]);
        let expected = "log line 1
intake    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 8/8
draft     ━━━━━━━━━━━━━━━━━━━━━━╸─────── 6/8, 2 running, 0.6/s
critique  ━━━━━━━╸────────────────────── 2/8, 3 running, 1 waiting, 0.2/s
all       ━━━╸────────────────────────── 1/8 threads, 0.1/s, 1m 10s left";
        assert_eq!(text, expected);
    }

    #[test]
    fn an_unknown_total_has_counts() {
        let text = shown(100, &[snapshot(None, 1, &STAGES)]);
        assert!(text.contains("2, 3 running, 1 waiting"), "{text}");
        assert!(text.ends_with("1 thread"), "{text}");
    }

    #[test]
    fn a_narrow_terminal_cuts_and_does_not_wrap() {
        let text = shown(50, &[snapshot(Some(8), 1, &STAGES)]);
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
