//! The progress display: bars on a terminal, a line now and then elsewhere.
//!
//! ```text
//! closure ─▶ ProgressSnapshot ─▶ Pace (rates, time left) ─▶ bars | plain lines ─▶ Screen
//! ```
//!
//! The display asks a closure for a snapshot at its own interval, so whoever does the work keeps plain
//! counters and never waits for a terminal.

mod bars;
mod pace;
mod plain;

use std::time::Duration;

use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::Screen;
use crate::engine::StageStatus;
use bars::Bars;
use plain::PlainLines;

/// How progress is shown.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    clap::ValueEnum,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum ProgressMode {
    /// Bars if standard error is a terminal, else plain lines.
    #[default]
    Auto,
    /// A bar for each stage, also on a terminal that calls itself dumb; plain lines if it is no terminal.
    Bars,
    /// A line every few seconds.
    Plain,
    /// Not at all.
    None,
}

/// How far everything is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// What is counted.
    pub counting: Counting,
    /// Threads to be accounted for; none while input is still being read, or has no end.
    pub total: Option<u64>,
    /// Threads that are accounted for, or what else is counted.
    pub finished: u64,
    /// The stages, in the order of the flow.
    pub stages: Vec<StageProgress>,
}

/// What the count of the whole counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Threads that are accounted for.
    #[default]
    Threads,
    /// Steps of a worker that are committed.
    Steps,
    /// Prompts that were read.
    Prompts,
}

impl Counting {
    /// For one and for several.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Threads => ("thread", "threads"),
            Self::Steps => ("step", "steps"),
            Self::Prompts => ("prompt", "prompts"),
        }
    }
}

/// How far one stage is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageProgress {
    /// The stage's name.
    pub name: &'static str,
    /// Steps done; a thread that goes round takes several.
    pub done: u64,
    /// Steps that are running.
    pub in_flight: u64,
    /// Threads fetched and waiting for a place.
    pub waiting: u64,
    /// Records that the stage has not done, over all processes, at most; none where nobody measures it.
    pub lag: Option<u64>,
}

impl StageProgress {
    /// A stage of this process's engine, with its lag where that is measured.
    pub fn new(stage: &StageStatus, lag: Option<u64>) -> Self {
        let StageStatus { name, done, in_flight, waiting, .. } = *stage;
        Self { name, done, in_flight: in_flight as u64, waiting: waiting as u64, lag }
    }
}

/// A way to show snapshots.
trait Display: Send + 'static {
    /// How often.
    const EVERY: Duration;

    /// Shows the state after `elapsed`; `last` when no other will come.
    fn show(&mut self, snapshot: &ProgressSnapshot, elapsed: Duration, last: bool);
}

/// A running display. Dropped, it shows the last state and ends.
#[derive(Debug)]
pub struct ProgressDisplay {
    stop: oneshot::Sender<()>,
    task: Option<JoinHandle<()>>,
}

impl ProgressDisplay {
    /// Shows what `snapshot` returns, several times a second or every few seconds, until
    /// [`ProgressDisplay::finish`]. `snapshot` must be quick and must not block.
    pub fn start(
        mode: ProgressMode,
        screen: &Screen,
        snapshot: impl Fn() -> ProgressSnapshot + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let bars = match mode {
            ProgressMode::None => return Self { stop, task: None },
            ProgressMode::Auto => screen.is_terminal(),
            ProgressMode::Bars => screen.can_draw(),
            ProgressMode::Plain => false,
        };
        let task = match bars {
            true => tokio::spawn(run(Bars::new(screen), snapshot, stopped)),
            false => tokio::spawn(run(PlainLines::new(screen), snapshot, stopped)),
        };
        Self { stop, task: Some(task) }
    }

    /// Shows the last state, leaves it standing, and ends.
    pub async fn finish(self) {
        drop(self.stop);
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "the progress display failed; the work did not");
        }
    }
}

async fn run<D: Display>(
    mut display: D,
    snapshot: impl Fn() -> ProgressSnapshot,
    mut stopped: oneshot::Receiver<()>,
) {
    let started = Instant::now();
    let mut ticks = interval_at(started + D::EVERY, D::EVERY);
    // After a stall one picture is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut stopped => true,
        };
        display.show(&snapshot(), started.elapsed(), last);
        if last {
            return;
        }
    }
}

#[cfg(test)]
pub(super) mod sample {
    use super::*;

    /// A snapshot of stages given as `(name, done, in flight, waiting)`.
    pub(in crate::terminal) fn snapshot(
        total: Option<u64>,
        finished: u64,
        stages: &[(&'static str, u64, u64, u64)],
    ) -> ProgressSnapshot {
        let stage =
            |&(name, done, in_flight, waiting)| StageProgress { name, done, in_flight, waiting, lag: None };
        let counting = Counting::Threads;
        ProgressSnapshot { counting, total, finished, stages: stages.iter().map(stage).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::terminal::screen::fake;

    /// Standard error of a file after `seconds`, with one thread done in each of them.
    async fn shown(mode: ProgressMode, seconds: u64) -> String {
        let (screen, lines) = fake::file();
        let finished = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&finished);
        let snapshot = move || sample::snapshot(Some(9), seen.load(Ordering::Relaxed), &[]);
        let progress = ProgressDisplay::start(mode, &screen, snapshot);
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            finished.fetch_add(1, Ordering::Relaxed);
        }
        progress.finish().await;
        lines.text()
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_gets_a_line_now_and_then_and_one_at_the_end() {
        let text = shown(ProgressMode::Auto, 9).await;
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().last().unwrap().contains("9/9"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_display_says_nothing() {
        assert_eq!(shown(ProgressMode::None, 9).await, "");
    }
}
