//! What no file may be or hold.

use regex::Regex;

use super::sources::rust;

const MOST_LINES: usize = 500;

/// Files that nobody reads in one go.
pub(crate) fn long_files() -> Vec<String> {
    let mut complaints = Vec::new();
    for source in rust(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            complaints.push(format!(
                "{}: {lines} lines, {MOST_LINES} at most: split it, one subject a file",
                source.place(MOST_LINES + 1)
            ));
        }
    }
    complaints
}

/// A pattern, and what to do where it is found.
struct Rule {
    pattern: &'static str,
    /// Whether comments and tests are read, too.
    everywhere: bool,
    advice: &'static str,
}

const RULES: [Rule; 6] = [
    Rule {
        pattern: r"#!?\[allow\b",
        everywhere: true,
        advice: "write #[expect(…, reason = \"…\")], or do without",
    },
    Rule { pattern: r"\b(TODO|FIXME|XXX)\b", everywhere: true, advice: "do it, or file an issue" },
    Rule {
        pattern: r"\.unwrap(_err)?\(\)",
        everywhere: false,
        advice: "return an error that says what to do, or expect(\"why it cannot fail\")",
    },
    Rule {
        pattern: r"\b(todo|unimplemented|dbg|panic)!",
        everywhere: false,
        advice: "bad input is an outcome; return it",
    },
    Rule {
        pattern: r"\be?print(ln)?!",
        everywhere: false,
        advice: "log by tracing, or hand the text to whoever prints",
    },
    Rule {
        pattern: r"\bunbounded\w*\(|\bstd::sync::mpsc::channel\b",
        everywhere: false,
        advice: "give the queue a bound with a name",
    },
];

/// Places where a rule is broken.
pub(crate) fn forbidden_words() -> Vec<String> {
    let rules = RULES.map(|rule| (Regex::new(rule.pattern).unwrap(), rule));
    let mut complaints = Vec::new();
    // This folder names what it forbids.
    for source in rust(&["src", "tests", "benches"]).iter().filter(|source| !source.is_in("tests/tidy")) {
        for (pattern, rule) in &rules {
            let text = if rule.everywhere { &source.text } else { &source.code };
            for (index, line) in text.lines().enumerate() {
                if let Some(found) = pattern.find(line) {
                    complaints.push(format!(
                        "{}: {}: {}",
                        source.place(index + 1),
                        found.as_str(),
                        rule.advice
                    ));
                }
            }
        }
    }
    complaints
}
