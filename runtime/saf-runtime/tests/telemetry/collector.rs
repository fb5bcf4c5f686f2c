//! A real OpenTelemetry collector takes what the router sends: traces and metrics, read back from its file.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::parts::{Running, find_or_skip};
use crate::spans::Span;
use crate::support::{BOTH, free_port, until};
use crate::traces::{assert_two_channels, post_traced, traced};

const HOW: &str = "build one: cargo xtask deploy-tools otelcol";

#[test]
fn a_real_collector_gets_one_trace_through_two_channels_and_every_metric() {
    let Some(program) = find_or_skip("otelcol", HOW) else { return };
    for on in BOTH {
        let port = free_port();
        let stage = traced(on, &format!("http://127.0.0.1:{port}"))
            .streams("[metrics]\ninterval = \"200ms\"\n")
            .channel("one", "echo", &["hello"], "emit.subjects = [\"echo.>\"]")
            .channel("two", "sink", &["echo.>"], "");
        let folder = stage.folder.path();
        let (traces, metrics) = (folder.join("traces.json"), folder.join("metrics.json"));
        let file = |path: &std::path::Path| format!("{{ path: {}, flush_interval: 100ms }}", path.display());
        let config = format!(
            "receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: \"127.0.0.1:{port}\" }} }} }} }}\nexporters:\n  file/traces: {}\n  \
             file/metrics: {}\nservice:\n  telemetry: {{ metrics: {{ level: none }} }}\n  pipelines:\n    traces: {{ receivers: [otlp], \
             exporters: [file/traces] }}\n    metrics: {{ receivers: [otlp], exporters: [file/metrics] }}\n",
            file(&traces),
            file(&metrics)
        );
        fs::write(folder.join("otelcol.yaml"), config).expect("writable");
        let config = format!("--config={}", folder.join("otelcol.yaml").display());
        let _collector = Running::start(Command::new(&program).arg(config));
        until("the collector", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let router = stage.start();
        post_traced(&router);
        let lines = |path: &std::path::Path| -> Vec<Value> {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let spans = until("five spans", || {
            let spans: Vec<_> = lines(&traces).iter().flat_map(Span::of_json).collect();
            (spans.len() >= 5).then_some(spans)
        });
        let digest =
            |name| router.channel(name)["component"]["digest"].as_str().expect("a digest").to_owned();
        assert_two_channels(&spans, [&digest("one"), &digest("two")]);
        until("metrics", || {
            let text = fs::read_to_string(&metrics).unwrap_or_default();
            (text.contains("saf.channel.attempts") && text.contains("process.cpu")).then_some(())
        });
    }
}
