//! What streams hold: pages, filters, times, and the data as it was posted.

use serde_json::{Value, json};

use crate::scene::{On, Scene, event};

fn sequences(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["sequence"].as_u64().expect("a number")).collect()
}

pub(crate) async fn events_are_listed_by_page_filter_and_time(on: On) {
    let scene = Scene::start(on, &[]).await;
    for n in 1..=5 {
        let subject = if n % 2 == 1 { "ride.odd" } else { "ride.even" };
        scene.publish(subject, &n.to_string()).await;
    }
    scene.store("other", event("elsewhere", "1", None, b"")).await;
    for (query, expected) in [
        ("", vec![1, 2, 3, 4, 5]),
        ("?subject=ride.odd", vec![1, 3, 5]),
        ("?subject=ride.*", vec![1, 2, 3, 4, 5]),
        ("?subject=>", vec![1, 2, 3, 4, 5]),
        ("?subject=walk.>", vec![]),
        ("?stream=other", vec![1]),
        ("?since=2000-01-01T00:00:00Z", vec![1, 2, 3, 4, 5]),
        ("?since=2100-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(sequences(&scene.all(&format!("/api/v1/events{query}")).await), expected, "{query}");
    }
    // `after` is a sequence, with or without a page before.
    let page = scene.get("/api/v1/events?after=2&limit=2").await;
    assert_eq!(
        (sequences(page["items"].as_array().expect("items")), &page["next"]),
        (vec![3, 4], &json!("4"))
    );
    // `since` also counts behind `after`.
    let third = scene.get("/api/v1/events/3").await;
    let path = format!("/api/v1/events?after=1&since={}", third["time"].as_str().expect("a time"));
    let found = sequences(scene.get(&path).await["items"].as_array().expect("items"));
    assert!(found.ends_with(&[3, 4, 5]), "{found:?}");
    assert_eq!(
        (&third["subject"], &third["id"], &third["hops"]),
        (&json!("ride.odd"), &json!("3"), &json!(0))
    );
    assert_eq!(third["headers"], json!([["x-tag", "a"], ["x-tag", "b"]]));
}

pub(crate) async fn data_comes_back_byte_for_byte(on: On) {
    let scene = Scene::start(on, &[]).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let spaced = b"{\"b\":  1.0e2,\n\"a\": 12345678901234567890123}".as_slice();
    for (id, content_type, data, shown) in [
        ("1", Some("application/json"), spaced, "\"data\":{\"b\":  1.0e2,\n\"a\": 12345678901234567890123}"),
        ("2", Some("image/png"), &every_byte, "\"data_base64\":\"AAECAw"),
        ("3", None, b"", "\"data_base64\":\"\""),
        ("4", Some("application/json"), b"no json", "\"data_base64\":\"bm8ganNvbg==\""),
    ] {
        let sequence = scene.store("events", event("a", id, content_type, data)).await;
        let answer = scene.ask("GET", &format!("/api/v1/events/{sequence}"), "").await;
        let text = String::from_utf8(answer.body.clone()).expect("text");
        assert!(text.contains(shown), "{text}");
        assert_eq!(answer.json()["content_type"], json!(content_type));
        let raw = scene.ask("GET", &format!("/api/v1/events/{sequence}/data"), "").await;
        assert_eq!(raw.status, 200);
        assert_eq!(raw.body, data, "{id}");
        assert_eq!(raw.header("content-type"), Some(content_type.unwrap_or("application/octet-stream")));
        assert_eq!(
            (raw.header("x-content-type-options"), raw.header("cache-control")),
            (Some("nosniff"), Some("no-store"))
        );
    }
}

pub(crate) async fn streams_are_summed_up(on: On) {
    let scene = Scene::start(on, &[]).await;
    for n in 1..=3 {
        scene.publish("a", &n.to_string()).await;
    }
    let streams = scene.all("/api/v1/streams").await;
    let names: Vec<_> = streams.iter().map(|stream| &stream["name"]).collect();
    assert_eq!(names, ["events", "other"]);
    let events = &streams[0];
    assert_eq!((&events["first"], &events["last"], &events["events"]), (&json!(1), &json!(3), &json!(3)));
    assert!(events["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{events}");
    assert_eq!((&streams[1]["last"], &streams[1]["events"]), (&json!(0), &json!(0)));
}
