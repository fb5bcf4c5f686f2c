//! Which status each thing that goes wrong has, over the wire.

use std::time::Duration;

use crate::double::Double;
use crate::server::Server;
use saf_broker::{Health, PublishError, Receipt, Refusal};
use saf_http::Verdict;
use serde_json::{Value, json};

type Pairs = &'static [(&'static str, &'static str)];

const HELLO: &str = r#"{"subject":"hello","id":"7"}"#;

#[tokio::test]
async fn what_the_broker_says_becomes_a_problem() {
    let cases = [
        (
            PublishError::Unavailable { retry_after: Duration::from_secs(3) },
            503,
            "unavailable",
            json!(false),
            Some("3"),
        ),
        (
            PublishError::Unknown { waited: Duration::from_secs(5) },
            503,
            "unknown",
            json!("unknown"),
            Some("1"),
        ),
        (PublishError::Full { limit: "max_bytes".into() }, 507, "full", json!(false), None),
        (Refusal::TooLarge { size: 9, limit: 8 }.into(), 413, "event-too-large", Value::Null, None),
        (Refusal::NoStream("nowhere".into()).into(), 404, "no-stream", Value::Null, None),
        (Refusal::Broker("no".into()).into(), 400, "refused", Value::Null, None),
    ];
    for (error, status, problem, stored, retry_after) in cases {
        let server = Server::ingest(Double::answering(Err(error)), "");
        let answer = server.post("/api/event", &[], HELLO).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem));
        assert_eq!(
            (&answer.json()["stored"], answer.header("retry-after")),
            (&stored, retry_after),
            "{problem}"
        );
        assert_eq!(answer.json()["id"], "7", "{problem}");

        let answer = server.post("/api/event", &[], &format!("[{HELLO},{HELLO}]")).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, retry_after), "{problem}");
        assert_eq!(answer.json()[1]["stored"], stored, "{problem}");
        let answer = server.post("/api/event", &[], &format!("[{HELLO},7]")).await;
        assert_eq!(answer.status, if status == 400 { 400 } else { 207 }, "{problem}");
    }
}

