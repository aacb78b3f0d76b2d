//! What the operating system says of this process, under the names that every Prometheus client uses.
//!
//! Read from `/proc` at each scrape; where there is none, these metrics are absent. Own code because the
//! collector of the prometheus crate counts processor time in whole seconds, too coarse for what we measure,
//! and brings a second copy of a system library.

use std::{fs, path::Path};

use prometheus::{
    Counter, Gauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{MetricInfo, MetricKind};

/// Ticks a second of the times in `/proc`: fixed by the kernel's interface to programs.
const TICKS_A_SECOND: f64 = 100.0;

/// The metrics of the process, none with labels, in the order in which they are read.
pub const PROCESS_TABLE: &[MetricInfo] = &[
    row("process_cpu_seconds_total", MetricKind::Counter, "Processor time used, user and system."),
    row("process_resident_memory_bytes", MetricKind::Gauge, "Memory in use."),
    row("process_open_fds", MetricKind::Gauge, "Open file descriptors."),
    row("process_max_fds", MetricKind::Gauge, "The most file descriptors that may be open."),
    row("process_start_time_seconds", MetricKind::Gauge, "When the process began, since the Unix epoch."),
];

const fn row(name: &'static str, kind: MetricKind, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind, help, labels: &[] }
}

/// Reads the process' metrics whenever they are gathered.
pub(super) struct ProcessCollector {
    descriptions: Vec<Desc>,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let descriptions = PROCESS_TABLE.iter().map(|row| {
            Desc::new(row.name.to_owned(), row.help.to_owned(), vec![], Default::default())
                .expect("the table's names are valid")
        });
        Self { descriptions: descriptions.collect() }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = Reading::of_this_process().map(|reading| reading.values()).unwrap_or_default();
        PROCESS_TABLE.iter().zip(values).flat_map(|(row, value)| family(row, value)).collect()
    }
}

/// A metric made for one scrape, so that scrapes at the same time share nothing.
fn family(row: &MetricInfo, value: f64) -> Vec<MetricFamily> {
    let options = Opts::new(row.name, row.help);
    match row.kind {
        MetricKind::Counter => Counter::with_opts(options).map(|counter| {
            counter.inc_by(value);
            counter.collect()
        }),
        MetricKind::Gauge | MetricKind::Histogram => Gauge::with_opts(options).map(|gauge| {
            gauge.set(value);
            gauge.collect()
        }),
    }
    .unwrap_or_default()
}

/// One look at the process.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    start_seconds: f64,
}

impl Reading {
    fn of_this_process() -> Option<Self> {
        let process = Path::new("/proc/self");
        let read = |path: &Path| fs::read_to_string(path).ok();
        let open_fds = fs::read_dir(process.join("fd")).ok()?.count();
        Self::parse(
            &read(&process.join("stat"))?,
            &read(&process.join("status"))?,
            &read(&process.join("limits"))?,
            &read(Path::new("/proc/stat"))?,
            open_fds,
        )
    }

    /// See proc(5) for the files. Fields of `stat` are counted after the program's name in parentheses, which
    /// may hold anything.
    fn parse(stat: &str, status: &str, limits: &str, system: &str, open_fds: usize) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field)?.parse::<f64>().ok();
        let boot_seconds = number_after(system, "btime")?;
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_A_SECOND,
            resident_bytes: number_after(status, "VmRSS:")? * 1024.0,
            open_fds: open_fds as f64,
            max_fds: number_after(limits, "Max open files").unwrap_or(f64::INFINITY),
            start_seconds: boot_seconds + ticks(19)? / TICKS_A_SECOND,
        })
    }

    fn values(&self) -> Vec<f64> {
        vec![self.cpu_seconds, self.resident_bytes, self.open_fds, self.max_fds, self.start_seconds]
    }
}

/// The number that follows `name` at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "41 (a )b) S 1 41 41 0 -1 4194304 90 0 0 0 1250 250 0 0 20 0 4 0 123400 9 7 1 0 0";
    const STATUS: &str = "Name:\ta )b\nVmHWM:\t  900 kB\nVmRSS:\t     512 kB\n";
    const LIMITS: &str = "Limit   Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
    const SYSTEM: &str = "cpu  1 2 3\nbtime 1700000000\n";

    #[test]
    fn reads_what_the_kernel_writes() {
        let expected = Reading {
            cpu_seconds: 15.0,
            resident_bytes: 524_288.0,
            open_fds: 12.0,
            max_fds: 1024.0,
            start_seconds: 1_700_001_234.0,
        };
        assert_eq!(Reading::parse(STAT, STATUS, LIMITS, SYSTEM, 12), Some(expected));
    }

    #[test]
    fn no_limit_is_infinite_and_nonsense_is_nothing() {
        let limits = LIMITS.replace("1024", "unlimited");
        let reading = Reading::parse(STAT, STATUS, &limits, SYSTEM, 12).unwrap();
        assert_eq!(reading.max_fds, f64::INFINITY);
        assert_eq!(Reading::parse("", STATUS, LIMITS, SYSTEM, 12), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_there() {
        let names: Vec<String> =
            ProcessCollector::new().collect().iter().map(|family| family.name().to_owned()).collect();
        let table: Vec<&str> = PROCESS_TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names, table);
    }
}
