//! What is stored of a post, and what a repeated one gets: on the real broker, through real sockets.

use saf_broker::Shared;
use saf_event::{Event, TraceContext};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::server::{Server, embedded, stream};

async fn stored(broker: &Shared, sequence: &Value) -> Event {
    let journal = broker.journal().expect("it stores");
    journal.get(&stream("events"), sequence.as_u64().expect("a sequence")).await.expect("it is there")
}

fn pairs(event: &Event) -> Vec<(&str, &str)> {
    event.headers.iter().map(|(n, v)| (&**n, &**v)).filter(|(n, _)| *n != "traceparent").collect()
}

#[tokio::test]
async fn the_first_two_calls_of_the_readme_work_as_typed() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker.clone(), "");
    let first = server.post("/api/event", &[], r#"{ "subject": "hello" }"#).await;
    assert_eq!(first.status, 202);
    assert_eq!((&first.json()["subject"], &first.json()["duplicate"]), (&json!("hello"), &json!(false)));

    let body = r#"{ "subject": "hello", "data": "Hello World", "id": "1" }"#;
    let once = server.post("/api/event", &[], body).await.json();
    let twice = server.post("/api/event", &[], body).await;
    assert_eq!((&once["id"], &once["duplicate"]), (&json!("1"), &json!(false)));
    assert_eq!(twice.status, 202);
    assert_eq!(
        twice.json(),
        json!({ "id": "1", "subject": "hello", "sequence": once["sequence"], "duplicate": true })
    );

    let event = stored(&broker, &once["sequence"]).await;
    assert_eq!(&event.data[..], br#""Hello World""#);
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
}

#[tokio::test]
async fn an_id_is_one_events_within_its_subject() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker, "");
    let post = async |body: &str| server.post("/api/event", &[], body).await;
    assert_eq!(post(r#"{"subject":"a","id":"1","data":1}"#).await.status, 202);
    let other = post(r#"{"subject":"a","id":"1","data":2}"#).await;
    assert_eq!((other.status, other.problem().as_str()), (422, "id-reused"));
    assert_eq!(other.json()["id"], "1");
    assert_eq!(post(r#"{"subject":"b","id":"1","data":2}"#).await.json()["duplicate"], false);
    assert_eq!(post(r#"{"subject":"a","id":"2","data":2}"#).await.json()["duplicate"], false);
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_event_and_may_be_sent_again() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker, "");
    let lines: Vec<_> =
        (0..500).map(|n| format!("{{\"subject\":\"s.{n}\",\"id\":\"{n}\",\"data\":{n}}}\n")).collect();
    let lines = lines.concat();
    let ndjson = [("content-type", "application/x-ndjson")];
    let first = server.post("/api/event", &ndjson, &lines).await;
    let again = server.post("/api/event", &ndjson, &lines).await;
    assert_eq!((first.status, again.status), (202, 202));
    let (first, again) = (first.json(), again.json());
    for n in 0..500 {
        assert_eq!((&first[n]["subject"], &first[n]["status"]), (&json!(format!("s.{n}")), &json!(202)));
        assert_eq!((&again[n]["sequence"], &again[n]["duplicate"]), (&first[n]["sequence"], &json!(true)));
    }

    let mixed = r#" [{"subject":"a","id":"1"}, {"subject":"a b"}, {"subject":"s.7","id":"7","data":8}, {"subject":"a","id":"1"}]"#;
    let answer = server.post("/api/event", &[], mixed).await;
    assert_eq!(answer.status, 207);
    let statuses: Vec<_> =
        answer.json().as_array().expect("an array").iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, [json!(202), json!(400), json!(422), json!(202)]);
    assert_eq!(answer.json()[3]["duplicate"], true);
}

#[tokio::test]
async fn a_raw_post_keeps_its_body_its_content_type_and_the_headers_that_are_asked_for() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(
        broker.clone(),
        "forward_headers = ['x-github-event']\nid_header = 'x-github-delivery'",
    );
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("x-github-event", "push"),
        ("x-github-delivery", "d-1"),
        ("user-agent", "hook"),
    ];
    let answer = server.post("/api/event/repo.push", &headers, "not JSON {").await.json();
    assert_eq!((&answer["id"], &answer["subject"]), (&json!("d-1"), &json!("repo.push")));
    let event = stored(&broker, &answer["sequence"]).await;
    assert_eq!(&event.data[..], b"not JSON {");
    assert_eq!(event.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    assert_eq!(pairs(&event), [("x-github-event", "push")]);
}

#[tokio::test]
async fn cloud_events_are_unique_by_source_and_id_in_each_mode() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker.clone(), "");
    let binary = async |source: &str| -> Answer {
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", source),
            ("ce-type", "com.example.made"),
        ];
        server.post("/api/event", &headers, "7").await
    };
    let first = binary("/a").await.json();
    assert_eq!((&first["subject"], &first["duplicate"]), (&json!("com.example.made"), &json!(false)));
    assert_eq!(binary("/b").await.json()["duplicate"], false);
    assert_eq!(binary("/a").await.json()["duplicate"], true);

    let structured = r#"{"specversion":"1.0","id":"1","source":"/a","type":"com.example.made","data":7}"#;
    let kind = [("content-type", "application/cloudevents+json")];
    let answer = server.post("/api/event", &kind, structured).await.json();
    assert_eq!((&answer["sequence"], &answer["duplicate"]), (&first["sequence"], &json!(true)));
    let kind = [("content-type", "application/cloudevents-batch+json")];
    let answer = server.post("/api/event", &kind, &format!("[{structured}]")).await.json();
    assert_eq!((&answer[0]["sequence"], &answer[0]["duplicate"]), (&first["sequence"], &json!(true)));

    let event = stored(&broker, &first["sequence"]).await;
    assert_eq!((event.id.as_str(), &event.data[..]), ("1", &b"7"[..]));
    let mut kept = pairs(&event);
    kept.sort_unstable();
    let expected =
        [("ce-id", "1"), ("ce-source", "/a"), ("ce-specversion", "1.0"), ("ce-type", "com.example.made")];
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn every_event_has_a_place_in_a_trace() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker.clone(), "");
    let traced = [("traceparent", PARENT), ("tracestate", "vendor=1")];
    let batch = server.post("/api/event", &traced, r#"[{"subject":"a"},{"subject":"b"}]"#).await.json();
    let alone = server.post("/api/event", &[], r#"{"subject":"a"}"#).await.json();
    let mut spans = Vec::new();
    for sequence in [&batch[0]["sequence"], &batch[1]["sequence"]] {
        let event = stored(&broker, sequence).await;
        assert_eq!(pairs(&event), [("tracestate", "vendor=1")]);
        spans.push(event.headers.get("traceparent").expect("always there").to_string());
    }
    // No span is recorded here, so what comes later is still the child of the sender's.
    assert_eq!(spans, [PARENT, PARENT]);
    let event = stored(&broker, &alone["sequence"]).await;
    let root =
        event.headers.get("traceparent").and_then(|t| TraceContext::parse(t)).expect("a trace of its own");
    assert_ne!(root.trace_id().to_string(), PARENT[3..35]);
}

#[tokio::test]
async fn a_post_may_name_its_stream() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker.clone(), "");
    let body = r#"{"subject":"a","data":1}"#;
    assert_eq!(server.post("/api/event?stream=other", &[], body).await.status, 202);
    let missing = server.post("/api/event?stream=nowhere", &[], body).await;
    assert_eq!((missing.status, missing.problem().as_str()), (404, "no-stream"));
    let journal = broker.journal().expect("it stores");
    assert_eq!(journal.summary(&stream("other")).await.expect("it is there").events, 1);
    assert_eq!(journal.summary(&stream("events")).await.expect("it is there").events, 0);
}

#[tokio::test]
async fn posts_of_many_connections_at_once_are_all_stored() {
    let (broker, _folder) = embedded().await;
    let server = Server::ingest(broker.clone(), "threads = 2");
    let posts = (0..200).map(|n| {
        let server = &server;
        async move { server.post("/api/event/many", &[("idempotency-key", &n.to_string())], "x").await.status }
    });
    assert!(futures::future::join_all(posts).await.into_iter().all(|status| status == 202));
    let journal = broker.journal().expect("it stores");
    assert_eq!(journal.summary(&stream("events")).await.expect("it is there").events, 200);
}
