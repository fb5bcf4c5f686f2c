//! The Channel without a router: `handle` called as the function it is.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

fn summarise(subject: &str, payload: &Value) -> (String, Value) {
    let emission = handle(Event::new(subject, payload.to_string())).expect("a summary");
    assert_eq!(emission.content_type.as_deref(), Some("application/json"));
    (emission.subject, serde_json::from_slice(&emission.data).expect("JSON"))
}

#[test]
fn a_summary_has_what_the_payload_has() {
    let cases = [
        ("github.ping", json!({}), "github.ping.summary", json!({"event": "ping"})),
        (
            "github.ping",
            json!({"action": null, "sender": null}),
            "github.ping.summary",
            json!({"event": "ping"}),
        ),
        ("github.ping", json!({"action": ""}), "github.ping.summary", json!({"event": "ping", "action": ""})),
        (
            "github.issues",
            json!({"action": "opened", "issue": {"number": 7, "title": "It \"breaks\"", "state": "open", "user": {}},
                "repository": {"full_name": "a/b", "id": 1}, "sender": {"login": "c"}}),
            "github.issues.opened.summary",
            json!({"event": "issues", "action": "opened", "repository": "a/b", "sender": "c", "number": 7,
                "title": "It \"breaks\"", "state": "open"}),
        ),
        (
            "github.push",
            json!({"ref": "refs/heads/main", "commits": [{}, {}], "organization": {"login": "o"}}),
            "github.push.summary",
            json!({"event": "push", "ref": "refs/heads/main", "commits": 2, "organization": "o"}),
        ),
        (
            "github.release",
            json!({"action": "published", "release": {"tag_name": "v1"}}),
            "github.release.published.summary",
            json!({"event": "release", "action": "published", "tag": "v1"}),
        ),
        (
            "github.repository_dispatch",
            json!({"action": "on demand.*>"}),
            "github.repository_dispatch.on-demand---.summary",
            json!({"event": "repository_dispatch", "action": "on demand.*>"}),
        ),
    ];
    for (subject, payload, expected_subject, expected) in cases {
        assert_eq!(summarise(subject, &payload), (expected_subject.into(), expected), "{payload}");
    }
}

#[test]
fn what_can_never_be_summarised_is_rejected() {
    let cases: [(&str, &[u8]); 7] = [
        ("github.push", b""),
        ("github.push", b"payload=%7B%7D"),
        ("github.push", b"[]"),
        ("github.push", b"{\"action\": 1}"),
        ("github.push", b"\xff"),
        ("github.push.summary", b"{}"),
        ("gitlab.push", b"{}"),
    ];
    for (subject, data) in cases {
        let answer = handle(Event::new(subject, data));
        assert!(matches!(answer, Err(Failure::Reject(_))), "{subject} {data:?}");
    }
}

/// What every language makes of every example payload that GitHub's community collected.
const SUMMARIES: &str = include_str!("../../../cases/webhook-examples.txt");

/// `cargo xtask test` fetches the payloads and names them by `SAF_WEBHOOK_EXAMPLES`. Without that variable there is nothing to
/// check, and the test says so.
#[test]
fn every_known_payload_is_summarised() {
    let Some(path) = std::env::var_os("SAF_WEBHOOK_EXAMPLES").map(PathBuf::from) else {
        eprintln!("SAF_WEBHOOK_EXAMPLES is not set: run `cargo xtask test` to check the known payloads");
        return;
    };
    let text = std::fs::read(&path).expect("SAF_WEBHOOK_EXAMPLES names a file that can be read");
    let events: Vec<Value> = serde_json::from_slice(&text).expect("a list of events");
    let mut summaries = String::new();
    for event in &events {
        let name = event["name"].as_str().expect("a name");
        for payload in event["examples"].as_array().expect("examples") {
            let emission =
                handle(Event::new(format!("github.{name}"), payload.to_string())).expect("a summary");
            let data = String::from_utf8(emission.data).expect("text");
            writeln!(summaries, "{} {data}", emission.subject).expect("a String takes it");
        }
    }
    for (n, (line, expected)) in summaries.lines().zip(SUMMARIES.lines()).enumerate() {
        assert_eq!(line, expected, "line {} of webhook-examples.txt", n + 1);
    }
    assert_eq!(summaries.lines().count(), SUMMARIES.lines().count());
}
