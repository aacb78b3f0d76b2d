//! How a run shows itself: metrics, health, logs.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Bench, Cluster, Output, Process, get};

/// Where a run serves its metrics, read from its log.
fn address_of(process: &mut Process) -> String {
    let line = process.wait_for_line("metrics and health are served");
    line.rsplit_once("address=").expect("the address").1.trim().to_owned()
}

/// The samples of one family: the labels as they are written, and the value.
fn samples<'a>(metrics: &'a str, family: &str) -> Vec<(&'a str, f64)> {
    let of_family = metrics.lines().filter_map(|line| line.strip_prefix(family));
    let sample = |rest: &'a str| {
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| (labels, value.parse().expect("a number")))
    };
    of_family.filter_map(sample).collect()
}

/// The sum of a family's samples whose labels hold `label`.
fn sum(metrics: &str, family: &str, label: &str) -> f64 {
    let found = samples(metrics, family);
    found.iter().filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
}

#[test]
fn every_promised_family_has_its_values() {
    let (bench, cluster) = (Bench::with_prompts(10), Cluster::start(&["--cut-off-rate", "0.2"]));
    bench.write("bad.jsonl", "{}\n");
    let mut process = bench.start(&cluster, &["--follow", "prompts.jsonl", "prompts.jsonl", "bad.jsonl"]);
    let address = address_of(&mut process);
    let behind = |metrics: &str| {
        let lag = samples(metrics, "kafka_consumergroup_lag");
        lag.len() < 8 || lag.iter().any(|(_, value)| *value > 0.0)
    };
    let metrics = process.until("nothing is behind and all has been written", || {
        let (_, metrics) = get(&address, "/metrics")?;
        (!behind(&metrics) && sum(&metrics, "avr_outcomes_total", "") == 10.0).then_some(metrics)
    });
    let output = bench.output();
    for (family, label, value) in [
        ("avr_build_info", "version=", 1.0),
        ("avr_threads_taken_in_total", "recipe=\"stage1\"", 10.0),
        ("avr_threads_known_total", "recipe=\"stage1\"", 10.0),
        ("avr_inputs_rejected_total", "reason=\"no_known_columns\"", 1.0),
        ("avr_stage_steps_total", "stage=\"draft\"", 10.0),
        ("avr_stage_step_duration_seconds_count", "stage=\"improve\"", 10.0),
        ("avr_commit_steps_total", "stage=\"select\"", 10.0),
        ("avr_committed_outputs_total", "topic=\"scored\"", 10.0),
        ("avr_stage_in_flight", "", 0.0),
        ("avr_stage_buffered", "", 0.0),
        ("avr_stage_parked", "", 0.0),
        ("avr_bytes_in_flight", "", 0.0),
        ("avr_records_total", "", output.records().len() as f64),
        ("avr_model_in_flight", "", 0.0),
        ("avr_model_waiting", "", 0.0),
        ("avr_model_endpoint_up", "role=\"generator\"", 1.0),
    ] {
        assert!(!samples(&metrics, family).is_empty(), "{family}");
        assert_eq!(sum(&metrics, family, label), value, "{family} {label}");
    }
    for (reason, count) in Output::count(&output.outcomes(), "reason") {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(sum(&metrics, "avr_outcomes_total", &label), count as f64, "{reason}");
    }
    for (family, label) in [
        ("avr_commits_total", "result=\"done\""),
        ("avr_commit_duration_seconds_count", ""),
        ("avr_reward_gain_count", ""),
        ("avr_model_attempts_total", "role=\"reward\""),
        ("avr_model_answers_cut_off_total", ""),
        ("gen_ai_client_operation_duration_seconds_count", "gen_ai_operation_name=\"chat\""),
        ("gen_ai_client_token_usage_sum", "gen_ai_token_type=\"output\""),
        ("process_resident_memory_bytes", ""),
    ] {
        assert!(sum(&metrics, family, label) > 0.0, "{family} {label}");
    }
    process.terminate();
    process.finish().expect_code(130);
}

#[test]
fn a_run_is_alive_at_once_and_ready_when_the_models_are() {
    let (bench, cluster) = (Bench::with_prompts(2), Cluster::start(&["--loading-ms", "3000"]));
    let mut process = bench.start(&cluster, &["--follow", "prompts.jsonl"]);
    let address = address_of(&mut process);
    assert_eq!(get(&address, "/livez").expect("an answer").0, 200);
    let (status, reasons) = get(&address, "/readyz").expect("an answer");
    assert_eq!(status, 503, "{reasons}");
    assert!(reasons.contains("generator: ") && reasons.contains("reward: "), "{reasons}");
    process.until("the run is ready", || (get(&address, "/readyz")?.0 == 200).then_some(()));
    process.until("both threads have ended", || (bench.output().threads_so_far().len() == 2).then_some(()));
    process.terminate();
    process.finish().expect_code(130);
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let (bench, cluster) = (Bench::with_prompts(2), Cluster::start(&[]));
    let finished = bench.run(&cluster, &["--log-format", "json", "prompts.jsonl"]).expect_code(0);
    let lines: Vec<Value> = finished
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(lines.iter().any(|line| line["fields"]["message"] == "metrics and health are served"));
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
}

#[test]
fn a_port_that_is_taken_costs_the_metrics_and_nothing_else() {
    let (bench, cluster) = (Bench::with_prompts(2), Cluster::start(&[]));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let listen = format!("observe.listen={}", taken.local_addr().expect("an address"));
    let finished = bench.run(&cluster, &["--set", &listen, "prompts.jsonl"]).expect_code(0);
    finished.expect_error(&["WARN", "going on without metrics", "in use", "observe.listen"]);
    assert_eq!(bench.output().threads().len(), 2);
}

#[test]
fn every_request_to_a_model_says_which_process_sent_it() {
    let (bench, cluster) = (Bench::with_prompts(2), Cluster::start(&[]));
    let process = bench.start(&cluster, &["prompts.jsonl"]);
    let name = format!("avr/{} (process {})", env!("CARGO_PKG_VERSION"), process.id());
    process.finish().expect_code(0);
    let (senders, counts) = (cluster.senders(), cluster.counts());
    assert_eq!(senders.keys().collect::<Vec<_>>(), [&name]);
    let sent: Vec<(&String, u64)> = senders[&name].iter().map(|(id, sends)| (id, *sends)).collect();
    assert_eq!(sent, counts.by_id.iter().map(|(id, count)| (id, count.attempts)).collect::<Vec<_>>());
}
