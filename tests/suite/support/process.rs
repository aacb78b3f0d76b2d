//! One `avr` process: its lines as they come, signals, and its end.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{self, JoinHandle},
};

use serde_json::Value;

use super::{PATIENCE, look_until};

/// A running process; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Lines of standard error. A thread reads them, so that a full pipe never stops the process.
    lines: Receiver<String>,
    /// The lines that a test has waited past.
    seen: String,
    stdout: Option<JoinHandle<String>>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The exit code; none where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut stdout = child.stdout.take().expect("piped");
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).expect("UTF-8");
            text
        });
        Self { child, lines, seen: String::new(), stdout: Some(stdout) }
    }

    /// Waits for a line of standard error that holds `part`.
    pub(crate) fn wait_for_line(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no line with {part:?} came after:\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Looks until something is there that this process is to bring about.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut is_running = true;
        let seen = look_until(|| {
            // What it did before its end counts, so it is looked for once more afterwards.
            let was_running = std::mem::replace(&mut is_running, self.is_running());
            look().map(Some).or((!was_running).then_some(None))
        });
        seen.flatten().unwrap_or_else(|| {
            let end = if is_running { "too long" } else { "to its end" };
            panic!("waited {end} until {what}; the process said:\n{}", self.said())
        })
    }

    /// Standard error so far.
    pub(crate) fn said(&mut self) -> &str {
        self.lines.try_iter().for_each(|line| self.seen.extend([&line, "\n"]));
        &self.seen
    }

    /// The process' number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("taken once")
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its own child").is_none()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    }

    /// SIGKILL; whether the process was running.
    pub(crate) fn kill(mut self) -> bool {
        let was_running = self.is_running();
        self.child.kill().expect("its own child");
        self.child.wait().expect("its own child");
        was_running
    }

    /// As [`Self::finish`], for a process that is to end soon.
    #[track_caller]
    pub(crate) fn finish_soon(mut self) -> Finished {
        let ended = look_until(|| (!self.is_running()).then_some(()));
        assert!(ended.is_some(), "it does not end; it said:\n{}", self.said());
        self.finish()
    }

    /// Waits for its end. Standard input ends before.
    pub(crate) fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let stdout = self.stdout.take().expect("finished once").join().expect("UTF-8");
        let status: ExitStatus = self.child.wait().expect("its own child");
        let mut stderr = std::mem::take(&mut self.seen);
        self.lines.iter().for_each(|line| stderr.extend([&line, "\n"]));
        Finished { code: status.code(), stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard error holds all of `parts`.
    #[track_caller]
    pub(crate) fn expect_error(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
    }

    /// The summary of a run with `--json`.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{}", self.stdout))
    }
}
