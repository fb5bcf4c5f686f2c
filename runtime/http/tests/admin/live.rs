//! Streams without an end of their own.

use serde_json::json;

use crate::scene::{On, Scene, event, rejecting, stream, taking};

pub(crate) async fn a_tap_shows_what_is_stored_and_says_what_it_left_out(on: On) {
    let scene = Scene::start(on, &[]).await;
    scene.publish("a", "before").await;
    let mut tap = scene.connect().await.open("/api/v1/tap?subject=a").await;
    let mut slow = scene.connect().await.open("/api/v1/tap?max_rate=1").await;
    let mut none = scene.connect().await.open("/api/v1/tap?sample=0&subject=a").await;
    scene.store("events", event("a", "1", Some("application/json"), b"{\n\"n\": 1\n}")).await;
    for n in 2..=10 {
        scene.publish(if n == 10 { "a" } else { "b" }, &n.to_string()).await;
    }
    for (id, data) in [("1", json!({ "n": 1 })), ("10", json!(null))] {
        let message = tap.message().await.expect("an event");
        assert_eq!(
            (message.name.as_str(), &message.data["id"], &message.data["data"]),
            ("event", &json!(id), &data)
        );
    }
    // At most one a second: what does not get through is counted.
    let (mut shown, mut skipped) = (0, 0);
    while shown + skipped < 10 {
        let message = slow.message().await.expect("more");
        match message.name.as_str() {
            "event" => shown += 1,
            "skipped" => skipped += message.data["skipped"].as_u64().expect("a number"),
            other => panic!("{other}"),
        }
    }
    assert_eq!(shown + skipped, 10);
    assert!(shown >= 1 && skipped >= 1, "{shown} shown, {skipped} skipped");
    // A sample of nothing leaves nothing to say.
    let said = tokio::time::timeout(std::time::Duration::from_millis(200), none.message()).await;
    assert!(said.is_err(), "{said:?}");
}

pub(crate) async fn a_tap_that_is_not_read_skips_and_says_how_many(on: On) {
    const EVENTS: u64 = 3_000;
    const BATCH: u64 = 100;
    let scene = Scene::start(on, &[]).await;
    let mut tap = scene.connect().await.open("/api/v1/tap").await;
    // More than the sockets, and what the brokers keep for readers who are late, can hold.
    let data = vec![b'x'; 32 << 10];
    for batch in 0..EVENTS / BATCH {
        let ids = batch * BATCH..(batch + 1) * BATCH;
        let events: Vec<_> = ids.map(|n| event("a", &n.to_string(), None, &data)).collect();
        let stored = scene.broker.publish_all(&stream("events"), &events).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    }
    let (mut shown, mut skipped, mut last) = (0, 0, 0);
    while last < EVENTS {
        let message = tap.message().await.expect("more");
        if message.name == "skipped" {
            skipped += message.data["skipped"].as_u64().expect("a number");
            continue;
        }
        let sequence = message.data["sequence"].as_u64().expect("a number");
        assert!(sequence > last, "in order");
        (shown, last) = (shown + 1, sequence);
    }
    assert_eq!(shown + skipped, EVENTS, "{shown} shown, {skipped} skipped");
    // A third at least: sockets and brokers together are to keep much less than the rest.
    assert!(
        skipped > EVENTS / 3,
        "{shown} shown: somewhere more is kept for a reader who is late than is meant"
    );
}

pub(crate) async fn attempts_are_shown_as_they_settle(on: On) {
    let scene = Scene::start(on, &[("bad", &rejecting("job", "")), ("good", &taking("job"))]).await;
    let mut all = scene.connect().await.open("/api/v1/attempts").await;
    let mut bad = scene.connect().await.open("/api/v1/attempts?channel=bad&sequence=2").await;
    scene.publish("job", "1").await;
    scene.publish("job", "2").await;
    let message = bad.message().await.expect("an attempt");
    assert_eq!(message.name, "attempt");
    let attempt = &message.data;
    assert_eq!(
        (&attempt["channel"], &attempt["sequence"], &attempt["attempt"]),
        (&json!("bad"), &json!(2), &json!(1))
    );
    assert_eq!((&attempt["outcome"], &attempt["next"]), (&json!("reject"), &json!("dead_letter")));
    let mut seen = Vec::new();
    for _ in 0..4 {
        let attempt = all.message().await.expect("an attempt").data;
        seen.push(
            format!("{} {} {}", attempt["channel"], attempt["sequence"], attempt["next"]).replace('"', ""),
        );
    }
    seen.sort();
    assert_eq!(seen, ["bad 1 dead_letter", "bad 2 dead_letter", "good 1 done", "good 2 done"]);
}

pub(crate) async fn streams_without_an_end_end_with_the_listener(on: On) {
    let mut scene = Scene::start(on, &[("good", &taking("job"))]).await;
    let mut tap = scene.connect().await.open("/api/v1/tap").await;
    let mut attempts = scene.connect().await.open("/api/v1/attempts").await;
    let begun = std::time::Instant::now();
    scene.shutdown().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "the grace of 20 s was used up");
    assert!(tap.message().await.is_none());
    assert!(attempts.message().await.is_none());
}
