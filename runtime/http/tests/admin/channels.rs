//! How Channels are, and their switch.

use serde_json::{Value, json};

use crate::scene::{On, Scene, rejecting, taking, until};

pub(crate) async fn channels_are_listed_by_name_and_shown(on: On) {
    let (sink, hostile) = (taking("in.>"), rejecting("bad", "max_attempts = 3"));
    let scene = Scene::start(on, &[("sink", &sink), ("hostile", &hostile), ("also", &sink)]).await;
    let listed = scene.all("/api/v1/channels").await;
    let names: Vec<_> = listed.iter().map(|channel| channel["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["also", "hostile", "sink"]);

    scene.publish("in.a", "1").await;
    scene.publish("bad", "1").await;
    until("both are settled", async || {
        let (sink, hostile) =
            (scene.get("/api/v1/channels/sink").await, scene.get("/api/v1/channels/hostile").await);
        sink["attempts"]["done"] == 1 && hostile["dead_letters"] == 1 && hostile["held"] == 0
    })
    .await;
    let hostile = scene.get("/api/v1/channels/hostile").await;
    assert_eq!((&hostile["state"], &hostile["switch"]), (&json!("running"), &json!("running")));
    assert_eq!((&hostile["stream"], &hostile["subjects"]), (&json!("events"), &json!(["bad"])));
    assert_eq!((&hostile["attempts"]["reject"], &hostile["attempts"]["trap"]), (&json!(1), &json!(0)));
    assert_eq!((&hostile["max_attempts"], &hostile["limits"]["timeout_ms"]), (&json!(3), &json!(5000)));
    assert_eq!(hostile["component"]["digest"].as_str().map(str::len), Some(64));
    assert!(hostile["component"]["size"].as_u64().is_some_and(|size| size > 1000));
}

/// What a Channel has not settled: a pull that was open when it was paused may have brought some of it.
fn waits(channel: &Value) -> u64 {
    let lag = &channel["lag"];
    lag["pending"].as_u64().expect("a number") + lag["unsettled"].as_u64().expect("a number")
}

pub(crate) async fn what_attempts_took_and_how_far_behind_a_channel_is_can_be_told_apart(on: On) {
    let scene = Scene::start(on, &[("sink", &taking("in.>")), ("late", &taking("in.>"))]).await;
    scene.ask("POST", "/api/v1/channels/late/pause", "").await;
    until("it is paused", async || scene.get("/api/v1/channels/late").await["state"] == "paused").await;
    for n in 0..3 {
        scene.publish("in.a", &n.to_string()).await;
    }
    until("all is settled", async || {
        let sink = scene.get("/api/v1/channels/sink?lag=now").await;
        sink["attempts"]["done"] == 3 && sink["behind_ms"] == 0
    })
    .await;
    let sink = scene.get("/api/v1/channels/sink").await;
    let durations = sink["durations"].as_array().expect("pairs");
    assert_eq!(durations.iter().map(|pair| pair[1].as_u64().expect("a count")).sum::<u64>(), 3);
    assert!(sink["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{sink}");
    assert!(sink["peak_memory"].as_u64().is_some_and(|bytes| bytes > 0), "{sink}");
    assert!(sink["behind_ms"].is_null(), "nobody asked: {sink}");

    until("it is known to be behind, and since when", async || {
        let late = scene.get("/api/v1/channels/late?lag=now").await;
        waits(&late) == 3 && late["behind_ms"].as_u64().is_some_and(|age| age > 0)
    })
    .await;
    let listed = scene.all("/api/v1/channels?lag=now").await;
    assert_eq!((&listed[0]["name"], waits(&listed[0])), (&json!("late"), 3));
    let refused = scene.ask("GET", "/api/v1/channels?lag=later", "").await;
    assert_eq!(refused.problem().0, "invalid-request");
}

pub(crate) async fn a_paused_channel_takes_nothing_until_it_is_resumed(on: On) {
    let scene = Scene::start(on, &[("sink", &taking("in")), ("control", &taking("in"))]).await;
    let paused = scene.ask("POST", "/api/v1/channels/sink/pause", "").await;
    assert_eq!((paused.status, &paused.json()["switch"]), (200, &json!("paused")));
    until("it is paused", async || scene.get("/api/v1/channels/sink").await["state"] == "paused").await;
    assert_eq!(scene.get("/api/v1/channels/sink").await["switch"], "paused");
    for n in 0..3 {
        scene.publish("in", &n.to_string()).await;
    }
    // The other Channel on the same subject goes on: by the time that it is through, this one would have begun.
    until("the other is through", async || {
        scene.get("/api/v1/channels/control").await["attempts"]["done"] == 3
    })
    .await;
    let sink = scene.get("/api/v1/channels/sink").await;
    assert_eq!((&sink["attempts"]["done"], &sink["held"]), (&json!(0), &json!(0)));

    let resumed = scene.ask("POST", "/api/v1/channels/sink/resume", "").await;
    assert_eq!((resumed.status, &resumed.json()["switch"]), (200, &json!("running")));
    until("it has caught up", async || scene.get("/api/v1/channels/sink").await["attempts"]["done"] == 3)
        .await;
    assert_eq!(scene.get("/api/v1/channels/sink").await["state"], "running");
}
