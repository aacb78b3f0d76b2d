//! A text in lines, under headings.

use super::text::{count, printable};

/// Lines for a terminal. Names of models, files and workers are other people's words; none of them steers it.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// A line that what follows stands under, after an empty one.
    pub(super) fn heading(&mut self, heading: &str) {
        self.gap();
        self.line(heading);
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A line.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&printable(line));
        self.text.push('\n');
    }

    /// A number, aligned to the right so that a list of them can be compared, and what it counts.
    pub(super) fn number(&mut self, number: u64, what: &str) {
        self.line(&format!("  {:>11}  {what}", count(number)));
    }

    /// A part of the number above.
    pub(super) fn part(&mut self, number: u64, what: &str) {
        self.line(&format!("      {:>11}  {what}", count(number)));
    }

    /// Lines that are made already, a table for instance.
    pub(super) fn lines(&mut self, lines: &str) {
        lines.lines().for_each(|line| self.line(line));
    }

    /// The text, every line ended.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}