#[tokio::test]
async fn an_id_that_was_made_is_told_when_the_event_may_be_stored() {
    let server = Server::ingest(Double::answering(Err(PublishError::Unknown { waited: Duration::ZERO })), "");
    let answer = server.post("/api/event", &[], r#"{"subject":"hello"}"#).await;
    assert_eq!(answer.json()["id"].as_str().map(str::len), Some(36));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_becomes_a_problem() {
    let server = Server::ingest(Double::taking(), "max_batch = 2");
    const JSON: (&str, &str) = ("content-type", "application/json");
    let cases: [(&str, Pairs, &str, u16, &str); 16] = [
        ("/api/event", &[], "", 400, "malformed-body"),
        ("/api/event", &[], "{", 400, "malformed-body"),
        ("/api/event", &[], "{}", 400, "invalid-event"),
        ("/api/event", &[], r#"{"subject":"a","colour":1}"#, 400, "invalid-event"),
        ("/api/event", &[], r#"{"subject":"a.>"}"#, 400, "invalid-event"),
        ("/api/event/", &[], "", 400, "invalid-event"),
        ("/api/event/$JS.API", &[], "", 400, "invalid-event"),
        ("/api/event/a", &[("idempotency-key", "")], "", 400, "invalid-event"),
        ("/api/event?steam=other", &[], HELLO, 400, "invalid-request"),
        ("/api/event?stream=NO", &[], HELLO, 400, "invalid-request"),
        (
            "/api/event",
            &[("content-type", "application/x-www-form-urlencoded")],
            HELLO,
            415,
            "unsupported-media-type",
        ),
        (
            "/api/event",
            &[("content-type", "application/cloudevents+avro")],
            HELLO,
            415,
            "unsupported-media-type",
        ),
        ("/api/event", &[JSON, ("content-encoding", "gzip")], HELLO, 415, "unsupported-encoding"),
        ("/api/event/a", &[("content-encoding", "br")], HELLO, 415, "unsupported-encoding"),
        ("/api/event", &[("origin", "http://page.example")], HELLO, 403, "forbidden"),
        ("/api/event", &[], r#"[{"subject":"a"},{"subject":"a"},{"subject":"a"}]"#, 413, "batch-too-large"),
    ];
    for (path, headers, body, status, problem) in cases {
        let answer = server.post(path, headers, body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (status, problem),
            "{path} {headers:?} {body}"
        );
    }
    let form =
        server.post("/api/event", &[("content-type", "application/x-www-form-urlencoded")], HELLO).await;
    assert!(form.json()["detail"].as_str().is_some_and(|d| d.contains("Content-Type: application/json")));
    let key = server.post("/api/event", &[], r#"{"subject":"a","colour":1}"#).await;
    assert!(key.json()["detail"].as_str().is_some_and(|d| d.contains("colour")));
}

#[tokio::test]
async fn with_tokens_a_post_needs_one_and_health_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "open sesame\n").expect("written");
    let server = Server::ingest(Double::taking(), &format!("tokens = [{{ file = {path:?} }}]"));
    for (headers, status) in [
        ([].as_slice(), 401),
        (&[("authorization", "Bearer wrong")], 401),
        (&[("authorization", "Bearer open sesame")], 202),
        (&[("authorization", "Bearer open sesame"), ("origin", "http://page.example")], 202),
    ] {
        for path in ["/api/event", "/api/event/hello"] {
            let answer = server.post(path, headers, HELLO).await;
            assert_eq!(answer.status, status, "{path} {headers:?}");
            assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
        }
    }
    assert_eq!(server.send("GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.status, 200);
    assert_eq!(server.send("GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn readiness_is_the_brokers_and_the_callers() {
    const READYZ: &str = "GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n";
    let down = Health::Down { reason: "no route to nats".into() };
    for (verdict, health, status, ready, degraded) in [
        (Verdict::Ready, Health::Up, 200, true, false),
        (Verdict::Degraded, Health::Up, 200, true, true),
        (Verdict::NotReady, Health::Up, 503, false, false),
        (Verdict::Ready, down, 503, false, false),
    ] {
        let double = Double::taking();
        double.health.send_replace(health.clone());
        let server = Server::ingest_when(double, "", verdict);
        let answer = server.send(READYZ).await;
        let body = answer.json();
        assert_eq!(answer.status, status, "{body}");
        assert_eq!((&body["ready"], &body["degraded"]), (&json!(ready), &json!(degraded)));
        assert_eq!(body["channels"], json!({ "printer": "running" }));
        assert_eq!(
            (&body["broker"]["kind"], &body["broker"]["durability"]),
            (&json!("double"), &json!("synced"))
        );
        assert_eq!(body["broker"]["up"], health == Health::Up);
        assert_eq!(server.send("GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.status, 200);
    }
}

#[tokio::test]
async fn events_are_counted_by_what_became_of_them() {
    let server = Server::ingest(Double::answering(Ok(Receipt { sequence: 4, duplicate: true })), "");
    server.post("/api/event", &[], HELLO).await;
    server.post("/api/event", &[], &format!("[{HELLO},1,2,{HELLO}]")).await;
    server.post("/api/event", &[], "{").await;
    let metrics = server.metrics();
    for line in [
        r#"saf_ingest_events_total{outcome="duplicate",otel_scope_name="saf"} 3"#,
        r#"saf_ingest_events_total{outcome="refused",otel_scope_name="saf"} 3"#,
        r#"saf_ingest_duration_seconds_count{outcome="mixed",otel_scope_name="saf"} 1"#,
        r#"saf_ingest_duration_seconds_count{outcome="refused",otel_scope_name="saf"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
