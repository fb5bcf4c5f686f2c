//! A collector that is away, refuses, or does not answer holds up nothing.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::receiver::Receiver;
use crate::support::{On, Stage, free_port, until};
use crate::traces::traced;

fn flows(stage: Stage, what: &str) {
    let stage = stage.channel("sink", "sink", &["in"], "");
    let router = stage.start();
    for _ in 0..50 {
        assert_eq!(router.post_raw("in", &[], "x").status, 202, "{what}");
    }
    router.wait_attempts("sink", "done", 50);
    let asked = Instant::now();
    assert!(router.terminate().success(), "{what}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{what}: ended after {:?}", asked.elapsed());
}

#[test]
fn events_flow_and_the_router_ends_while_the_collector_is_away_or_silent() {
    flows(traced(On::Embedded, &format!("http://127.0.0.1:{}", free_port())), "away");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    flows(traced(On::Embedded, &url), "silent: it accepts, and never answers");
}

#[test]
fn what_is_lost_is_counted_and_said_once() {
    let receiver = Receiver::start();
    receiver.refuse(true);
    let stage = traced(On::Embedded, &receiver.url)
        .streams("queue = 8\n[metrics]\npush = false\n")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
        .channel("sink", "sink", &["in"], "");
    let router = stage.start();
    let batch: Vec<_> = (0..100).map(|n| serde_json::json!({"subject": "in", "id": n.to_string()})).collect();
    router.post(&serde_json::Value::Array(batch));
    let count = |result: &str| router.metric("saf_traces_spans_total", &[&format!("result=\"{result}\"")]);
    until("spans that found no room", || (count("dropped") > 0.0).then_some(()));
    until("spans that were not taken", || (count("failed") > 0.0).then_some(()));
    assert!(count("sent") == 0.0);
    assert_eq!(router.log_lines(&["does not take what is sent"]).len(), 1, "{}", router.log());
    receiver.refuse(false);
    until("a span that is taken", || {
        router.post_raw("in", &[], "x");
        (count("sent") > 0.0).then_some(())
    });
    assert_eq!(router.log_lines(&["takes what is sent again"]).len(), 1, "{}", router.log());
}

#[test]
fn what_cannot_be_used_is_refused_at_the_start() {
    let stage = Stage::new(On::Embedded).streams("[telemetry]\nendpoint = \"collector:4318\"\n");
    let (status, log) = stage.start_that_fails();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("write one such as"), "{log}");
    let stage = Stage::new(On::Embedded)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (status, log) = stage.start_that_fails();
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("only http/protobuf"), "{log}");
}
