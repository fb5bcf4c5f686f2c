//! `/metrics` and OTLP show the same instruments, which are those of the table, whatever happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use saf_telemetry::instruments::{ALL, LABELS};
use serde_json::json;

use crate::parts::{self, find_or_skip};
use crate::receiver::Receiver;
use crate::support::{BOTH, On, Router, Stage, signal, until};

/// A router on which everything happened that a metric counts: events in, done, failed, emitted, refused.
fn busy(stage: Stage) -> (Stage, Router) {
    let stage = stage.channel("echo", "echo", &["in"], "emit.subjects = [\"echo.>\"]").channel(
        "fail",
        "fail",
        &["bad"],
        "max_attempts = 1",
    );
    let router = stage.start();
    router.post(&json!({"subject": "in", "data": 1, "id": "secret-id"}));
    router.post_raw("bad", &[], "reject");
    router.post(&json!({"subjct": "wrong"}));
    until("the emission", || router.events("echo.>").pop());
    until("a dead letter", || router.dead_letters().pop());
    let seen = "saf_stream_events{stream=\"events\"} ";
    until("a look at the stream", || router.get("/metrics").body.contains(seen).then_some(()));
    (stage, router)
}

/// The names on a page of Prometheus' format, with their kinds.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn a_scrape_shows_the_instruments_of_the_table_and_no_other() {
    for on in BOTH {
        let (_stage, router) = busy(Stage::new(on));
        let page = router.get("/metrics").body;
        let table: BTreeMap<_, _> = ALL.iter().map(|row| (row.exposed(), row.kind.to_string())).collect();
        assert_eq!(families(&page), table, "{on:?}");
        let labels: BTreeSet<&str> = LABELS.iter().map(|(label, _)| *label).collect();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let inside = line
                .split_once('{')
                .and_then(|(_, rest)| rest.split_once('}'))
                .map_or("", |(inside, _)| inside);
            for label in inside.split("\",").filter_map(|pair| pair.split_once('=')).map(|(label, _)| label) {
                assert!(labels.contains(label) || label == "le", "{label}: {line}");
            }
            assert!(!line.contains("secret-id"), "{line}");
        }
        for (sample, at_least) in [
            ("saf_ingest_events_total{outcome=\"stored\"} ", 2.0),
            ("saf_ingest_events_total{outcome=\"refused\"} ", 1.0),
            ("saf_channel_attempts_total{channel=\"echo\",outcome=\"done\"} ", 1.0),
            ("saf_channel_attempts_total{channel=\"fail\",outcome=\"reject\"} ", 1.0),
            ("saf_channel_deliveries_total{channel=\"fail\",settlement=\"dead_letter\"} ", 1.0),
            ("saf_channel_dead_letters_total{channel=\"fail\"} ", 1.0),
            ("saf_channel_emissions_total{channel=\"echo\"} ", 1.0),
            ("saf_channel_fuel_total{channel=\"echo\"} ", 1.0),
            ("saf_channel_peak_memory_bytes{channel=\"echo\"} ", 65_536.0),
            ("saf_channel_instances_started_total{channel=\"echo\"} ", 1.0),
            ("saf_channel_queue_duration_seconds_count{channel=\"echo\"} ", 1.0),
            ("saf_channel_state{channel=\"echo\",state=\"running\"} ", 1.0),
            ("saf_broker_up{", 1.0),
            ("process_resident_memory_bytes ", 1_000_000.0),
            ("process_start_time_seconds ", 1.6e9),
            ("process_open_fds ", 5.0),
            ("process_threads ", 3.0),
        ] {
            let value =
                page.lines().find(|line| line.starts_with(sample)).and_then(|line| line.rsplit(' ').next());
            let value: f64 =
                value.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{sample}\n{page}"));
            assert!(value >= at_least, "{on:?}: {sample}{value}");
        }
    }
}

#[test]
fn prometheus_finds_nothing_to_say_against_the_page() {
    let Some(promtool) = find_or_skip("promtool", parts::PROMTOOL) else { return };
    let (_stage, router) = busy(Stage::new(On::Embedded));
    let page = router.get("/metrics").body;
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    check.stdin.take().expect("piped").write_all(page.as_bytes()).expect("reads");
    let output = check.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn what_is_pushed_is_what_is_scraped() {
    let receiver = Receiver::start();
    let text = format!("[telemetry]\nendpoint = {:?}\n[metrics]\ninterval = \"100ms\"\n", receiver.url);
    let (_stage, _router) = busy(Stage::new(On::Embedded).streams(&text));
    let table: BTreeMap<_, _> = ALL.iter().map(|row| (row.name.to_owned(), row.unit.to_owned())).collect();
    let pushed = || {
        let last = receiver.metrics().pop()?;
        let scopes = last.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        Some(
            scopes
                .flat_map(|scope| scope.metrics)
                .map(|metric| (metric.name, metric.unit))
                .collect::<BTreeMap<_, _>>(),
        )
    };
    until("every instrument", || pushed().filter(|pushed| *pushed == table));
}

#[test]
fn a_channel_that_is_gone_is_shown_no_more() {
    let (mut stage, router) = busy(Stage::new(On::Embedded));
    let shown = |channel: &str| {
        router.get("/metrics").body.contains(&format!("saf_channel_state{{channel=\"{channel}\""))
    };
    assert!(shown("fail") && shown("echo"));
    stage.channels = String::new();
    let stage = stage.channel("echo", "echo", &["in"], "emit.subjects = [\"echo.>\"]");
    fs::write(stage.folder.path().join("router.toml"), stage.config()).expect("writable");
    signal(router.pid(), "HUP");
    until("the Channel's end", || (!shown("fail")).then_some(()));
    assert!(shown("echo"));
}

#[test]
fn without_an_endpoint_nothing_is_said_of_sending() {
    let (_stage, router) = busy(Stage::new(On::Embedded));
    assert_eq!(router.log_lines(&["OTLP"]), Vec::<String>::new());
    assert!(router.metric("saf_traces_spans_total", &[]) == 0.0);
}
