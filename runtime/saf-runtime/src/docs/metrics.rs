//! `docs/metrics.md`, from the table of instruments; and that what is made for Prometheus and Grafana names nothing that is not in it,
//! and that each alert leads to its section.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use saf_telemetry::Kind;
use saf_telemetry::instruments::{ALL, LABELS};
use serde_json::Value;

use super::{cell, current, made_from};

const INTRODUCTION: &str = "\
# Metrics

The admin listener shows all of them on `/metrics` in Prometheus' format (with the token of `[admin]`, where there is one). With an
endpoint in `[telemetry]` the same instruments are also pushed by OTLP, under the names with dots; the keys are in
[configuration.md](configuration.md#telemetry).

Labels are bounded: what is configured, and words of closed sets. Never a subject, an id or a key.

- Alerts for Prometheus are in `deploy/prometheus/rules.yaml`, each tested; [when-it-fails.md](when-it-fails.md#alerts) says what to do at each.
- A dashboard for Grafana is in `deploy/grafana/saf.json`.
- Where an event's time went is in [traces](traces.md).

";

#[test]
fn the_page_of_the_metrics_is_current() {
    let mut page =
        made_from("the table of instruments in runtime/telemetry/src/instruments.rs") + INTRODUCTION;
    page.push_str("| on `/metrics` | by OTLP | kind | labels | what |\n| --- | --- | --- | --- | --- |\n");
    for row in ALL {
        let labels: Vec<_> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let unit = if row.unit.is_empty() { String::new() } else { format!(" in `{}`", row.unit) };
        let (exposed, name, kind, about) = (row.exposed(), row.name, row.kind, cell(row.about));
        writeln!(page, "| `{exposed}` | `{name}` | {kind}{unit} | {} | {about} |", labels.join(", "))
            .expect("a string");
    }
    page.push_str("\n## Labels\n\n| label | what it says |\n| --- | --- |\n");
    for (label, about) in LABELS {
        writeln!(page, "| `{label}` | {} |", cell(about)).expect("a string");
    }
    page.push_str("\n## Buckets\n\n| histogram | upper bounds, in seconds |\n| --- | --- |\n");
    for row in ALL.iter().filter(|row| row.kind == Kind::Histogram) {
        let bounds: Vec<_> = row.bounds.iter().map(ToString::to_string).collect();
        writeln!(page, "| `{}` | {} |", row.exposed(), bounds.join(", ")).expect("a string");
    }
    current("docs/metrics.md", &page);
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every name that `/metrics` may show, a histogram's parts among them.
fn shown() -> BTreeSet<String> {
    let parts = |row: &saf_telemetry::Instrument| match row.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|part| row.exposed() + part).to_vec(),
        Kind::Counter | Kind::Gauge => vec![row.exposed()],
    };
    ALL.iter().flat_map(parts).collect()
}

/// The metrics that an expression of Prometheus names.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("saf_") || word.starts_with("process_")).collect()
}

#[test]
fn the_dashboard_shows_nothing_that_is_not_measured() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/saf.json")).expect("JSON");
    let (shown, mut used) = (shown(), BTreeSet::new());
    let targets = dashboard["panels"].as_array().expect("panels").iter();
    for target in targets.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default()) {
        let expression = target["expr"].as_str().expect("an expression").to_owned();
        let named = names(&expression);
        assert!(!named.is_empty(), "{expression}");
        for name in named {
            assert!(shown.contains(name), "{name} is no metric: {expression}");
            used.insert(name.to_owned());
        }
    }
    let channels =
        names(dashboard["templating"].to_string().as_str()).into_iter().all(|name| shown.contains(name));
    assert!(channels && used.len() > 20, "{used:?}");
}

#[test]
fn every_alert_asks_for_what_is_measured_and_leads_to_its_section() {
    let (rules, tests, page) = (
        read("deploy/prometheus/rules.yaml"),
        read("deploy/prometheus/rules.test.yaml"),
        read("docs/when-it-fails.md"),
    );
    let shown = shown();
    let mut alerts = rules.split("- alert: ").skip(1).peekable();
    assert!(alerts.peek().is_some(), "there are alerts");
    for alert in alerts {
        let (name, body) = alert.split_once('\n').expect("lines");
        let expression =
            body.split_once("expr:").and_then(|(_, rest)| rest.split_once("labels:")).expect("both").0;
        for metric in names(expression) {
            assert!(shown.contains(metric), "{name}: {metric} is no metric");
        }
        let section = format!("runbook: docs/when-it-fails.md#{}\n", name.to_lowercase());
        assert!(alert.contains(&section), "{name} links to its section");
        assert!(page.contains(&format!("\n### {name}\n")), "docs/when-it-fails.md has no section {name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is not tested");
    }
}

#[test]
fn names_are_found_in_expressions() {
    let expression = r#"rate(saf_a_total{state="saf"}[5m]) / on (x) process_b > 0"#;
    assert_eq!(names(expression), ["saf_a_total", "process_b"]);
}
