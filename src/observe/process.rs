//! What the operating system says of this process, under the names that every Prometheus client uses.
//!
//! Read from `/proc` at each scrape; where there is none, these metrics are absent. The collector of the prometheus crate
//! counts processor time in whole seconds, too coarse for what we measure.

use prometheus::{
    Counter, Gauge, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::{MetricInfo, MetricKind};

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
        let values = values().into_iter().flatten();
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

/// One look at the process; none where it cannot be read.
#[cfg(target_os = "linux")]
fn values() -> Option<[f64; 5]> {
    use procfs::process::{LimitValue, Process};

    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks_per_second = procfs::ticks_per_second() as f64;
    let max_fds = match process.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Unlimited => f64::INFINITY,
        LimitValue::Value(most) => most as f64,
    };
    Some([
        (stat.utime + stat.stime) as f64 / ticks_per_second,
        (stat.rss * procfs::page_size()) as f64,
        process.fd_count().ok()? as f64,
        max_fds,
        procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks_per_second,
    ])
}

#[cfg(not(target_os = "linux"))]
fn values() -> Option<[f64; 5]> {
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        let names: Vec<String> =
            ProcessCollector::new().collect().iter().map(|family| family.name().to_owned()).collect();
        let table: Vec<&str> = PROCESS_TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names, table);
    }

    #[test]
    fn values_are_in_the_units_of_their_names() {
        let [cpu_seconds, resident_bytes, open_fds, max_fds, start_seconds] = values().unwrap();
        let now_seconds = crate::clock::now_ms() as f64 / 1000.0;
        assert!((1e6..1e12).contains(&resident_bytes), "{resident_bytes}");
        assert!(open_fds >= 3.0 && max_fds >= open_fds, "{open_fds} of {max_fds}");
        assert!(start_seconds <= now_seconds + 10.0, "{start_seconds} before {now_seconds}");
        let threads = std::thread::available_parallelism().unwrap().get() as f64;
        assert!(cpu_seconds <= (now_seconds - start_seconds + 10.0) * threads, "{cpu_seconds}");
    }
}
