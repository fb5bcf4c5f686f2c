//! How Channels are, and their switch.

use serde_json::json;

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
