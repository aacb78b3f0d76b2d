//! Standard error as people see it: log lines and progress bars share it without tearing each other.
//!
//! Everything that avr writes to standard error goes through one [`Screen`]. It takes the bars away, writes
//! the line, and draws them again below it.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;

/// Standard error. Cloning shares it.
#[derive(Clone)]
pub struct Screen {
    bars: MultiProgress,
    lines: Arc<Mutex<dyn Write + Send>>,
    terminal: bool,
    colour: bool,
}

impl Screen {
    /// Standard error of this process.
    pub fn stderr() -> Self {
        let terminal = io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb");
        // https://no-color.org: any value but an empty one.
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { bars: MultiProgress::new(), lines: Arc::new(Mutex::new(io::stderr())), terminal, colour }
    }

    /// Whether it is a terminal on which bars look right.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether bars can be drawn at all.
    pub(super) fn can_draw(&self) -> bool {
        !self.bars.is_hidden()
    }

    /// Whether text may be coloured.
    pub fn has_colour(&self) -> bool {
        self.colour
    }

    /// The bars that are drawn at the bottom.
    pub(super) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Writes whole lines above the bars. Standard error that is gone (`avr … 2>&1 | head`) is no reason to
    /// stop the work, so a failed write is forgotten.
    pub(super) fn write_lines(&self, lines: &[u8]) {
        // A writer that panicked harms no later line.
        let write = || self.lines.lock().unwrap_or_else(PoisonError::into_inner).write_all(lines);
        let _ = self.bars.suspend(write);
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Log lines come as one write each. No write fails: the subscriber would report it on standard error, which
/// ends the thread if that is gone.
impl Write for &Screen {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.write_lines(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Screens in memory.

    use indicatif::{InMemoryTerm, MultiProgress, ProgressDrawTarget, TermLike};

    use super::*;

    #[derive(Clone, Default)]
    pub(in crate::terminal) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(in crate::terminal) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Standard error that is a file.
    pub(in crate::terminal) fn file() -> (Screen, Lines) {
        let lines = Lines::default();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let screen =
            Screen { bars, lines: Arc::new(Mutex::new(lines.clone())), terminal: false, colour: false };
        (screen, lines)
    }

    struct TerminalLines(InMemoryTerm);

    impl Write for TerminalLines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_str(&String::from_utf8_lossy(bytes).replace('\n', "\r\n"))?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Standard error that is a terminal of 16 rows.
    pub(in crate::terminal) fn terminal(columns: u16) -> (Screen, InMemoryTerm) {
        let terminal = InMemoryTerm::new(16, columns);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bars = MultiProgress::with_draw_target(target);
        let lines = Arc::new(Mutex::new(TerminalLines(terminal.clone())));
        (Screen { bars, lines, terminal: true, colour: false }, terminal)
    }
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressBar;

    use super::*;

    fn log_to(screen: &Screen) {
        let lines = tracing_subscriber::fmt().with_writer(screen.clone());
        let lines = lines.without_time().with_target(false).with_ansi(false).finish();
        tracing::subscriber::with_default(lines, || tracing::info!("answered"));
    }

    #[test]
    fn log_lines_stand_above_the_bars() {
        let (screen, terminal) = fake::terminal(40);
        let bar = screen.bars().add(ProgressBar::new(2));
        bar.set_style(indicatif::ProgressStyle::with_template("{pos}/{len}").unwrap());
        bar.tick();
        log_to(&screen);
        assert_eq!(terminal.contents(), " INFO answered\n0/2");
    }

    #[test]
    fn log_lines_reach_a_file_as_they_are() {
        let (screen, lines) = fake::file();
        log_to(&screen);
        assert_eq!(lines.text(), " INFO answered\n");
    }
}
