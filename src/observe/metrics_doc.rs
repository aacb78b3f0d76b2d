//! The documentation of the metrics, made from the table, and the rules that the table keeps.

use std::fmt::Write;

use super::{METRIC_TABLE, MetricInfo, MetricKind, process::PROCESS_TABLE};

const INTRODUCTION: &str = "# Metrics

Every metric of a running `avr`, as `http://127.0.0.1:9464/metrics` shows them. This page is made from the
table in `src/observe/metrics.rs`; `UPDATE_DOCS=1 cargo test metrics_doc` writes it anew.

Model calls have the OpenTelemetry GenAI names in Prometheus spelling, lag has the name that existing Kafka
dashboards look for, and the process has the names of every Prometheus client; all else begins with `avr_`.
Counters begin at 0 with the process. A series appears once something was counted in it.

| Metric | Type | Labels | What it tells |
|---|---|---|---|
";

/// The text of `docs/METRICS.md`.
pub fn metrics_markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    for row in all() {
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind(row.kind), labels.join(", "));
        // Writing to memory does not fail.
        let _ = writeln!(text, "| `{}` | {kind} | {labels} | {} |", row.name, row.help);
    }
    text
}

fn all() -> impl Iterator<Item = &'static MetricInfo> {
    METRIC_TABLE.iter().chain(PROCESS_TABLE)
}

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn in_repository(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }

    #[test]
    fn the_page_is_the_table() {
        let page = in_repository("docs/METRICS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&page, metrics_markdown()).unwrap();
        }
        let written = fs::read_to_string(&page).unwrap_or_default();
        let current = written == metrics_markdown();
        assert!(current, "docs/METRICS.md is out of date: run `UPDATE_DOCS=1 cargo test metrics_doc`");
    }

    #[test]
    fn names_follow_the_conventions() {
        const UNITS_TO_AVOID: [&str; 9] =
            ["ms", "millis", "milliseconds", "us", "minutes", "hours", "kb", "kilobytes", "percent"];
        for row in all() {
            let MetricInfo { name, kind, help, labels } = row;
            let prefixes = ["avr_", "gen_ai_client_", "kafka_", "process_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)), "{name}: the prefix");
            assert_eq!(
                name.ends_with("_total"),
                *kind == MetricKind::Counter,
                "{name}: _total is for counters"
            );
            let base_units = name.split('_').all(|word| !UNITS_TO_AVOID.contains(&word));
            assert!(base_units, "{name}: seconds, bytes and ratios are the units");
            let timed = name.contains("duration");
            assert!(!timed || name.ends_with("_duration_seconds"), "{name}: a duration is in seconds");
            assert!(help.ends_with('.') && !help.contains('|'), "{name}: the help is a sentence for a table");
            let word =
                |text: &str| text.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit());
            assert!(
                labels.iter().chain([name]).all(|text| word(text)),
                "{name}: lower case with underscores"
            );
        }
    }

    /// The names of all series of the table, and of their labels.
    fn known_words() -> BTreeSet<String> {
        let mut words: BTreeSet<String> = all().map(|row| row.name.to_owned()).collect();
        for row in all() {
            words.extend(row.labels.iter().map(|&label| label.to_owned()));
            if row.kind == MetricKind::Histogram {
                words.extend(["_bucket", "_sum", "_count"].map(|suffix| row.name.to_owned() + suffix));
            }
        }
        words
    }

    #[test]
    fn dashboards_and_alerts_use_metrics_that_exist() {
        let pattern = regex::Regex::new(r"\b(?:avr|gen_ai|kafka|process)_[a-z0-9_]+").unwrap();
        let known = known_words();
        for file in ["prometheus/prometheus.yml", "prometheus/alerts.yml", "grafana/avr.json"] {
            let text = fs::read_to_string(in_repository("deploy").join(file)).unwrap();
            for name in pattern.find_iter(&text) {
                assert!(
                    known.contains(name.as_str()),
                    "deploy/{file}: {} is not in the table",
                    name.as_str()
                );
            }
        }
    }

    #[test]
    fn the_dashboard_is_json_with_panels_that_ask_something() {
        let text = fs::read_to_string(in_repository("deploy/grafana/avr.json")).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        let panels = dashboard["panels"].as_array().unwrap();
        let mut ids = BTreeSet::new();
        for panel in panels {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "ids are unique: {panel}");
            let asks = panel["type"] == "row" || !panel["targets"][0]["expr"].as_str().unwrap().is_empty();
            assert!(asks, "{panel}");
        }
    }
}
