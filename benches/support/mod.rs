//! What benchmarks share: their options, and what the kernel says of the process.

use std::{fs, str::FromStr};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The kernel's `USER_HZ`, which is 100 on every architecture that Rust's standard library supports on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The value behind `--name` on the command line, if it is there.
pub(crate) fn option<T: FromStr>(name: &str) -> Result<Option<T>, Error> {
    let flag = format!("--{name}");
    let mut arguments = std::env::args().skip_while(|argument| *argument != flag).skip(1);
    let Some(text) = arguments.next() else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{flag} {text}: not of the right kind").into())
}

/// User and system time of this process; the fields behind the parenthesis of `/proc/self/stat`.
pub(crate) fn cpu_seconds() -> Result<f64, Error> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = text.rsplit_once(')').ok_or("no process name in /proc/self/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// The most memory this process ever had resident.
pub(crate) fn peak_mib() -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? >> 10)
}
