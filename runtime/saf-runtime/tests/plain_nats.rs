//! The router is a good neighbour on NATS: what any client publishes into the stream is handled, what Channels emit can be read by
//! any client, and stream and consumers are what the README says.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use async_nats::HeaderMap;
use serde_json::json;
use support::peer::Peer;
use support::{On, Stage, until};

/// A burst of a peer; ten times as many with `SAF_LONG=1`.
const BURST_EVENTS: usize = 20_000;

#[test]
fn a_burst_of_a_peer_is_handled_to_the_last_event() {
    let count = if std::env::var_os("SAF_LONG").is_some_and(|long| long == "1") {
        10 * BURST_EVENTS
    } else {
        BURST_EVENTS
    };
    let stage = Stage::new(On::JetStream).channel("sink", "sink", &["work.>"], "");
    let router = stage.start();
    let peer = Peer::connect(stage.nats.as_ref().expect("a server"));
    peer.burst("events.work.now", count);
    router.wait_attempts("sink", "done", count);
    stage.settled(&router, "sink");
    assert_eq!(router.attempts("sink", "done"), count, "each was handled once");
    let consumer = peer.consumer("events", "sink");
    assert_eq!((consumer.ack_floor.stream_sequence, consumer.num_pending), (count as u64, 0));
}

#[test]
fn a_raw_message_is_an_event_and_an_emission_is_a_message() {
    let stage = Stage::new(On::JetStream).channel("echo", "echo", &["in.>"], "emit.subjects = [\"echo.>\"]");
    let router = stage.start();
    let peer = Peer::connect(stage.nats.as_ref().expect("a server"));
    let mut subscriber = peer.subscribe("events.echo.>");

    // No header of ours, no header at all, and no text.
    let raw = [0_u8, 159, 146, 150, b'\r', b'\n'];
    let sequence = peer.publish("events.in.raw", None, &raw);
    let message = peer.next(&mut subscriber);
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("events.echo.in.raw", &raw[..]));
    let headers = message.headers.expect("ours");
    let text = |name| headers.get(name).map(|value| value.as_str().to_owned());
    let here = format!("events:{sequence}");
    assert_eq!(
        (text("Saf-Parent"), text("Saf-Root"), text("Saf-Hops")),
        (Some(here.clone()), Some(here), Some("1".to_owned()))
    );

    // A peer's own id and content type keep their meaning.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "order-7");
    headers.insert("Content-Type", "application/json");
    peer.publish("events.in.json", Some(headers), br#"{"a": 1}"#);
    let message = peer.next(&mut subscriber);
    let headers = message.headers.expect("ours");
    assert_eq!(
        headers.get("Content-Type").map(|value| value.as_str().to_owned()),
        Some("application/json".to_owned())
    );
    assert_eq!(&message.payload[..], br#"{"a": 1}"#);
    let stored = router.events("in.json");
    assert_eq!((&stored[0]["id"], &stored[0]["data"]), (&json!("order-7"), &json!({"a": 1})));

    // And what is posted is a message like any other.
    let mut subscriber = peer.subscribe("events.in.>");
    assert_eq!(router.post(&json!({"subject": "in.post", "id": "p", "data": "hi"})).status, 202);
    let message = peer.next(&mut subscriber);
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("events.in.post", &b"\"hi\""[..]));
}

#[test]
fn stream_and_consumer_are_what_the_readme_says() {
    let stage = Stage::new(On::JetStream)
        .streams("[streams.events]\nmax_age = \"2h\"\nduplicate_window = \"3m\"\nmax_bytes = \"64MiB\"\n")
        .channel("one", "sink", &["a", "b.>"], "ack_wait = \"20s\"\nmax_ack_pending = 77")
        .channel("two", "sink", &["c"], "order = \"all\"");
    let router = stage.start();
    let peer = Peer::connect(stage.nats.as_ref().expect("a server"));
    let stream = peer.stream("events").config;
    assert!(stream.subjects.contains(&"events.>".to_owned()), "{stream:?}");
    let seconds = [stream.max_age.as_secs(), stream.duplicate_window.as_secs()];
    assert_eq!((seconds, stream.max_bytes, stream.num_replicas), ([7_200, 180], 64 << 20, 1), "{stream:?}");
    let one = peer.consumer("events", "one").config;
    assert_eq!(one.durable_name.as_deref(), Some("one"));
    assert!(
        ["events.a", "events.b.>"].iter().all(|filter| one.filter_subjects.contains(&(*filter).to_owned())),
        "{one:?}"
    );
    assert_eq!((one.ack_wait.as_secs(), one.max_ack_pending), (20, 77), "{one:?}");
    let two = peer.consumer("events", "two").config;
    assert_eq!(two.max_ack_pending, 1, "{two:?}");
    drop(router);

    // Another start finds everything as it is: nothing is changed, nothing is handed out again.
    let before = peer.stream("events").created;
    let router = stage.start();
    assert_eq!(peer.stream("events").created, before);
    until("the Channels", || router.log_lines(&["ready: curl"]).pop());
    assert!(
        router.log_lines(&["created"]).is_empty() && router.log_lines(&["changed"]).is_empty(),
        "{}",
        router.log()
    );
}
